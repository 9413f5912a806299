//! `claude-code-api completions` and `man`: what they print is taken by what reads it.

use std::{fs, process::Stdio};

use claude_code_api_testkit::{command, run};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

/// Runs another program on `input`; `None` where the machine lacks it. What it says, and what it complains of.
async fn through(program: &str, arguments: &[&str], input: &str) -> Option<(String, String)> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().ok()?;
    child.stdin.take().expect("piped").write_all(input.as_bytes()).await.expect("it reads");
    let output = child.wait_with_output().await.expect("it ends");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&output.stdout), text(&output.stderr)))
}

#[tokio::test]
async fn bash_completes_commands_and_flags() {
    let script = run(["completions", "bash"], &[]).await.stdout;
    let completed = |words: &'static str| {
        let complete = format!(
            "{script}\nCOMP_WORDS=(claude-code-api {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             [[ $(complete -p claude-code-api) =~ -F\\ ([^ ]+) ]]\n\
             ${{BASH_REMATCH[1]}} claude-code-api \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        async move { through("bash", &["--norc"], &complete).await.expect("there is a bash") }
    };
    assert_eq!(completed("comp").await, ("complete completions\n".to_owned(), String::new()));
    assert_eq!(completed("stream --tot").await, ("--total-timeout\n".to_owned(), String::new()));
    assert_eq!(completed("usage --period w").await, ("week\n".to_owned(), String::new()));
}

#[tokio::test]
async fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(["completions", shell], &[]).await;
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(ended.stdout.contains("total-timeout") && ended.stdout.contains("batch"), "{shell}: {}", ended.stdout);
    }
}

#[tokio::test]
async fn every_command_has_a_page_that_troff_takes() {
    let folder = TempDir::new().expect("a folder");
    let pages = folder.path().join("man1");
    let ended = run(["man".as_ref(), pages.as_os_str()], &[]).await;
    assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
    let help = run(["--help"], &[]).await.stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for command in commands.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next()) {
        let is_there = pages.join(format!("claude-code-api-{command}.1")).exists();
        assert!(is_there != (command == "help"), "{command}");
    }
    let mut read = 0;
    for page in fs::read_dir(&pages).expect("a folder") {
        let page = fs::read_to_string(page.expect("an entry").path()).expect("text");
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS"] {
            assert!(page.lines().any(|line| line == section), "no {section} in {page}");
        }
        match through("groff", &["-man", "-Tutf8", "-ww"], &page).await {
            Some((text, complaints)) => {
                assert!(complaints.is_empty() && text.contains("claude-code-api"), "{complaints}");
            }
            None if read == 0 => println!("skipped: there is no groff here that would read the pages"),
            None => {}
        }
        read += 1;
    }
    assert!(read > 20, "{read} pages");
    let top = fs::read_to_string(pages.join("claude-code-api.1")).expect("a page");
    assert_eq!(run(["man"], &[]).await.stdout, top);
    assert!(top.contains(".SH \"EXIT CODES\"\n.nf\n"), "{top}");
}

#[tokio::test]
async fn a_script_whose_reader_leaves_is_no_failure() {
    for arguments in [["completions", "zsh"].as_slice(), &["man"], &["--help"]] {
        let mut child = command().args(arguments).stdout(Stdio::piped()).spawn().expect("the program runs");
        drop(child.stdout.take());
        assert!(child.wait().await.expect("it ends").success(), "{arguments:?}");
    }
}

//! `claude doctor`, on programs that are no Claude Code CLI, or another.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use claude_code_api_testkit::{BOUND, Ended, command, ended, in_time, run, signal, until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;

use crate::{files, program};

const PINNED: &str = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo '2.1.330 (Claude Code)'; exit; fi\n";

async fn doctor(script: &str, flags: &[&str]) -> Ended {
    let folder = TempDir::new().expect("a folder");
    let program = program(folder.path(), script);
    let (data_dir, program) = (folder.path().join("data"), program.to_str().expect("text").to_owned());
    let ended = run_in(&data_dir, &[&["--claude-code-path", program.as_str()], flags].concat()).await;
    assert_eq!(files(&data_dir), ["lock"], "it has left something");
    ended
}

async fn run_in(data_dir: &Path, flags: &[&str]) -> Ended {
    let data_dir = data_dir.to_str().expect("text");
    in_time("the doctor is done", 6 * BOUND, run([&["claude", "doctor", "--data-dir", data_dir], flags].concat(), &[]))
        .await
}

#[tokio::test]
async fn without_a_cli_it_says_how_to_get_one() {
    let folder = TempDir::new().expect("a folder");
    let ended = run_in(folder.path(), &[]).await;
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("claude-code-api claude install") && ended.stderr.contains("PATH"), "{ended:?}");
    let ended = run_in(folder.path(), &["--claude-code-path", "/nowhere"]).await;
    assert!(ended.stderr.contains("no program at /nowhere"), "{ended:?}");
}

#[tokio::test]
async fn one_that_is_broken_is_refused_and_the_check_that_failed_is_named() {
    let cases = [
        ("#!/bin/sh\necho '2.1.197 (Claude Code)'\n".to_owned(), "version", "2.1.197"),
        (format!("{PINNED}echo hello\n/bin/sleep 1000\n"), "ready", "not understood: \"hello\""),
        (format!("{PINNED}echo 'libfoo is missing' >&2\nexit 127\n"), "ready", "libfoo is missing"),
        (format!("{PINNED}/bin/sleep 1000\n"), "ready", "said nothing"),
        (
            format!(
                "{PINNED}echo '{{\"type\":\"system\"}}'\nwhile :; do echo '{{\"type\":\"x\"}}'; /bin/sleep 0.1; done\n"
            ),
            "ready",
            "said nothing",
        ),
        ("#!/nowhere\n".to_owned(), "version", "cannot be started"),
    ];
    let all = cases.map(|(script, check, why)| async move { (doctor(&script, &["--json"]).await, check, why) });
    for (ended, check, why) in futures_util::future::join_all(all).await {
        assert_eq!(ended.code(), Some(10), "{ended:?}");
        let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!((&report["is_well"], &report["program"]["is_pinned"]), (&false.into(), &false.into()));
        let points = report["self_test"].as_array().expect("points");
        let failed = points.iter().find(|point| point["result"] == "failed").expect("one has failed");
        let said = failed["why"].as_str().expect("text");
        assert!(failed["check"] == check && said.contains(why), "{check}: {failed}");
        assert_eq!((points.len(), &points[10]["result"]), (11, &"not_tried".into()), "{report}");
    }
}

#[tokio::test]
async fn people_are_told_the_same() {
    let ended = doctor("#!/bin/sh\necho '2.1.197 (Claude Code)'\n", &[]).await;
    for words in
        ["named by --claude-code-path", "Isolation of a worker", "FAILED: it says \"2.1.197", "CANNOT be relied on"]
    {
        assert!(ended.stdout.contains(words), "no {words:?} in {}", ended.stdout);
    }
}

/// A doctor at work, whose worker never becomes ready, and the worker's process.
struct AtWork {
    folder: TempDir,
    child: Child,
    process: PathBuf,
}

impl AtWork {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let script = format!("{PINNED}echo $$ > \"$TMPDIR/id\"\nexec /bin/sleep 1000\n");
        let program = program(folder.path(), &script);
        let data_dir = folder.path().join("data");
        let mut doctor = command();
        doctor.args(["claude", "doctor", "--data-dir"]).arg(&data_dir).arg("--claude-code-path").arg(program);
        let child = doctor.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
        let id = || fs::read_to_string(slots(&data_dir)?.join("477/tmp/id")).ok().filter(|id| id.ends_with('\n'));
        until("a worker runs", || id().is_some()).await;
        let process = PathBuf::from(format!("/proc/{}/exe", id().expect("it has said").trim()));
        assert!(fs::read_link(&process).is_ok(), "it does not run");
        Self { folder, child, process }
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

fn slots(data_dir: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(data_dir.join("claude/slots")).into_iter().flatten().filter_map(Result::ok);
    folders.map(|folder| folder.path()).find(|path| path.is_dir())
}

#[tokio::test]
async fn ctrl_c_leaves_no_worker_and_no_slot() {
    let AtWork { folder, child, process } = AtWork::start().await;
    signal(&child, "-INT").await;
    let ended = ended(child).await;
    assert_eq!(ended.code(), Some(130), "{ended:?}");
    until("the worker is gone", || fs::read_link(&process).is_err()).await;
    assert_eq!(files(&folder.path().join("data")), ["lock"]);
}

#[tokio::test]
async fn a_worker_dies_with_the_process_that_started_it() {
    let mut work = AtWork::start().await;
    work.child.kill().await.expect("it can be killed");
    until("the worker is gone", || fs::read_link(&work.process).is_err()).await;
    let data_dir = work.data_dir();
    assert!(slots(&data_dir).is_some(), "nobody has removed them yet");
    run_in(&data_dir, &["--claude-code-path", "/bin/false"]).await;
    assert_eq!(files(&data_dir), ["lock"], "the next one has left them");
}

//! The Claude Code CLI on this machine: how it is installed, what is found wrong with one, and the real one as a backend. More of
//! the real one is in `sdk/`.

mod backend;
mod doctor;
mod install;
mod registry;
mod worker;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Puts a script in place. Another process writes it: while this one has a file open to write to it, nobody can run it, and what
/// other tests start at that moment would have it open, too.
fn program(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("claude");
    let write = ["-c", "cat > \"$0\" && chmod 755 \"$0\""];
    let mut shell = Command::new("sh").args(write).arg(&path).stdin(Stdio::piped()).spawn().expect("there is a shell");
    let written = shell.stdin.take().expect("piped").write_all(script.as_bytes());
    assert!(written.is_ok() && shell.wait().expect("it ends").success(), "no script at {}", path.display());
    path
}

/// What is in a folder and below it, by name.
fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

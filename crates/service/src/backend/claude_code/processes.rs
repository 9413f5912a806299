//! Processes of this machine that are to end, and no others: each is looked at again once its number cannot be given to another.
//! Linux only; elsewhere none is seen.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// A process, as the kernel shows it.
pub(super) struct Process {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code))]
    id: i32,
    folder: PathBuf,
}

impl Process {
    /// Whether it runs as this user. One that is dead does not run.
    pub(super) fn is_of(&self, user: u32) -> bool {
        let status = fs::read_to_string(self.folder.join("status")).unwrap_or_default();
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        let is_dead = matches!(field("State:"), None | Some("Z" | "X"));
        !is_dead && field("Uid:").and_then(|id| id.parse().ok()) == Some(user)
    }

    /// The folder that is its HOME.
    pub(super) fn home(&self) -> Option<PathBuf> {
        let environment = fs::read(self.folder.join("environ")).ok()?;
        let home = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"HOME="))?;
        Some(Path::new(std::ffi::OsStr::from_bytes(home)).to_owned())
    }

    /// Whether it works in a folder `depth` below this one, even if that was removed. Of two folders of the same name, in two
    /// containers, it is this one.
    pub(super) fn works_below(&self, folder: &Path, depth: usize) -> bool {
        let above = self.folder.join("cwd").join("../".repeat(depth));
        let found = fs::metadata(above).and_then(|found| Ok((found, fs::metadata(folder)?)));
        found.is_ok_and(|(found, folder)| (found.dev(), found.ino()) == (folder.dev(), folder.ino()))
    }

    /// Kills it, if it is meant. What cannot be killed is there when it is looked for again.
    #[cfg(target_os = "linux")]
    fn kill(&self, is_meant: &impl Fn(&Self) -> bool) {
        use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
        let Some(Ok(handle)) = Pid::from_raw(self.id).map(|id| pidfd_open(id, PidfdFlags::empty())) else { return };
        if is_meant(self) {
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn kill(&self, _: &impl Fn(&Self) -> bool) {}
}

/// Kills all that are meant, those aside that they start meanwhile. How many there were.
pub(super) fn kill(is_meant: impl Fn(&Process) -> bool) -> usize {
    let meant: Vec<Process> = all().filter(|process| is_meant(process)).collect();
    for process in &meant {
        process.kill(&is_meant);
    }
    meant.len()
}

/// Whether there is one that is meant.
pub(super) fn is_any(is_meant: impl Fn(&Process) -> bool) -> bool {
    all().any(|process| is_meant(&process))
}

fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(Process { id: entry.file_name().to_str()?.parse().ok()?, folder: entry.path() }))
}

//! The folder of this process's slots, and what is left of those of processes that have died.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::processes::{self, Process};
use crate::digest::hex;

/// As many bytes as a path of a socket has on every system.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// How far below the folder of all slots a worker lives: below its service's and its slot's.
const DEPTH: usize = 3;

/// How long what was killed may take to be gone.
const GONE_AFTER_MAX: Duration = Duration::from_secs(2);

/// The folder of this process's slots. Dropped, it is removed; what a process left that has died, the next one removes.
#[derive(Debug)]
pub struct Slots {
    folder: PathBuf,
    _lock: File,
}

impl Slots {
    /// Makes it, in the service's folder.
    ///
    /// # Errors
    /// The folder cannot be written to, or its path is too long for sockets.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let all = std::path::absolute(data_dir.join("claude/slots"))?;
        let folder = all.join(name());
        has_room(&folder, "000/gateway.sock")?;
        fs::create_dir_all(&all)?;
        let _everyone = lock(&all)?;
        clear(&all)?;
        fs::create_dir(&folder)?;
        let lock = lock(&folder)?;
        // A worker's user has to get through, but not to see who else is there.
        fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Whether the path of a socket in this folder is not too long.
pub(super) fn has_room(folder: &Path, socket: &str) -> io::Result<()> {
    if folder.as_os_str().len() + 1 + socket.len() <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("{} is too long a path for sockets", folder.display());
    Err(io::Error::new(io::ErrorKind::InvalidFilename, problem))
}

pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file that nobody else can open: what may be opened may be locked, and a worker is not to keep others from starting, or from killing it.
pub(super) fn nobody_else_s(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(0o600).open(path)
}

fn lock(folder: &Path) -> io::Result<File> {
    let file = nobody_else_s(&folder.join("lock"))?;
    file.lock()?;
    Ok(file)
}

/// Numbers of processes repeat, from one container to the next that share a folder.
fn name() -> String {
    let mut random = [0; 4];
    getrandom::fill(&mut random).expect("the system has randomness");
    hex(&random)
}

/// Kills what services that have died have left running, and removes their slots.
fn clear(all: &Path) -> io::Result<()> {
    let (mut live, mut left) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(all)? {
        let folder = entry?.path();
        if is_left(&folder)? {
            left.push(folder);
        } else {
            live.push(folder);
        }
    }
    kill_left(all, &live);
    left.iter().try_for_each(|folder| remove(folder))
}

/// Whether the process has died whose folder this is. The lock of all is no folder, and not left.
fn is_left(folder: &Path) -> io::Result<bool> {
    match File::open(folder.join("lock")) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

/// Kills what runs in a slot that is nobody's any more. Workers die with their service; what one has started itself does not, nor a
/// worker on a system that lets it live.
fn kill_left(all: &Path, live: &[PathBuf]) {
    let is_left = |process: &Process| {
        let is_nobody_s = |home: &Path| {
            home.ancestors().nth(DEPTH) == Some(all) && !live.iter().any(|folder| home.starts_with(folder))
        };
        process.home().is_some_and(|home| is_nobody_s(&home)) && process.works_below(all, DEPTH)
    };
    let count = processes::kill(is_left);
    if count == 0 {
        return;
    }
    tracing::warn!(count, "killed what a service that has died had left running");
    let begun = Instant::now();
    while processes::kill(is_left) > 0 {
        if begun.elapsed() > GONE_AFTER_MAX {
            tracing::error!("something that a service that has died had left running cannot be killed");
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "nothing runs yet that could be held up")]
        std::thread::sleep(Duration::from_millis(10));
    }
}

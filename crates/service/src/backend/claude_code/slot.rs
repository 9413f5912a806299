//! A slot: the place of one worker. Its folders, its socket, its environment and its command line.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub use super::slots::Slots;
use super::{
    isolate::Isolation,
    login::Login,
    slots::{has_room, remove},
    user::User,
};

/// What every worker is started with: no tools, no settings, no memory, no commands, nothing of the machine.
const ARGUMENTS: [&str; 19] = [
    "-p",
    "--tools",
    "",
    "--strict-mcp-config",
    "--setting-sources",
    "",
    "--no-session-persistence",
    "--disable-slash-commands",
    "--permission-mode",
    "dontAsk",
    "--permission-prompts",
    "none",
    "--system-prompt",
    "",
    "--input-format",
    "stream-json",
    "--output-format=stream-json",
    "--verbose",
    "--include-partial-messages",
];

/// What is said of it to every worker. What is tried again, and how long anything may take, is decided here and not there.
const ENVIRONMENT: [(&str, &str); 12] = [
    // Nothing is there: it starts no program.
    ("PATH", "/nonexistent"),
    // Requests go to the socket, wherever this points.
    ("ANTHROPIC_BASE_URL", "http://127.0.0.1:1"),
    ("API_TIMEOUT_MS", "3600000"),
    // Its runtime collects garbage where it needs room, and not by the clock besides: that took a fifth of a second of each idle worker.
    ("BUN_GC_TIMER_DISABLE", "1"),
    // Its own betas bring a turn of the system's into the messages.
    ("CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS", "1"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", "1"),
    ("CLAUDE_CODE_DISABLE_REFUSAL_RETRY", "1"),
    ("CLAUDE_CODE_MAX_RETRIES", "0"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("DISABLE_TELEMETRY", "1"),
];

/// What is said of it to a worker that is on no login.
const WITHOUT_LOGIN: [(&str, &str); 2] = [
    // The real key is never in a worker.
    ("ANTHROPIC_API_KEY", "dummy"),
    ("CLAUDE_CODE_ATTRIBUTION_HEADER", "0"),
];

/// Where the CLI listens on a login for others of its kind, of which there are none. Where the path would be too long, it would do so
/// outside of its slot.
const CLI_SOCKET: &str = "tmp/cc-socks/4194304.sock";

/// The place of one worker. Dropped, it is removed.
#[derive(Debug)]
pub struct Slot {
    folder: PathBuf,
    user: Option<User>,
    login: Option<Login>,
}

impl Slot {
    /// Makes it, empty, for a worker that is so isolated, on this login or none.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn open(slots: &Slots, number: u32, isolation: &Isolation, login: Option<&Login>) -> io::Result<Self> {
        let (folder, user) = (slots.folder().join(number.to_string()), isolation.user(number)?);
        if login.is_some() {
            has_room(&folder, CLI_SOCKET)?;
        }
        let slot = Self { folder, user, login: login.cloned() };
        // A worker that was killed a moment ago may have left something.
        remove(&slot.folder)?;
        fs::create_dir(&slot.folder)?;
        for folder in [slot.home(), slot.temporary(), slot.work()] {
            fs::create_dir(&folder)?;
            slot.give(&folder, 0o700)?;
        }
        slot.let_through()?;
        Ok(slot)
    }

    /// Gives something in it to the worker's user, and keeps it from everyone else.
    pub fn give(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        if self.user.is_some() { chown(path, self.user(), self.user()) } else { Ok(()) }
    }

    /// The worker gets through to what is its own, and puts nothing in the place of what is ours.
    fn let_through(&self) -> io::Result<()> {
        if self.user.is_some() {
            chown(&self.folder, None, self.user())?;
        }
        fs::set_permissions(&self.folder, Permissions::from_mode(0o710))
    }

    /// The worker's home.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Its folder for temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// The folder that it works in, which stays empty.
    pub fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Its way out.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("gateway.sock")
    }

    /// What it complains of.
    pub fn complaints(&self) -> PathBuf {
        self.folder.join("stderr.log")
    }

    /// The user that its worker runs as; `None`: ours.
    pub fn user(&self) -> Option<u32> {
        self.user.as_ref().map(User::id)
    }

    /// Everything that is in the environment of its worker.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let of_slot = [("HOME", self.home()), ("TMPDIR", self.temporary()), ("ANTHROPIC_UNIX_SOCKET", self.socket())];
        let of_slot = of_slot.map(|(name, path)| (name, path.to_string_lossy().into_owned()));
        let of_all = ENVIRONMENT.map(|(name, value)| (name, value.to_owned()));
        let of_login = match &self.login {
            Some(login) => login.environment().to_vec(),
            None => WITHOUT_LOGIN.map(|(name, value)| (name, value.to_owned())).to_vec(),
        };
        of_slot.into_iter().chain(of_all).chain(of_login).collect()
    }

    /// What starts its worker.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn worker(&self, program: &Path, isolation: &Isolation) -> io::Result<Command> {
        let mut command = self.command(program, isolation)?;
        if self.login.is_none() {
            // With it the CLI takes no login.
            command.arg("--bare");
        }
        command.args(ARGUMENTS).stdin(Stdio::piped());
        Ok(command)
    }

    /// What starts a program in the slot, as its worker is started.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn command(&self, program: &Path, isolation: &Isolation) -> io::Result<Command> {
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment()).current_dir(self.work());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(self.complaints())?);
        isolation.apply(&mut command, self.user());
        Ok(command)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

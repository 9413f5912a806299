//! A worker: one process of the CLI in its slot. It is started ahead, says when it is ready, is briefed once, and is killed.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    process::Stdio,
    time::Duration,
};

use rustix::{io::Errno, process::test_kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout},
    time::timeout,
};

use super::{
    gateway::Gateway,
    isolate::{self, Isolation},
    line::{Control, Line},
    processes,
    slot::Slot,
    start::{Leader, start},
    user,
};

/// The most bytes of a line: a whole answer is one of them.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// How much of what a worker complains of is shown.
const COMPLAINT_BYTES_MAX: usize = 400;

/// How long a process may take to be gone, once it was killed.
const GONE_AFTER_MAX: Duration = Duration::from_secs(2);

/// Asks a worker for what costs nothing: one that answers is ready.
const PING: &str = r#"{"type":"control_request","request_id":"ready","request":{"subtype":"mcp_status"}}"#;

/// Why a worker is of no use.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It cannot be started.
    #[error("it cannot be started: {0}")]
    Start(#[source] io::Error),
    /// It ended, and this is what it complained of.
    #[error("it has ended{0}")]
    Ended(Complaint),
    /// It says nothing.
    #[error("it said nothing for {0:?}{1}")]
    Silent(Duration, Complaint),
    /// It goes on and on.
    #[error("its answer had not ended after {0:?}")]
    Endless(Duration),
    /// It says what is not in its protocol.
    #[error("it says what is not understood: {0:?}")]
    Garbage(String),
    /// It does something else than it is told.
    #[error("it does not do as it is told: {0}")]
    Unfit(String),
    /// It refuses what it is told.
    #[error("it refuses what it is told: {0}")]
    Refused(String),
}

impl WorkerError {
    /// Whether there was no room for it, which may pass.
    pub fn lacks_room(&self) -> bool {
        matches!(self, Self::Start(error) if isolate::lacks_room(error))
    }
}

/// The beginning of what a worker has written to its standard error.
#[derive(Debug)]
pub struct Complaint(String);

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; it complains: {}", self.0) }
    }
}

/// A process of the CLI. Dropped, it is killed, with all that it has started.
pub struct Worker {
    leader: Leader,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// What has come of the next line.
    line: Vec<u8>,
    gateway: Gateway,
    slot: Slot,
}

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    /// The program, the slot or the isolation fails.
    pub async fn start(program: &Path, slot: Slot, isolation: &Isolation) -> Result<Self, WorkerError> {
        let gateway = Gateway::open(&slot.socket()).map_err(WorkerError::Start)?;
        slot.give(&slot.socket(), 0o600).map_err(WorkerError::Start)?;
        let command = slot.worker(program, isolation).map_err(WorkerError::Start)?;
        let mut leader = start(command).await.map_err(WorkerError::Start)?;
        let stdin = leader.child.stdin.take().expect("piped");
        let stdout = BufReader::new(leader.child.stdout.take().expect("piped"));
        Ok(Self { leader, stdin, stdout, line: Vec::new(), gateway, slot })
    }

    /// Waits until it can be briefed.
    ///
    /// # Errors
    /// It does not become ready in time.
    pub async fn ready(&mut self, time_max: Duration) -> Result<(), WorkerError> {
        let becoming = async {
            self.tell(&format!("{PING}\n"), time_max).await?;
            loop {
                match self.line(time_max).await? {
                    Line::Control(Control { request_id, .. }) if request_id == "ready" => return Ok(()),
                    _ => {}
                }
            }
        };
        match timeout(time_max, becoming).await {
            Ok(became) => became,
            Err(_) => Err(self.silent(time_max)),
        }
    }

    /// Writes lines to it.
    ///
    /// # Errors
    /// It has gone, or does not read.
    pub async fn tell(&mut self, lines: &str, time_max: Duration) -> Result<(), WorkerError> {
        match timeout(time_max, self.stdin.write_all(lines.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(WorkerError::Ended(self.complaint())),
            Err(_) => Err(self.silent(time_max)),
        }
    }

    /// The next line. Dropping this loses nothing.
    ///
    /// # Errors
    /// It has ended, says nothing for so long, or says what is no line.
    pub async fn line(&mut self, silence_max: Duration) -> Result<Line, WorkerError> {
        let left = LINE_BYTES_MAX - self.line.len() as u64;
        let mut rest = (&mut self.stdout).take(left);
        match timeout(silence_max, rest.read_until(b'\n', &mut self.line)).await {
            Err(_) => return Err(self.silent(silence_max)),
            Ok(Err(error)) => return Err(WorkerError::Garbage(error.to_string())),
            Ok(Ok(_)) if self.line.is_empty() => return Err(WorkerError::Ended(self.complaint())),
            Ok(Ok(_)) => {}
        }
        let line = std::mem::take(&mut self.line);
        match Line::read(&line) {
            Ok(Line::Control(Control { subtype, error, .. })) if subtype != "success" => {
                Err(WorkerError::Refused(error.unwrap_or_default()))
            }
            Ok(line) => Ok(line),
            Err(_) => Err(WorkerError::Garbage(beginning(&line))),
        }
    }

    /// Whether its process is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.leader.child.try_wait(), Ok(None))
    }

    /// Its way out.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Its place.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Its process.
    pub fn id(&self) -> i32 {
        self.leader.group.as_raw_nonzero().get()
    }

    /// Kills it with all that it has started, and waits until its process is gone. Whether all others of its group are gone, too:
    /// that is up to whoever they are left to, the first process of the machine or the container.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(mut self) -> io::Result<bool> {
        self.leader.kill();
        timeout(GONE_AFTER_MAX, self.leader.child.wait()).await??;
        // What it had started is waited for by whoever inherited it.
        let emptied = async {
            while self.has_left_something() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        Ok(timeout(GONE_AFTER_MAX, emptied).await.is_ok())
    }

    /// What has left its group, and what is in it where it had died by itself, is known by its user, and killed.
    fn has_left_something(&self) -> bool {
        let is_of_us = |user| !user::is_idle(user) && processes::kill(|process| process.is_of(user)) > 0;
        self.slot.user().is_some_and(is_of_us) || test_kill_process_group(self.leader.group) != Err(Errno::SRCH)
    }

    fn silent(&self, time: Duration) -> WorkerError {
        WorkerError::Silent(time, self.complaint())
    }

    fn complaint(&self) -> Complaint {
        complaint(&self.slot)
    }
}

fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(COMPLAINT_BYTES_MAX)]).trim().to_owned()
}

fn complaint(slot: &Slot) -> Complaint {
    let mut complaint = Vec::new();
    // What cannot be read says nothing.
    let _ = File::open(slot.complaints())
        .and_then(|file| Read::take(file, COMPLAINT_BYTES_MAX as u64).read_to_end(&mut complaint));
    Complaint(beginning(&complaint))
}

/// Runs a program in a slot to its end, as a worker is run; what it says, as far as it is shown.
///
/// # Errors
/// It cannot be started, or does not end in time.
pub async fn run(
    program: &Path,
    arguments: &[&str],
    slot: &Slot,
    isolation: &Isolation,
    time_max: Duration,
) -> Result<String, WorkerError> {
    let mut command = slot.command(program, isolation).map_err(WorkerError::Start)?;
    command.args(arguments).stdin(Stdio::null());
    let mut leader = start(command).await.map_err(WorkerError::Start)?;
    let mut said = Vec::new();
    let ending = async {
        let stdout = leader.child.stdout.take().expect("piped");
        stdout.take(COMPLAINT_BYTES_MAX as u64).read_to_end(&mut said).await?;
        leader.child.wait().await
    };
    match timeout(time_max, ending).await {
        Ok(Ok(status)) if status.success() => Ok(beginning(&said)),
        Ok(Ok(_)) => Err(WorkerError::Ended(complaint(slot))),
        Ok(Err(error)) => Err(WorkerError::Start(error)),
        Err(_) => Err(WorkerError::Silent(time_max, complaint(slot))),
    }
}

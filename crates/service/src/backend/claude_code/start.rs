//! Starts processes, from one thread; each leads a group of its own.

use std::{
    io,
    sync::{Mutex, PoisonError, mpsc},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
    time::timeout,
};

/// How long it may take until the program runs: it may be on a disk that does not answer.
const START_MAX: Duration = Duration::from_secs(20);

/// How many wait for it at most.
const WAITING_MAX: usize = 64;

type Start = Box<dyn FnOnce() + Send>;

/// A process that leads a group. Dropped, it is killed, with all that is in the group.
pub(super) struct Leader {
    pub(super) child: Child,
    pub(super) group: Pid,
}

impl Leader {
    fn of(child: Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { child, group: id.expect("it was not waited for, and leads its group") }
    }

    /// Its number is not given to another before it was waited for.
    pub(super) fn kill(&self) {
        if self.child.id().is_some() {
            // What is not there any more needs no end.
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a process from a thread that lives as long as this process: the kernel kills a child when the *thread* ends that has
/// started it, and threads of the runtime come and go. Forking stops no task meanwhile, either.
pub(super) async fn start(command: std::process::Command) -> io::Result<Leader> {
    let (runtime, (tell, told)) = (Handle::current(), oneshot::channel());
    let start = move || {
        let _context = runtime.enter();
        // Nobody waits any more: what was started is killed by being dropped.
        let _ = tell.send(Command::from(command).kill_on_drop(true).spawn().map(Leader::of));
    };
    // Where it is stuck, what waits has files open.
    starter()?.try_send(Box::new(start)).map_err(|_| io::Error::from(io::ErrorKind::ResourceBusy))?;
    timeout(START_MAX, told).await?.expect("its thread never ends")
}

fn starter() -> io::Result<mpsc::SyncSender<Start>> {
    static STARTER: Mutex<Option<mpsc::SyncSender<Start>>> = Mutex::new(None);
    let mut known = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(starter) = &*known {
        return Ok(starter.clone());
    }
    let (starter, starts) = mpsc::sync_channel::<Start>(WAITING_MAX);
    let run = move || starts.into_iter().for_each(|start| start());
    std::thread::Builder::new().name("claude-code".to_owned()).spawn(run)?;
    Ok(known.insert(starter).clone())
}

//! Starts processes, from one thread.

use std::{
    io,
    sync::{OnceLock, mpsc},
};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

type Start = Box<dyn FnOnce() + Send>;

/// Starts a process from a thread that lives as long as this process: the kernel kills a child when the *thread* ends that has
/// started it, and threads of the runtime come and go. Forking stops no task meanwhile, either.
pub(super) async fn start(command: std::process::Command) -> io::Result<Child> {
    static STARTER: OnceLock<mpsc::Sender<Start>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (starter, starts) = mpsc::channel::<Start>();
        let run = move || starts.into_iter().for_each(|start| start());
        std::thread::Builder::new().name("claude-code".to_owned()).spawn(run).expect("there is room for a thread");
        starter
    });
    let (runtime, (tell, told)) = (Handle::current(), oneshot::channel());
    let start = move || {
        let _context = runtime.enter();
        // Nobody waits any more: what was started is killed by being dropped.
        let _ = tell.send(Command::from(command).kill_on_drop(true).spawn());
    };
    starter.send(Box::new(start)).expect("its thread never ends");
    told.await.expect("its thread never ends")
}

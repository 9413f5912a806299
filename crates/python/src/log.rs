//! What the Rust client tells of itself, for Python's `logging`.
//!
//! The runtime's thread never enters Python: there, a line goes to the event loop of its call, by its mailbox. The façade says which
//! levels anybody wants, so that nothing is written, and no interpreter waited for, where nobody reads it.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use pyo3::{exceptions::PyKeyboardInterrupt, prelude::*};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

use crate::mailbox::{Outcome, Slot};

/// Python's number of the lowest level that is wanted.
static LEVEL_MIN: AtomicU8 = AtomicU8::new(u8::MAX);

tokio::task_local! {
    /// The mailbox of the call that runs.
    pub(crate) static MAILBOX: Arc<Slot>;
}

/// Lines below this level, one of `logging`'s, are not wanted.
#[pyfunction]
pub(crate) fn log_from(level: u8) {
    LEVEL_MIN.store(level, Ordering::Relaxed);
}

/// A line, with its level as `logging` counts.
pub(crate) struct Line {
    level: u8,
    text: String,
}

impl Line {
    /// Hands it to `logging`.
    pub(crate) fn write(&self, py: Python<'_>) {
        let logger = py.import("logging").and_then(|logging| logging.call_method1("getLogger", ("claude_code_api",)));
        let written = logger.and_then(|logger| logger.call_method1("log", (self.level, "%s", &self.text)));
        match written {
            Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => again(py),
            Err(error) => error.write_unraisable(py, None),
            Ok(_) => {}
        }
    }
}

thread_local! {
    /// Lines of a thread that drives a client: other threads may wait for that, and have the GIL, for which it would wait.
    static HELD_BACK: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static HOLDS_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Does what a client is driven by; what it says is to be told afterwards, or in between.
pub(crate) fn held_back<T>(work: impl FnOnce() -> T) -> T {
    let held_back_before = HOLDS_BACK.replace(true);
    let done = work();
    HOLDS_BACK.set(held_back_before);
    done
}

/// Tells what was held back. While a handler of the program's runs, nobody drives the client.
pub(crate) fn tell(py: Python<'_>) {
    for line in HELD_BACK.take() {
        line.write(py);
    }
}

/// Ctrl-C came while a handler of the program's wrote the line. It is for the call.
fn again(py: Python<'_>) {
    if let Err(error) = py.import("_thread").and_then(|thread| thread.call_method0("interrupt_main")) {
        error.write_unraisable(py, None);
    }
}

/// Sends lines to Python. Installed once, when the module is imported.
pub(crate) struct ToPython;

impl Subscriber for ToPython {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // What is wanted changes with time.
        if is_ours(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && number(*metadata.level()) >= LEVEL_MIN.load(Ordering::Relaxed)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line { level: number(*event.metadata().level()), text: String::new() };
        event.record(&mut line);
        match MAILBOX.try_with(Arc::clone) {
            Ok(slot) => slot.put(0, Ok(Outcome::Line(line))),
            Err(_) if HOLDS_BACK.get() => HELD_BACK.with_borrow_mut(|lines| lines.push(line)),
            // A thread that has outlived the interpreter has nobody to tell.
            Err(_) => Python::try_attach(|py| line.write(py)).unwrap_or_default(),
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Writing to a text cannot fail.
            let _ = write!(self.text, "{value:?}");
        }
    }
}

/// Other crates' lines may hold anything.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.target().starts_with("claude_code_api_client")
}

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG | Level::TRACE => 10,
    }
}

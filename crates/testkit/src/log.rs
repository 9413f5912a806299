//! What the service logs at WARN and above, kept so that a server that is dropped can ask whether all was well.

use std::{
    fmt::{Debug, Write},
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Records from now on, and forgets what was recorded before.
pub(crate) fn record() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let recorder = tracing_subscriber::registry().with(Recorder);
        tracing::subscriber::set_global_default(recorder).expect("tests install no subscriber of their own");
    });
    take();
}

/// What was logged at WARN and above since [`record`].
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner))
}

struct Recorder;

impl<S: Subscriber> Layer<S> for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = format!("{} {}:", event.metadata().level(), event.metadata().target());
        event.record(&mut Line(&mut line));
        COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").expect("a string takes everything");
    }
}

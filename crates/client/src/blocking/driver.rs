//! Driver: the runtime of a blocking client.

use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};

/// A runtime that is gone at once where it is dropped: a name that is still being looked up is waited for by nobody.
#[derive(Debug)]
pub(super) struct Driver(Option<Runtime>);

impl Driver {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        // A host's name is looked up on a thread, which ends with that.
        Ok(Self(Some(builder.enable_all().thread_keep_alive(std::time::Duration::ZERO).build()?)))
    }
}

impl Deref for Driver {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("taken only by drop")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

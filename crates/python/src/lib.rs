//! `claude_code_api._native`: the Rust client for Python.
//!
//! Thin: arguments in, results of the Rust client out. Dataclasses, exceptions and the public surface are Python
//! (`python/claude_code_api`); transport, retries and streams are the Rust client's.

use pyo3::prelude::*;

mod async_batch;
mod asynchronous;
mod batch;
mod convert;
mod home;
mod log;
mod mailbox;
mod options;
mod sync;

#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::{
        async_batch::AsyncBatch,
        asynchronous::{AsyncCore, AsyncStreamCore, Task},
        batch::Batch,
        log::log_from,
        mailbox::Mailbox,
        sync::{Stream, SyncCore},
    };

    #[pymodule_init]
    #[expect(clippy::unnecessary_wraps, reason = "PyO3 wants a result")]
    fn init(_: &Bound<'_, PyModule>) -> PyResult<()> {
        // A second interpreter of the process finds the first one's.
        let _ = tracing::subscriber::set_global_default(crate::log::ToPython);
        Ok(())
    }
}

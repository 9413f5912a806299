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
mod source;
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
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::home::only_interpreter(module.py())?;
        // Where the module is imported anew, the first one's stays.
        let _ = tracing::subscriber::set_global_default(crate::log::ToPython);
        Ok(())
    }
}

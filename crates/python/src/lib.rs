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
mod mailbox;
mod options;
mod sync;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::{
        async_batch::AsyncBatch,
        asynchronous::{AsyncCore, AsyncStreamCore, Task},
        batch::Batch,
        mailbox::Mailbox,
        sync::{Stream, SyncCore},
    };
}

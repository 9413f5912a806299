//! Where an object that holds a connection was made: the child of a fork must not touch its parent's, as they share the socket and
//! what watches it.

use pyo3::{exceptions::PyRuntimeError, prelude::*};

/// The process that an object was made in.
#[derive(Clone, Copy)]
pub(crate) struct Home(u32);

impl Home {
    pub(crate) fn here() -> Self {
        Self(std::process::id())
    }

    pub(crate) fn is_here(self) -> bool {
        self.0 == std::process::id()
    }

    /// An error where this is another process.
    pub(crate) fn check(self, what: &str) -> PyResult<()> {
        if self.is_here() {
            return Ok(());
        }
        let message = format!("this {what} belongs to the process that forked this one; start another here");
        Err(PyRuntimeError::new_err(message))
    }
}

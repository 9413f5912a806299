//! Where an object that holds a connection was made: the child of a fork must not touch its parent's, as they share the socket and
//! what watches it. Nor does the module work in a second interpreter of a process, as classes are one interpreter's.

use pyo3::{
    exceptions::{PyImportError, PyRuntimeError},
    prelude::*,
    sync::PyOnceLock,
};

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

/// An error in any interpreter of the process but the first that imports this. (`PyO3` can tell only under the ABI of Python 3.9.)
pub(crate) fn only_interpreter(py: Python<'_>) -> PyResult<()> {
    static FIRST: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    // Each interpreter has a `sys` of its own.
    let sys = py.import("sys")?;
    if FIRST.get_or_init(py, || sys.clone().unbind()).bind(py).is(&sys) {
        return Ok(());
    }
    Err(PyImportError::new_err("claude_code_api works in one interpreter of a process, and another has imported it"))
}

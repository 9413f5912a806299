//! The results of a batch for `ClaudeClient`, on the caller's thread as everything of the blocking client is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use claude_code_api_client::{BatchEvent, BatchResults, BatchStream, Error, blocking};
use pyo3::{exceptions::PyRuntimeError, prelude::*};

use crate::{
    convert,
    sync::{drop_without_gil, unless_interrupted},
};

/// The core of `BatchStream`, whose batch is sent when the first result is asked for; and the results of a stored batch.
#[pyclass(frozen, module = "claude_code_api._native")]
pub(crate) struct Batch {
    state: Mutex<State>,
}

enum State {
    /// Not sent yet.
    Waiting {
        client: Arc<blocking::Client>,
        batch: Box<claude_code_api_client::Batch>,
    },
    Running(Box<dyn Results>),
    /// Ended or closed.
    Ended,
}

/// Results, of whichever kind of batch.
trait Results: Send {
    fn next_unless(&mut self, stop: &mut dyn FnMut() -> bool) -> Option<Result<BatchEvent, Error>>;
    fn close(&mut self);
}

macro_rules! results {
    ($($stream:ty),*) => {
        $(impl Results for blocking::Stream<$stream> {
            fn next_unless(&mut self, stop: &mut dyn FnMut() -> bool) -> Option<Result<BatchEvent, Error>> {
                Self::next_unless(self, Some(stop))
            }

            fn close(&mut self) {
                Self::close(self);
            }
        })*
    };
}

results!(BatchStream, BatchResults);

impl Drop for Batch {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop_without_gil(std::mem::replace(state, State::Ended));
    }
}

impl Batch {
    pub(crate) fn stored(results: blocking::BatchResults) -> Self {
        Self { state: Mutex::new(State::Running(Box::new(results))) }
    }

    pub(crate) fn new(client: Arc<blocking::Client>, batch: claude_code_api_client::Batch) -> Self {
        Self { state: Mutex::new(State::Waiting { client, batch: Box::new(batch) }) }
    }

    /// Two threads that read one batch would each get half of it.
    fn exclusive(&self) -> PyResult<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::Poisoned(poisoned)) => Ok(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => {
                Err(PyRuntimeError::new_err("another thread reads the results of this batch; give each its own"))
            }
        }
    }
}

#[pymethods]
impl Batch {
    /// The next result; None is the end.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut state = self.exclusive()?;
        if matches!(*state, State::Waiting { .. })
            && let State::Waiting { client, batch } = std::mem::replace(&mut *state, State::Ended)
        {
            let opened = unless_interrupted(py, |stop| client.batch_stream_unless(*batch, Some(stop)));
            *state = State::Running(Box::new(opened?));
        }
        let State::Running(stream) = &mut *state else { return Ok(None) };
        let next = unless_interrupted(py, |stop| stream.next_unless(stop).transpose());
        if !matches!(next, Ok(Some(_))) {
            end(py, &mut state);
        }
        next?.map(|event| convert::batch_result(py, &event)).transpose()
    }

    /// Cancels what is unfinished, and closes the connection.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        end(py, &mut *self.exclusive()?);
        Ok(())
    }
}

fn end(py: Python<'_>, state: &mut State) {
    if let State::Running(mut stream) = std::mem::replace(state, State::Ended) {
        py.detach(|| stream.close());
    }
}

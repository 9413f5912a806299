//! The blocking client. It runs on the caller's thread, with the GIL released, and looks for Ctrl-C every 50 ms.

use std::sync::{Mutex, MutexGuard, PoisonError};

use claude_code_api_client::{BatchJob, CompleteResponse, Error, ErrorKind, Request, blocking};
use pyo3::{exceptions::PyRuntimeError, prelude::*};

use crate::{
    batch::Batch,
    convert, log,
    options::{self, BatchCall, Call, Options},
};

/// The core of `ClaudeClient`.
#[pyclass(frozen, module = "claude_code_api._native")]
pub(crate) struct SyncCore {
    client: std::sync::Arc<blocking::Client>,
}

#[pymethods]
impl SyncCore {
    #[new]
    fn new(py: Python<'_>, options: Options) -> PyResult<Self> {
        Ok(Self { client: std::sync::Arc::new(options.client(py)?.into()) })
    }

    fn complete<'py>(&self, py: Python<'py>, call: Call) -> PyResult<Bound<'py, PyAny>> {
        let request = call.request()?;
        let response =
            unless_interrupted(py, |stop| self.client.wait(self.client.inner().complete(request), Some(stop)))?;
        convert::response(py, &response)
    }

    fn stream(&self, call: Call) -> PyResult<Stream> {
        let state =
            Streaming::Waiting { client: std::sync::Arc::clone(&self.client), request: Box::new(call.request()?) };
        Ok(Stream { state: Mutex::new(state) })
    }

    fn batch(&self, call: BatchCall) -> PyResult<Batch> {
        Ok(Batch::new(std::sync::Arc::clone(&self.client), call.batch()?))
    }

    fn create_batch<'py>(&self, py: Python<'py>, call: BatchCall) -> PyResult<Bound<'py, PyAny>> {
        self.batch_job(py, self.client.inner().batches().create(call.batch()?))
    }

    /// `None`: the time is over.
    #[pyo3(signature = (id, timeout=None))]
    fn stored_batch<'py>(
        &self,
        py: Python<'py>,
        id: &str,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let batches = self.client.inner().batches();
        let asked = async {
            let Some(timeout) = timeout else { return batches.get(id).await.map(Some) };
            tokio::time::timeout(options::seconds(timeout), batches.get(id)).await.ok().transpose()
        };
        let job = unless_interrupted(py, |stop| self.client.wait(asked, Some(stop)))?;
        job.map(|job| convert::batch_job(py, &job)).transpose()
    }

    fn cancel_batch<'py>(&self, py: Python<'py>, id: &str) -> PyResult<Bound<'py, PyAny>> {
        self.batch_job(py, self.client.inner().batches().cancel(id))
    }

    fn stored_batches<'py>(
        &self,
        py: Python<'py>,
        project: Option<&str>,
        before: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let batches = self.client.inner().batches();
        let page = unless_interrupted(py, |stop| self.client.wait(batches.list(project, before), Some(stop)))?;
        convert::batch_jobs(py, &page)
    }

    fn batch_results(&self, py: Python<'_>, id: &str, after: u64) -> PyResult<Batch> {
        let results = self.client.batches().results_after(id, after);
        Ok(Batch::stored(results.map_err(|error| convert::exception(py, &error))?))
    }

    fn usage<'py>(&self, py: Python<'py>, project: Option<&str>, period: &str) -> PyResult<Bound<'py, PyAny>> {
        let period = options::period(period)?;
        let usage =
            |stop: &mut dyn FnMut() -> bool| self.client.wait(self.client.inner().usage(project, period), Some(stop));
        convert::usage_stats(py, &unless_interrupted(py, usage)?)
    }

    fn health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let health = unless_interrupted(py, |stop| self.client.wait(self.client.inner().health(), Some(stop)))?;
        convert::health(py, &health)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.client.close());
    }
}

impl SyncCore {
    fn batch_job<'py>(
        &self,
        py: Python<'py>,
        asked: impl Future<Output = Result<BatchJob, Error>> + Send,
    ) -> PyResult<Bound<'py, PyAny>> {
        convert::batch_job(py, &unless_interrupted(py, |stop| self.client.wait(asked, Some(stop)))?)
    }
}

/// Runs `work` without the GIL. It is given a function that says whether a signal handler has raised.
///
/// A daemon thread may outlive the interpreter. `Python::attach` would enter what is left of it, and crash.
pub(crate) fn unless_interrupted<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let result = py.detach(|| {
        log::held_back(|| {
            work(&mut || {
                let checked = Python::try_attach(|py| {
                    log::tell(py);
                    py.check_signals()
                });
                raised = checked.and_then(Result::err);
                raised.is_some()
            })
        })
    });
    log::tell(py);
    result.map_err(|error| match raised {
        Some(raised) if error.kind() == ErrorKind::Interrupted => raised,
        _ => convert::exception(py, &error),
    })
}

/// Drops what may wait for another thread's turn at the client, which may wait for the GIL.
pub(crate) fn drop_without_gil<T: Send>(value: T) {
    let mut value = Some(value);
    // Where there is no interpreter any more, nobody waits for it.
    let _ = Python::try_attach(|py| py.detach(|| drop(value.take())));
}

/// An answer as it comes: an iterator of text, and a context manager.
///
/// The call is sent when the first text is asked for. Leaving the loop, `close()`, the end of a `with` block and garbage
/// collection stop the generation.
#[pyclass(frozen, module = "claude_code_api")]
pub(crate) struct Stream {
    state: Mutex<Streaming>,
}

enum Streaming {
    /// Not sent yet.
    Waiting {
        client: std::sync::Arc<blocking::Client>,
        request: Box<Request>,
    },
    Running(Box<blocking::Stream>),
    /// Ended or closed, with what is known of the answer.
    Ended(Box<Outcome>),
}

/// What a stream knows after its end.
#[derive(Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) text: String,
    pub(crate) response: Option<CompleteResponse>,
}

impl Outcome {
    pub(crate) fn of(stream: &claude_code_api_client::TextStream) -> Self {
        Self {
            id: stream.id().map(str::to_owned),
            model: stream.model().map(str::to_owned),
            text: stream.text().to_owned(),
            response: stream.response().cloned(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop_without_gil(std::mem::replace(state, Streaming::Ended(Box::default())));
    }
}

#[pymethods]
impl Stream {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let mut state = self.exclusive()?;
        if let Streaming::Waiting { client, request } = &*state {
            let opened = unless_interrupted(py, |stop| client.stream_unless((**request).clone(), Some(stop)));
            *state = match opened {
                Ok(stream) => Streaming::Running(Box::new(stream)),
                Err(error) => {
                    *state = Streaming::Ended(Box::default());
                    return Err(error);
                }
            };
        }
        let Streaming::Running(stream) = &mut *state else { return Ok(None) };
        let next = unless_interrupted(py, |stop| stream.next_unless(Some(stop)).transpose());
        if !matches!(next, Ok(Some(_))) {
            end(py, &mut state);
        }
        next
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    /// Stops the generation and closes the connection. What came until then can still be read.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        end(py, &mut *self.exclusive()?);
        Ok(())
    }

    /// The text received until now.
    #[getter]
    fn text(&self) -> PyResult<String> {
        Ok(self.outcome()?.text)
    }

    /// Id of the call; None before its first text.
    #[getter]
    fn id(&self) -> PyResult<Option<String>> {
        Ok(self.outcome()?.id)
    }

    /// The model that answers; None before its first text.
    #[getter]
    fn model(&self) -> PyResult<Option<String>> {
        Ok(self.outcome()?.model)
    }

    /// Tokens of the whole call; None before its end, and when it was ended early.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.outcome()?.response.map(|response| convert::usage(py, response.usage)).transpose()
    }

    /// Cost in USD, for printing; None before the end, and when the call was ended early.
    #[getter]
    fn cost(&self) -> PyResult<Option<f64>> {
        Ok(self.outcome()?.response.map(|response| response.cost))
    }

    /// Cost in nano-dollars, exact; None before the end, and when the call was ended early.
    #[getter]
    fn cost_nanos(&self) -> PyResult<Option<i64>> {
        Ok(self.outcome()?.response.map(|response| response.cost_nanos))
    }

    /// Why generation ended; None before the end, and when the call was ended early.
    #[getter]
    fn stop_reason<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, pyo3::types::PyString>>> {
        self.outcome()?.response.map(|response| convert::word(py, &response.stop_reason)).transpose()
    }

    /// The whole response; None before the end, and when the call was ended early.
    #[getter]
    fn response<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.outcome()?.response.map(|response| convert::response(py, &response)).transpose()
    }
}

impl Stream {
    /// Two threads that read one stream would each get half of it.
    fn exclusive(&self) -> PyResult<MutexGuard<'_, Streaming>> {
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Ok(PoisonError::into_inner(poisoned)),
            Err(std::sync::TryLockError::WouldBlock) => {
                Err(PyRuntimeError::new_err("another thread reads this stream; give each thread its own"))
            }
        }
    }

    fn outcome(&self) -> PyResult<Outcome> {
        Ok(match &*self.exclusive()? {
            Streaming::Waiting { .. } => Outcome::default(),
            Streaming::Running(stream) => stream.inner().map(Outcome::of).unwrap_or_default(),
            Streaming::Ended(outcome) => (**outcome).clone(),
        })
    }
}

fn end(py: Python<'_>, state: &mut Streaming) {
    let outcome = match state {
        Streaming::Waiting { .. } => Outcome::default(),
        Streaming::Running(stream) => stream.inner().map(Outcome::of).unwrap_or_default(),
        Streaming::Ended(_) => return,
    };
    if let Streaming::Running(mut stream) = std::mem::replace(state, Streaming::Ended(Box::new(outcome))) {
        py.detach(|| stream.close());
    }
}

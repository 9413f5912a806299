//! How results get from the runtime's thread to an event loop: one mailbox a loop.
//!
//! The runtime's thread never takes the GIL. It puts a result in and, when the mailbox was empty, writes a byte to a socket
//! that the loop watches; the loop then takes everything that has come. So a burst of results wakes the loop once, a busy
//! interpreter delays nobody, and at interpreter exit no thread of ours is in Python.

use std::{
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::{Arc, Mutex, PoisonError},
};

use claude_code_api_client::{BatchEvent, BatchJob, BatchJobList, CompleteResponse, Error, Health, UsageReport};
use pyo3::{prelude::*, types::PyList};

use crate::{convert, log::Line};

/// What a task was for.
pub(crate) enum Outcome {
    Response(Box<CompleteResponse>),
    Health(Box<Health>),
    Usage(Box<UsageReport>),
    Text(Option<String>),
    Results(Vec<BatchEvent>),
    Job(Box<BatchJob>),
    Jobs(BatchJobList),
    /// Of no task: a line for the log.
    Line(Line),
}

type Letter = (u64, Result<Outcome, Error>);

/// The results that wait for one event loop.
#[pyclass(frozen, module = "claude_code_api._native")]
pub(crate) struct Mailbox {
    slot: Arc<Slot>,
    bell: UnixStream,
}

/// The end that tasks hold.
pub(crate) struct Slot {
    letters: Mutex<Vec<Letter>>,
    button: UnixStream,
}

impl Slot {
    pub(crate) fn put(&self, id: u64, result: Result<Outcome, Error>) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.push((id, result));
        if letters.len() == 1 {
            // A full socket has rung already; one whose loop is gone has nobody to wake.
            let _ = (&self.button).write(&[1]);
        }
    }
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> PyResult<Self> {
        let (bell, button) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        button.set_nonblocking(true)?;
        Ok(Self { slot: Arc::new(Slot { letters: Mutex::default(), button }), bell })
    }

    /// The descriptor to watch: readable when results have come.
    fn fileno(&self) -> i32 {
        self.bell.as_raw_fd()
    }

    /// Takes what has come: a list of (id, value, exception).
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut rung = [0; 64];
        // The bell before the letters: one that comes in between rings again.
        while matches!((&self.bell).read(&mut rung), Ok(read) if read == rung.len()) {}
        let letters = std::mem::take(&mut *self.slot.letters.lock().unwrap_or_else(PoisonError::into_inner));
        let list = PyList::empty(py);
        for (id, result) in letters {
            if let Ok(Outcome::Line(line)) = &result {
                line.write(py);
                continue;
            }
            let value =
                result.map_err(|error| convert::exception(py, &error)).and_then(|outcome| to_python(py, outcome));
            match value {
                Ok(value) => list.append((id, value, py.None()))?,
                Err(error) => list.append((id, py.None(), error.into_value(py)))?,
            }
        }
        Ok(list)
    }
}

impl Mailbox {
    pub(crate) fn inner(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }
}

fn to_python(py: Python<'_>, outcome: Outcome) -> PyResult<Bound<'_, PyAny>> {
    match outcome {
        Outcome::Response(response) => convert::response(py, &response),
        Outcome::Health(health) => convert::health(py, &health),
        Outcome::Usage(usage) => convert::usage_stats(py, &usage),
        Outcome::Text(text) => Ok(text.into_pyobject(py)?),
        Outcome::Results(events) => {
            let results = events.iter().map(|event| convert::batch_result(py, event)).collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, results)?.into_any())
        }
        Outcome::Job(job) => convert::batch_job(py, &job),
        Outcome::Jobs(page) => convert::batch_jobs(py, &page),
        Outcome::Line(_) => Ok(py.None().into_bound(py)),
    }
}

//! The results of a batch for `AsyncClaudeClient`.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use claude_code_api_client::{BatchEvent, BatchStream, Client, Error};
use futures_core::Stream;
use pyo3::prelude::*;
use tokio::sync::Mutex;

use crate::{
    asynchronous::{RUNTIME, Task, runtime, spawn},
    home::Home,
    mailbox::{Mailbox, Outcome},
};

/// The most results that are handed over at once: an event loop has other things to do.
const RESULTS_MAX: usize = 100;

/// The core of `AsyncBatchStream`. The batch is sent when the first result is asked for.
#[pyclass(frozen, module = "claude_code_api._native")]
pub(crate) struct AsyncBatch {
    state: Arc<Mutex<State>>,
    home: Home,
}

enum State {
    /// Not sent yet.
    Waiting {
        client: Client,
        batch: Box<claude_code_api_client::Batch>,
    },
    Running(Box<BatchStream>),
    /// Ended or closed; or failed, and the results that came before that are told first.
    Ended(Option<Box<Error>>),
}

impl State {
    const ENDED: Self = Self::Ended(None);
}

impl AsyncBatch {
    pub(crate) fn new(client: Client, batch: claude_code_api_client::Batch) -> Self {
        let state = State::Waiting { client, batch: Box::new(batch) };
        Self { state: Arc::new(Mutex::new(state)), home: Home::here() }
    }
}

#[pymethods]
impl AsyncBatch {
    /// Asks for the next results, one at least; none are the end.
    fn next(&self, mailbox: &Mailbox, id: u64) -> PyResult<Task> {
        self.home.check("batch")?;
        let state = Arc::clone(&self.state);
        spawn(mailbox, id, async move { Ok(Outcome::Results(next(&state).await?)) })
    }

    /// Cancels what is unfinished, and closes the connection.
    fn close(&self) -> PyResult<()> {
        if !self.home.is_here() {
            return Ok(());
        }
        let runtime = runtime()?;
        if let Ok(mut state) = self.state.try_lock() {
            // What waits for its next attempt is a request, and those end within a runtime.
            let _entered = runtime.enter();
            *state = State::ENDED;
            return Ok(());
        }
        // A read that was cancelled still holds it, for the moment that the runtime takes to drop it.
        let state = Arc::clone(&self.state);
        runtime.spawn(async move { *state.lock().await = State::ENDED });
        Ok(())
    }
}

impl Drop for AsyncBatch {
    fn drop(&mut self) {
        if !self.home.is_here() {
            std::mem::forget(Arc::clone(&self.state));
        } else if let Some(runtime) = RUNTIME.get() {
            let _entered = runtime.enter();
            self.state = Arc::new(Mutex::new(State::ENDED));
        }
    }
}

/// All results that are there, one at least, so that a burst of them wakes the event loop once.
async fn next(state: &Mutex<State>) -> Result<Vec<BatchEvent>, Error> {
    let mut state = state.lock().await;
    if matches!(*state, State::Waiting { .. })
        && let State::Waiting { client, batch } = std::mem::replace(&mut *state, State::ENDED)
    {
        *state = State::Running(Box::new(client.batch_stream(*batch).await?));
    }
    let stream = match &mut *state {
        State::Running(stream) => stream,
        State::Ended(failed) => return failed.take().map_or(Ok(Vec::new()), |error| Err(*error)),
        State::Waiting { .. } => unreachable!("it was sent above"),
    };
    let mut results = Vec::new();
    let ended = poll_fn(|context| {
        while results.len() < RESULTS_MAX {
            match Pin::new(&mut **stream).poll_next(context) {
                Poll::Ready(Some(Ok(event))) => results.push(event),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Some(Box::new(error)))),
                Poll::Ready(None) => return Poll::Ready(Some(None)),
                Poll::Pending if results.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(None)
    });
    if let Some(mut failed) = ended.await {
        let error = if results.is_empty() { failed.take() } else { None };
        *state = State::Ended(failed);
        if let Some(error) = error {
            return Err(*error);
        }
    }
    Ok(results)
}

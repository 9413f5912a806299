//! The results of a batch for `AsyncClaudeClient`.

use std::sync::Arc;

use claude_code_api_client::{BatchEvent, BatchStream, Client, Error};
use pyo3::prelude::*;
use tokio::sync::Mutex;

use crate::{
    asynchronous::{RUNTIME, Task, runtime, spawn},
    home::Home,
    mailbox::{Mailbox, Outcome},
};

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
    /// Ended or closed.
    Ended,
}

impl AsyncBatch {
    pub(crate) fn new(client: Client, batch: claude_code_api_client::Batch) -> Self {
        let state = State::Waiting { client, batch: Box::new(batch) };
        Self { state: Arc::new(Mutex::new(state)), home: Home::here() }
    }
}

#[pymethods]
impl AsyncBatch {
    /// Asks for the next result; None is the end.
    fn next(&self, mailbox: &Mailbox, id: u64) -> PyResult<Task> {
        self.home.check("batch")?;
        let state = Arc::clone(&self.state);
        spawn(mailbox, id, async move { Ok(Outcome::Result(next(&state).await?.map(Box::new))) })
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
            *state = State::Ended;
            return Ok(());
        }
        // A read that was cancelled still holds it, for the moment that the runtime takes to drop it.
        let state = Arc::clone(&self.state);
        runtime.spawn(async move { *state.lock().await = State::Ended });
        Ok(())
    }
}

impl Drop for AsyncBatch {
    fn drop(&mut self) {
        if !self.home.is_here() {
            std::mem::forget(Arc::clone(&self.state));
        } else if let Some(runtime) = RUNTIME.get() {
            let _entered = runtime.enter();
            self.state = Arc::new(Mutex::new(State::Ended));
        }
    }
}

async fn next(state: &Mutex<State>) -> Result<Option<BatchEvent>, Error> {
    let mut state = state.lock().await;
    if matches!(*state, State::Waiting { .. })
        && let State::Waiting { client, batch } = std::mem::replace(&mut *state, State::Ended)
    {
        *state = State::Running(Box::new(client.batch_stream(*batch).await?));
    }
    let State::Running(stream) = &mut *state else { return Ok(None) };
    let next = stream.next().await.transpose();
    if !matches!(next, Ok(Some(_))) {
        *state = State::Ended;
    }
    next
}

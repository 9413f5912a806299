//! The results of a batch for `AsyncClaudeClient`.

use std::{future::poll_fn, pin::Pin, task::Poll};

use claude_code_api_client::{BatchEvent, BatchResults, Client, Error};
use futures_core::Stream;
use pyo3::prelude::*;

use crate::{
    asynchronous::Task,
    mailbox::{Mailbox, Outcome},
    source::{Answer, Source},
};

/// The most results that are handed over at once: an event loop has other things to do.
const RESULTS_MAX: usize = 100;

/// The core of `AsyncBatchStream`, whose batch is sent when the first result is asked for; and the results of a stored batch.
#[pyclass(frozen, module = "claude_code_api._native")]
pub(crate) struct AsyncBatch(Source<State>);

enum State {
    /// Not sent yet.
    Waiting {
        client: Client,
        batch: Box<claude_code_api_client::Batch>,
    },
    Running(Results),
    /// Ended or closed; or failed, and the results that came before that are told first.
    Ended(Option<Box<Error>>),
}

/// Results, of whichever kind of batch.
type Results = Pin<Box<dyn Stream<Item = Result<BatchEvent, Error>> + Send>>;

impl AsyncBatch {
    pub(crate) fn new(client: Client, batch: claude_code_api_client::Batch) -> Self {
        Self(Source::new(State::Waiting { client, batch: Box::new(batch) }))
    }

    pub(crate) fn stored(results: BatchResults) -> Self {
        Self(Source::new(State::Running(Box::pin(results))))
    }
}

#[pymethods]
impl AsyncBatch {
    /// Asks for the next results, one at least; none are the end.
    fn next(&self, mailbox: &Mailbox, id: u64) -> PyResult<Task> {
        self.0.read(mailbox, id)
    }

    /// Cancels what is unfinished, and closes the connection.
    fn close(&self) -> PyResult<()> {
        self.0.close()
    }
}

impl Answer for State {
    const NAME: &'static str = "batch";

    fn nothing() -> Outcome {
        Outcome::Results(Vec::new())
    }

    async fn next(&mut self) -> Result<Outcome, Error> {
        Ok(Outcome::Results(next(self).await?))
    }

    fn end(&mut self) {
        *self = Self::Ended(None);
    }
}

/// All results that are there, one at least, so that a burst of them wakes the event loop once.
async fn next(state: &mut State) -> Result<Vec<BatchEvent>, Error> {
    if matches!(state, State::Waiting { .. })
        && let State::Waiting { client, batch } = std::mem::replace(state, State::Ended(None))
    {
        *state = State::Running(Box::pin(client.batch_stream(*batch).await?));
    }
    let stream = match state {
        State::Running(stream) => stream,
        State::Ended(failed) => return failed.take().map_or(Ok(Vec::new()), |error| Err(*error)),
        State::Waiting { .. } => unreachable!("it was sent above"),
    };
    let mut results = Vec::new();
    let ended = poll_fn(|context| {
        while results.len() < RESULTS_MAX {
            match stream.as_mut().poll_next(context) {
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

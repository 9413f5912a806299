//! The async client. One thread of the process drives every call and never enters Python; results go through a [`Mailbox`].

use std::sync::Arc;

use claude_code_api_client::{Client, Error, Request, TextStream, process::PerProcess};
use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tokio::{runtime::Runtime, task::AbortHandle};

use crate::{
    async_batch::AsyncBatch,
    convert,
    log::MAILBOX,
    mailbox::{Mailbox, Outcome},
    options::{self, BatchCall, Call, Options},
    source::{Answer, Source},
    sync,
};

pub(crate) static RUNTIME: PerProcess<Runtime> = PerProcess::new();

pub(crate) fn runtime() -> PyResult<Arc<Runtime>> {
    let made = RUNTIME.get_or_try_make(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("claude-code-api")
            .enable_all()
            .build()
    });
    made.map_err(|error| PyRuntimeError::new_err(format!("cannot start the client's thread: {error}")))
}

/// A call that runs.
#[pyclass(frozen, module = "claude_code_api._native")]
pub(crate) struct Task(AbortHandle);

#[pymethods]
impl Task {
    /// Drops the call: its connection is closed at once, and that stops the generation.
    fn cancel(&self) {
        self.0.abort();
    }
}

pub(crate) fn spawn(
    mailbox: &Mailbox,
    id: u64,
    work: impl Future<Output = Result<Outcome, Error>> + Send + 'static,
) -> PyResult<Task> {
    let slot = mailbox.inner();
    let task = runtime()?.spawn(MAILBOX.scope(Arc::clone(&slot), async move { slot.put(id, work.await) }));
    Ok(Task(task.abort_handle()))
}

/// The core of `AsyncClaudeClient`.
#[pyclass(frozen, module = "claude_code_api._native")]
pub(crate) struct AsyncCore {
    client: Client,
}

#[pymethods]
impl AsyncCore {
    #[new]
    fn new(py: Python<'_>, options: Options) -> PyResult<Self> {
        Ok(Self { client: options.client(py)? })
    }

    fn complete(&self, mailbox: &Mailbox, id: u64, call: Call) -> PyResult<Task> {
        let (client, request) = (self.client.clone(), call.request()?);
        spawn(mailbox, id, async move { Ok(Outcome::Response(Box::new(client.complete(request).await?))) })
    }

    fn usage(&self, mailbox: &Mailbox, id: u64, project: Option<String>, period: &str) -> PyResult<Task> {
        let (client, period) = (self.client.clone(), options::period(period)?);
        spawn(mailbox, id, async move { Ok(Outcome::Usage(Box::new(client.usage(project.as_deref(), period).await?))) })
    }

    fn health(&self, mailbox: &Mailbox, id: u64) -> PyResult<Task> {
        let client = self.client.clone();
        spawn(mailbox, id, async move { Ok(Outcome::Health(Box::new(client.health().await?))) })
    }

    fn stream(&self, call: Call) -> PyResult<AsyncStreamCore> {
        let state = Streaming::Waiting { client: self.client.clone(), request: Box::new(call.request()?) };
        Ok(AsyncStreamCore(Source::new(state)))
    }

    fn batch(&self, call: BatchCall) -> PyResult<AsyncBatch> {
        Ok(AsyncBatch::new(self.client.clone(), call.batch()?))
    }

    fn create_batch(&self, mailbox: &Mailbox, id: u64, call: BatchCall) -> PyResult<Task> {
        let (batches, batch) = (self.client.batches(), call.batch()?);
        spawn(mailbox, id, async move { Ok(Outcome::Job(Box::new(batches.create(batch).await?))) })
    }

    fn stored_batch(&self, mailbox: &Mailbox, id: u64, batch: String) -> PyResult<Task> {
        let batches = self.client.batches();
        spawn(mailbox, id, async move { Ok(Outcome::Job(Box::new(batches.get(&batch).await?))) })
    }

    fn cancel_batch(&self, mailbox: &Mailbox, id: u64, batch: String) -> PyResult<Task> {
        let batches = self.client.batches();
        spawn(mailbox, id, async move { Ok(Outcome::Job(Box::new(batches.cancel(&batch).await?))) })
    }

    fn stored_batches(
        &self,
        mailbox: &Mailbox,
        id: u64,
        project: Option<String>,
        before: Option<String>,
    ) -> PyResult<Task> {
        let batches = self.client.batches();
        let page = async move { batches.list(project.as_deref(), before.as_deref()).await };
        spawn(mailbox, id, async move { Ok(Outcome::Jobs(page.await?)) })
    }

    fn batch_results(&self, id: &str, after: u64) -> AsyncBatch {
        AsyncBatch::stored(self.client.batches().results_after(id, after))
    }

    fn close(&self) {
        // Without a runtime there are no connections either.
        if let Some(runtime) = RUNTIME.get() {
            let _entered = runtime.enter();
            self.client.close();
        }
    }
}

enum Streaming {
    /// Not sent yet.
    Waiting {
        client: Client,
        request: Box<Request>,
    },
    Running(Box<TextStream>),
    /// Ended or closed, with what is known of the answer.
    Ended(Box<sync::Outcome>),
}

#[expect(clippy::disallowed_methods, reason = "this is no thread of the runtime")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(1));
}

/// Text, id, model and response of a stream, as far as they are known.
type Known<'py> = (String, Option<String>, Option<String>, Option<Bound<'py, PyAny>>);

/// The core of `AsyncStream`.
#[pyclass(frozen, module = "claude_code_api._native")]
pub(crate) struct AsyncStreamCore(Source<Streaming>);

#[pymethods]
impl AsyncStreamCore {
    /// Asks for the next text; None is the end.
    fn next(&self, mailbox: &Mailbox, id: u64) -> PyResult<Task> {
        self.0.read(mailbox, id)
    }

    /// Stops the generation and closes the connection.
    fn close(&self) -> PyResult<()> {
        self.0.close()
    }

    /// (text, id, model, response or None).
    fn outcome<'py>(&self, py: Python<'py>) -> PyResult<Known<'py>> {
        // A read that was cancelled, or closed, holds it for the moment that the runtime takes to drop it.
        let mut attempts = 0..20;
        let state = loop {
            match self.0.look() {
                Ok(state) => break state,
                Err(_) if attempts.next().is_some() => py.detach(pause),
                Err(_) => {
                    return Err(PyRuntimeError::new_err("the stream is being read; look at it between two texts"));
                }
            }
        };
        let outcome = match &*state {
            Streaming::Waiting { .. } => sync::Outcome::default(),
            Streaming::Running(stream) => sync::Outcome::of(stream),
            Streaming::Ended(outcome) => (**outcome).clone(),
        };
        let response = outcome.response.map(|response| convert::response(py, &response)).transpose()?;
        Ok((outcome.text, outcome.id, outcome.model, response))
    }
}

impl Answer for Streaming {
    const NAME: &'static str = "stream";

    fn nothing() -> Outcome {
        Outcome::Text(None)
    }

    async fn next(&mut self) -> Result<Outcome, Error> {
        if let Self::Waiting { client, request } = self {
            *self = match client.stream((**request).clone()).await {
                Ok(stream) => Self::Running(Box::new(stream)),
                Err(error) => {
                    *self = Self::Ended(Box::default());
                    return Err(error);
                }
            };
        }
        let Self::Running(stream) = self else { return Ok(Self::nothing()) };
        let next = stream.next().await.transpose();
        if !matches!(next, Ok(Some(_))) {
            self.end();
        }
        Ok(Outcome::Text(next?))
    }

    fn end(&mut self) {
        let outcome = match self {
            Self::Waiting { .. } => sync::Outcome::default(),
            Self::Running(stream) => sync::Outcome::of(stream),
            Self::Ended(_) => return,
        };
        *self = Self::Ended(Box::new(outcome));
    }
}

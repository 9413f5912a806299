//! Arguments from Python.

use std::time::Duration;

use claude_code_api_client::{Batch, BatchPrompt, Client, ClientBuilder, Message, Period, Request, Routing};
use pyo3::{exceptions::PyValueError, prelude::*};

use crate::convert;

/// What both clients are made from. `None`: the environment, then the default.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    base_url: Option<String>,
    api_key: Option<String>,
    project_id: Option<String>,
    timeout: f64,
    max_retries: u32,
    retry_delay: f64,
    max_retry_after: f64,
}

impl Options {
    pub(crate) fn client(self, py: Python<'_>) -> PyResult<Client> {
        let mut builder = ClientBuilder::default()
            .timeout(seconds(self.timeout))
            .max_retries(self.max_retries)
            .retry_delay(seconds(self.retry_delay))
            .max_retry_after(seconds(self.max_retry_after));
        if let Some(url) = self.base_url {
            builder = builder.base_url(url);
        }
        if let Some(key) = self.api_key {
            builder = builder.api_key(key);
        }
        if let Some(project) = self.project_id {
            builder = builder.project_id(project);
        }
        builder.build().map_err(|error| convert::exception(py, &error))
    }
}

/// One call's arguments, checked by the façade for what Rust's types do not.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Call {
    prompt: Option<String>,
    messages: Option<Vec<(String, String)>>,
    model: Option<String>,
    project_id: Option<String>,
    timeout: Option<f64>,
    total_timeout: Option<f64>,
    system: Option<String>,
    max_tokens: Option<u32>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    stop_sequences: Option<Vec<String>>,
    seed: Option<u32>,
    max_cost: Option<f64>,
    routing: Option<String>,
    conversation_id: Option<String>,
    idempotency_key: Option<String>,
}

impl Call {
    pub(crate) fn request(self) -> PyResult<Request> {
        let mut request = match self.messages {
            Some(messages) => Request::conversation(messages.into_iter().map(message).collect::<PyResult<Vec<_>>>()?),
            None => Request::new(self.prompt.unwrap_or_default()),
        };
        macro_rules! set {
            ($($name:ident),*) => { $(if let Some(value) = self.$name { request = request.$name(value); })* };
        }
        set!(
            model,
            project_id,
            system,
            max_tokens,
            temperature,
            top_p,
            stop_sequences,
            seed,
            max_cost,
            conversation_id,
            idempotency_key
        );
        if let Some(routing) = self.routing {
            request = request.routing(parsed(&routing)?);
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(seconds(timeout));
        }
        if let Some(timeout) = self.total_timeout {
            request = request.total_timeout(seconds(timeout));
        }
        Ok(request)
    }
}

/// One batch's arguments, checked as those of [`Call`] are.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct BatchCall {
    prompts: Vec<(String, Option<String>)>,
    model: Option<String>,
    project_id: Option<String>,
    parallel: bool,
    timeout: Option<f64>,
    system: Option<String>,
    max_tokens: Option<u32>,
    max_concurrency: Option<u32>,
    max_cost: Option<f64>,
    routing: Option<String>,
    idempotency_key: Option<String>,
    economy: bool,
}

impl BatchCall {
    pub(crate) fn batch(self) -> PyResult<Batch> {
        let prompts = self.prompts.into_iter().map(|(prompt, id)| BatchPrompt { prompt, id });
        let mut batch = Batch::new(prompts).economy(self.economy);
        // The default is not sent: an economy batch takes no word on it.
        if !self.parallel {
            batch = batch.parallel(false);
        }
        macro_rules! set {
            ($($name:ident),*) => { $(if let Some(value) = self.$name { batch = batch.$name(value); })* };
        }
        set!(model, project_id, system, max_tokens, max_concurrency, max_cost, idempotency_key);
        if let Some(timeout) = self.timeout {
            batch = batch.timeout(seconds(timeout));
        }
        if let Some(routing) = self.routing {
            batch = batch.routing(parsed(&routing)?);
        }
        Ok(batch)
    }
}

fn parsed(routing: &str) -> PyResult<Routing> {
    Routing::parse(routing).map_err(|why| PyValueError::new_err(format!("routing: {why}")))
}

/// A window's length; the façade has refused other words.
pub(crate) fn period(word: &str) -> PyResult<Period> {
    serde_json::from_value(word.into()).map_err(|error| PyValueError::new_err(format!("period: {error}")))
}

fn message((role, content): (String, String)) -> PyResult<Message> {
    let role = serde_json::from_value(role.clone().into())
        .map_err(|_| PyValueError::new_err(format!("role: takes \"user\" or \"assistant\"; it was {role:?}")))?;
    Ok(Message { role, content })
}

/// The façade has refused what is not above 0.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

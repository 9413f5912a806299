//! The async client.

use std::{
    fmt,
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use claude_code_api_wire::{CompleteResponse, Health, Period, RouteResponse, UsageReport};
use reqwest::{Method, header::HeaderValue};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    Batch, BatchResponse, BatchStream, Batches, ClientBuilder, Error, ErrorKind, Request, TextStream, error,
    options::{LONGEST, Options},
    retry::{self, RetryBudget},
    transport::{self, Transport},
};

/// The service gets less time than the caller gave, so that its answer, which knows more, comes before ours.
const HEAD_START: Duration = Duration::from_millis(250);

/// A client of one service. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    options: Options,
    transport: Transport,
    budget: RetryBudget,
}

impl Client {
    /// A client set up by the environment and the defaults: see [`ClientBuilder`].
    ///
    /// ```no_run
    /// let client = claude_code_api_client::Client::new()?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// A URL in the environment that is none.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Sets up a client.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// # use std::time::Duration;
    /// let client = Client::builder().project_id("team-a").timeout(Duration::from_mins(2)).build()?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn from_options(options: Options) -> Self {
        Self(Arc::new(Shared { options, transport: Transport::default(), budget: RetryBudget::default() }))
    }

    /// URL of the service, with a slash at its end.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let client = Client::builder().base_url("http://localhost:8080").build()?;
    /// assert_eq!(client.base_url(), "http://localhost:8080/");
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn base_url(&self) -> &str {
        self.0.options.base_url.as_str()
    }

    /// The whole answer to one prompt.
    ///
    /// ```no_run
    /// # use claude_code_api_client::Request;
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let short = client.complete("Name three colours").await?.content;
    /// let answer = client.complete(Request::new("Prove it").model("opus").max_tokens(500)).await?;
    /// println!("{} for ${:.4}, by {}", answer.content, answer.cost, answer.model);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What the service refused, a connection that failed, or a time-out; see the head of this crate for what is tried again.
    pub async fn complete(&self, request: impl Into<Request>) -> Result<CompleteResponse, Error> {
        let mut request = request.into();
        let timeout = request.timeout.unwrap_or(self.0.options.timeout);
        let deadline = Instant::now() + timeout;
        let key = self.prepare(&mut request)?;
        let attempt = || {
            let (mut body, key) = (request.body.clone(), &key);
            async move {
                body.timeout = Some(server_timeout(deadline.saturating_duration_since(Instant::now())));
                transport::json(self.post("v1/complete", key, &body).await?).await
            }
        };
        self.attempts_within(timeout, attempt).await
    }

    /// The answer as it comes. Returns when its first text has come, so that a failure before that is an error here.
    ///
    /// ```no_run
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let mut stream = client.stream("Tell me a story").await?;
    /// while let Some(text) = stream.next().await {
    ///     print!("{}", text?);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Client::complete`]. Errors after the first text come from the stream.
    pub async fn stream(&self, request: impl Into<Request>) -> Result<TextStream, Error> {
        let mut request = request.into();
        let timeout = request.timeout.unwrap_or(self.0.options.timeout);
        let deadline = request.total_timeout.map(|total| Instant::now() + total);
        let key = self.prepare(&mut request)?;
        request.body.stream = true;
        // It may take as long as it goes on, and the service has a limit of its own for who says nothing.
        request.body.timeout = Some(request.total_timeout.unwrap_or(LONGEST).as_secs_f64());
        let attempt = || {
            let (body, key) = (&request.body, &key);
            async move {
                let left = deadline.map_or(timeout, |at| at.saturating_duration_since(Instant::now()).min(timeout));
                let response = self.answer_within(left, self.post("v1/complete", key, body)).await?;
                TextStream::open(response, timeout, deadline).await
            }
        };
        self.attempts(deadline, attempt).await
    }

    /// What came of each of many prompts, in their order. What fails a prompt stands in its result; the batch itself is `Ok`.
    ///
    /// ```no_run
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let batch = client.batch(["Write a haiku", "Count to 5"]).await?;
    /// for result in &batch.results {
    ///     println!("{}", result.content.as_ref().or(result.error.as_ref()).expect("one of the two"));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What the service refused as a whole, connections that failed, or 60 s without a byte.
    pub async fn batch(&self, batch: impl Into<Batch>) -> Result<BatchResponse, Error> {
        self.batch_stream(batch).await?.response().await
    }

    /// The results of many prompts as they come. Returns when the service has taken the batch.
    ///
    /// ```no_run
    /// # use claude_code_api_client::Batch;
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let mut stream = client.batch_stream(Batch::new(["Write a haiku", "Count to 5"]).max_concurrency(2)).await?;
    /// while let Some(event) = stream.next().await {
    ///     let event = event?;
    ///     println!("prompt {}: {}", event.index, event.result.status);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Client::batch`]. Errors after the service has taken it come from the stream.
    pub async fn batch_stream(&self, batch: impl Into<Batch>) -> Result<BatchStream, Error> {
        let mut batch = batch.into();
        batch.check()?;
        self.fill_in(&mut batch.body.project_id);
        let key = idempotency_key(batch.idempotency_key.take())?;
        BatchStream::open(self.clone(), batch, key).await
    }

    /// What a project has used in the window of this length that is now. `None`: the client's project, else the key's own.
    ///
    /// ```no_run
    /// # use claude_code_api_client::Period;
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let month = client.usage(None, Period::Month).await?;
    /// println!("${:.2} spent, {:?} tokens left", month.total_cost, month.remaining);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Client::complete`].
    pub async fn usage(&self, project: Option<&str>, period: Period) -> Result<UsageReport, Error> {
        let query = [("period", Some(period.as_str())), ("project_id", self.or_own(project))];
        self.get(&with_query("v1/usage", query)).await
    }

    /// Which model `auto` would pick for this, and why. Nothing is asked of it, and nothing is spent.
    ///
    /// ```no_run
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let route = client.route("Prove that there are infinitely many primes").await?.route;
    /// println!("{}: {}", route.tier, route.reason);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As of [`complete`](Self::complete): also where the budget would not cover any model.
    pub async fn route(&self, request: impl Into<Request>) -> Result<RouteResponse, Error> {
        let mut request = request.into();
        let key = self.prepare(&mut request)?;
        self.attempts_in_time(|| async { transport::json(self.post("v1/route", &key, &request.body).await?).await })
            .await
    }

    /// The batches that the service stores.
    ///
    /// ```no_run
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let job = client.batches().create(["Write a haiku", "Count to 5"]).await?;
    /// println!("{} goes on without this program", job.id);
    /// # Ok(()) }
    /// ```
    pub fn batches(&self) -> Batches {
        Batches(self.clone())
    }

    /// How the service is. One attempt.
    ///
    /// ```no_run
    /// # use claude_code_api_client::HealthStatus;
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// assert_eq!(client.health().await?.status, HealthStatus::Ok);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A connection that failed, or a time-out.
    pub async fn health(&self) -> Result<Health, Error> {
        let asked = async { transport::json(self.open("health").await?).await };
        let once = async { asked.await.map_err(|error: Error| error.after(1, None)) };
        self.answer_within(self.0.options.timeout, once).await
    }

    /// Closes the connections that are not in use. The client can still be used, and connects anew.
    ///
    /// ```no_run
    /// # use claude_code_api_client::Client;
    /// let client = Client::new()?;
    /// client.close();
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn close(&self) {
        self.0.transport.close();
    }

    /// One attempt: the response to a GET, whose body is still to be read.
    pub(crate) async fn open(&self, path: &str) -> Result<reqwest::Response, Error> {
        self.0.transport.send(&self.0.options, Method::GET, path, None).await
    }

    /// What a GET is answered with, within the client's time-out.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.attempts_in_time(|| async { transport::json(self.open(path).await?).await }).await
    }

    /// What a POST is answered with, within the client's time-out and under one key for all attempts: the caller's, or a new one.
    pub(crate) async fn post_in_time<T: DeserializeOwned>(
        &self,
        path: &str,
        key: Option<String>,
        body: &impl serde::Serialize,
    ) -> Result<T, Error> {
        let key = &idempotency_key(key)?;
        self.attempts_in_time(|| async move { transport::json(self.post(path, key, body).await?).await }).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        key: &HeaderValue,
        body: &impl serde::Serialize,
    ) -> Result<reqwest::Response, Error> {
        let body = serde_json::to_vec(body).expect("wire types serialize");
        self.0.transport.send(&self.0.options, Method::POST, path, Some((key, body))).await
    }

    async fn attempts_in_time<T, A>(&self, attempt: impl Fn() -> A) -> Result<T, Error>
    where
        A: Future<Output = Result<T, Error>>,
    {
        self.attempts_within(self.0.options.timeout, attempt).await
    }

    /// Makes attempts until one succeeds, there is no point in another, or the time is over.
    async fn attempts_within<T, A>(&self, timeout: Duration, attempt: impl Fn() -> A) -> Result<T, Error>
    where
        A: Future<Output = Result<T, Error>>,
    {
        let (made, deadline) = (AtomicU32::new(0), Instant::now() + timeout);
        let counted = || {
            made.fetch_add(1, Ordering::Relaxed);
            attempt()
        };
        let answer = self.answer_within(timeout, self.attempts(Some(deadline), counted)).await;
        // Where it is the time that is over, nobody else has counted.
        answer.map_err(
            |error| if error.attempts() == 0 { error.after(made.load(Ordering::Relaxed), None) } else { error },
        )
    }

    async fn answer_within<T>(
        &self,
        timeout: Duration,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let answer = tokio::time::timeout(timeout, answer).await;
        answer.unwrap_or_else(|_| Err(self.timed_out(format!("no answer within {} s", timeout.as_secs_f64()))))
    }

    /// Makes attempts until one succeeds or there is no point in another.
    async fn attempts<T, A>(&self, deadline: Option<Instant>, attempt: impl Fn() -> A) -> Result<T, Error>
    where
        A: Future<Output = Result<T, Error>>,
    {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match attempt().await {
                Ok(value) => {
                    self.succeeded(attempts);
                    return Ok(value);
                }
                Err(error) => {
                    tokio::time::sleep(self.wait_after(error, attempts, deadline)?).await;
                }
            }
        }
    }

    /// The wait before another attempt, or the error to return.
    pub(crate) fn wait_after(&self, error: Error, attempts: u32, deadline: Option<Instant>) -> Result<Duration, Error> {
        let wait = retry::next_wait(&error, attempts, &self.0.options, &self.0.budget, deadline);
        if let Ok(wait) = wait {
            let attempts_max = self.0.options.attempts_max;
            tracing::info!(
                "attempt {attempts} of {attempts_max} failed: {error}; another in {:.2} s",
                wait.as_secs_f64()
            );
        }
        wait.map_err(|note| error.after(attempts, note))
    }

    /// A call succeeded at this attempt.
    pub(crate) fn succeeded(&self, attempts: u32) {
        if attempts == 1 {
            self.0.budget.gain();
        }
    }

    /// Checks it, fills in what the client knows, and gives the key of all attempts.
    fn prepare(&self, request: &mut Request) -> Result<HeaderValue, Error> {
        request.check()?;
        self.fill_in(&mut request.body.project_id);
        idempotency_key(request.idempotency_key.take())
    }

    pub(crate) fn fill_in(&self, project: &mut Option<String>) {
        if project.is_none() {
            project.clone_from(&self.0.options.project_id);
        }
    }

    pub(crate) fn or_own<'a>(&'a self, project: Option<&'a str>) -> Option<&'a str> {
        project.or(self.0.options.project_id.as_deref())
    }

    /// How long an answer may take that is given no time of its own.
    pub(crate) fn default_timeout(&self) -> Duration {
        self.0.options.timeout
    }

    pub(crate) fn timed_out(&self, message: String) -> Error {
        Error::new(ErrorKind::Timeout, message).at(&self.0.options.base_url)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { base_url, project_id, timeout, .. } = &self.0.options;
        f.debug_struct("Client")
            .field("base_url", &error::shown(base_url).as_str())
            .field("project_id", project_id)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// The caller's key, or a new one.
fn idempotency_key(given: Option<String>) -> Result<HeaderValue, Error> {
    let key = given.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    HeaderValue::try_from(key)
        .map_err(|_| Error::new(ErrorKind::Configuration, "idempotency_key: takes visible ASCII characters"))
}

/// A path with the parameters that have a value.
pub(crate) fn with_query<const N: usize>(path: &str, parameters: [(&str, Option<&str>); N]) -> String {
    let mut query = url::form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
    for (name, value) in parameters {
        query.extend_pairs(value.map(|value| (name, value)));
    }
    query.finish()
}

/// Seconds that the service gets of what is `left`, to the millisecond.
fn server_timeout(left: Duration) -> f64 {
    let seconds = left.saturating_sub(HEAD_START).max(left / 2).as_secs_f64();
    (seconds * 1e3).ceil() / 1e3
}

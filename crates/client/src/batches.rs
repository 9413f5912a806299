//! Batches that the service stores, and works on whether or not anybody waits.

use std::time::{Duration, Instant};

use claude_code_api_wire::{BatchJob, BatchJobList};

use crate::{Batch, BatchResults, Client, Error, ErrorKind, client::with_query};

/// The shortest and the longest time between two looks at a batch that is waited for.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The batches that a service stores: [`Client::batches`]. Each goes on whatever becomes of its caller, and through restarts of the
/// service; no prompt of it is paid for twice. Whoever knows its id can come back to it, until some time after its end.
///
/// ```no_run
/// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
/// let batches = client.batches();
/// let job = batches.create(["Write a haiku", "Count to 5"]).await?;
/// let job = batches.wait(&job.id, None, |job| println!("{} of {}", job.completed + job.failed, job.total)).await?;
/// let mut results = batches.results(&job.id);
/// while let Some(event) = results.next().await {
///     println!("{:?}", event?.result.content);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Batches(pub(crate) Client);

impl Batches {
    /// Stores a batch, to be worked on from now on. Of the batch counts all but [`Batch::silence_timeout`]. A program that may be restarted
    /// before it knows the id gives a key of its own ([`Batch::idempotency_key`]): sent again, it is the same batch.
    ///
    /// ```no_run
    /// # use claude_code_api_client::Batch;
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let batch = Batch::new(["Write a haiku", "Count to 5"]).model("haiku").idempotency_key("night-7");
    /// println!("{}", client.batches().create(batch).await?.id);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What the service refused, a connection that failed, or a time-out.
    pub async fn create(&self, batch: impl Into<Batch>) -> Result<BatchJob, Error> {
        let batch = batch.into();
        batch.check()?;
        let Batch { mut body, idempotency_key, .. } = batch;
        body.stream = false;
        self.0.fill_in(&mut body.project_id);
        self.0.post_in_time("v1/batches", idempotency_key, &body).await
    }

    /// How far a batch is.
    ///
    /// ```no_run
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let job = client.batches().get("batch_01a21378be8f7744b64a5b978ca924f3").await?;
    /// println!("{}: {} answered, {} failed, of {}", job.status, job.completed, job.failed, job.total);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// There is no such batch (`not_found`), a connection that failed, or a time-out; so for all that takes an id.
    pub async fn get(&self, id: &str) -> Result<BatchJob, Error> {
        self.0.get(&path(id, "")?).await
    }

    /// A page of a project's batches, the newest first; `before` is the `next_before` of the page before. `None`: the client's project,
    /// else the key's own.
    ///
    /// ```no_run
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let page = client.batches().list(None, None).await?;
    /// let older = client.batches().list(None, page.next_before.as_deref()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What the service refused, a connection that failed, or a time-out.
    pub async fn list(&self, project: Option<&str>, before: Option<&str>) -> Result<BatchJobList, Error> {
        self.0.get(&with_query("v1/batches", [("project_id", self.0.or_own(project)), ("before", before)])).await
    }

    /// The results that a batch has by now, in the order in which they came. A connection that is lost is followed by another, which
    /// goes on where it broke off.
    ///
    /// ```no_run
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let mut results = client.batches().results("batch_01a21378be8f7744b64a5b978ca924f3");
    /// while let Some(event) = results.next().await {
    ///     let event = event?;
    ///     println!("prompt {}: {}", event.index, event.result.status);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn results(&self, id: &str) -> BatchResults {
        self.results_after(id, 0)
    }

    /// The same without the first `count`, for who has those already.
    ///
    /// ```no_run
    /// # fn example(client: claude_code_api_client::Client, lines_of_my_file: u64) {
    /// let rest = client.batches().results_after("batch_01a21378be8f7744b64a5b978ca924f3", lines_of_my_file);
    /// # }
    /// ```
    pub fn results_after(&self, id: &str, count: u64) -> BatchResults {
        BatchResults::new(self.0.clone(), path(id, "/results"), count)
    }

    /// Cancels a batch: what runs is ended, and what waits does not begin. Results that came stay.
    ///
    /// ```no_run
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// client.batches().cancel("batch_01a21378be8f7744b64a5b978ca924f3").await?;
    /// # Ok(()) }
    /// ```
    pub async fn cancel(&self, id: &str) -> Result<BatchJob, Error> {
        self.0.post_in_time(&path(id, "/cancel")?, None, &serde_json::Map::new()).await
    }

    /// Waits until a batch has ended, or was cancelled. It looks every 100 ms, and then less and less often, up to every 2 s; `on_progress`
    /// is told what it sees. Giving up, by time-out or by dropping it, cancels nothing.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let id = "batch_01a21378be8f7744b64a5b978ca924f3";
    /// let job = client.batches().wait(id, Some(Duration::from_hours(1)), |job| println!("{}", job.completed)).await?;
    /// println!("{}: ${:.2}", job.status, job.total_cost);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Batches::get`]; and a time-out where it has not ended within `timeout`.
    pub async fn wait(
        &self,
        id: &str,
        timeout: Option<Duration>,
        mut on_progress: impl FnMut(&BatchJob),
    ) -> Result<BatchJob, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (mut pause, longest) = LOOK_EVERY;
        let late = || {
            let waited = timeout.unwrap_or_default().as_secs_f64();
            self.0.timed_out(format!("the batch has not ended within {waited} s, and goes on"))
        };
        loop {
            let look = self.get(id);
            let job = match deadline {
                Some(deadline) => {
                    tokio::time::timeout_at(deadline.into(), look).await.unwrap_or_else(|_| Err(late()))?
                }
                None => look.await?,
            };
            on_progress(&job);
            if job.ended_at.is_some() {
                return Ok(job);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(late());
            }
            tokio::time::sleep(left.unwrap_or(pause).min(pause)).await;
            pause = (pause * 3 / 2).min(longest);
        }
    }
}

/// The path of a batch, or of what it has. An id goes into it as it is.
fn path(id: &str, of: &str) -> Result<String, Error> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_id {
        return Ok(format!("v1/batches/{id}{of}"));
    }
    let shown: String = id.chars().take(40).collect();
    let message = format!("id: takes the id of a batch, batch_…; it was {shown:?}");
    Err(Error::new(ErrorKind::Configuration, message))
}

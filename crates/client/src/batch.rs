//! Many prompts at once, as the caller asks for them, and what came of all of them.

use std::time::Duration;

use claude_code_api_wire::{BatchJob, BatchPrompt, BatchRequest, BatchResult, BatchStatus, Routing};
use serde::Serialize;

use crate::{Error, ErrorKind, options::LONGEST, request::finite};

/// How long a batch may be silent. The service shows every 10 s that it lives.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);

/// The prompts to complete, each as a call of its own, and how. An array or a `Vec` of prompts is a batch of them.
///
/// ```
/// use claude_code_api_client::{Batch, BatchPrompt};
/// let batch = Batch::new(["Write a haiku", "Count to 5"]).model("haiku").max_concurrency(4);
/// let named = Batch::new([BatchPrompt::with_id("row-1", "List 3 colours")]);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a batch does nothing until a client sends it"]
pub struct Batch {
    pub(crate) body: BatchRequest,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) silence_timeout: Duration,
}

impl Batch {
    /// The completion of each of these prompts.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// let batch = Batch::new((1..=3).map(|n| format!("Write {n} in words")));
    /// assert_eq!(Batch::new(["a", "b"]), Batch::from(["a", "b"]));
    /// ```
    pub fn new(prompts: impl IntoIterator<Item = impl Into<BatchPrompt>>) -> Self {
        let prompts = prompts.into_iter().map(Into::into).collect();
        Self {
            body: BatchRequest { prompts, stream: true, ..BatchRequest::default() },
            idempotency_key: None,
            silence_timeout: SILENCE_TIMEOUT,
        }
    }

    /// For all of them: `auto` (the default), `haiku`, `sonnet`, `opus`, or a concrete model id.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// let batch = Batch::new(["Hello", "Goodbye"]).model("haiku");
    /// ```
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.body.model = Some(model.into());
        self
    }

    /// Instructions that stand above each prompt.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// let batch = Batch::new(["Hello", "Goodbye"]).system("Translate to French.");
    /// ```
    pub fn system(mut self, system: impl Into<String>) -> Self {
        self.body.system = Some(system.into());
        self
    }

    /// The project that pays, for this batch.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// let batch = Batch::new(["Hello", "Goodbye"]).project_id("team-a");
    /// ```
    pub fn project_id(mut self, project: impl Into<String>) -> Self {
        self.body.project_id = Some(project.into());
        self
    }

    /// The most tokens to generate for each prompt.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// let batch = Batch::new(["Hello", "Goodbye"]).max_tokens(100);
    /// ```
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.body.max_tokens = Some(tokens);
        self
    }

    /// What `auto` may lose to save money.
    ///
    /// ```
    /// # use claude_code_api_client::{Batch, Routing};
    /// let batch = Batch::new(["Hello", "Goodbye"]).routing(Routing::Economy);
    /// ```
    pub fn routing(mut self, routing: Routing) -> Self {
        self.body.routing = Some(routing);
        self
    }

    /// The most that each prompt may cost, in USD.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// let at_most_four_cents_in_all = Batch::new(["Hello", "Goodbye"]).max_cost(0.02);
    /// ```
    pub fn max_cost(mut self, usd: f64) -> Self {
        self.body.max_cost = Some(usd);
        self
    }

    /// How many prompts the service works on at a time, 1 to 1,000. Default: 16.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// let batch = Batch::new(vec!["Roll a die"; 500]).max_concurrency(50);
    /// ```
    pub fn max_concurrency(mut self, calls: u32) -> Self {
        self.body.max_concurrency = Some(calls);
        self
    }

    /// Whether the service works on several at a time; else one after the other. Default: true.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// let in_turn = Batch::new(["Hello", "Goodbye"]).parallel(false);
    /// ```
    pub fn parallel(mut self, parallel: bool) -> Self {
        self.body.parallel = Some(parallel);
        self
    }

    /// Whether it runs at half price, within 24 hours: only for batches that the service stores
    /// ([`Batches::create`](crate::Batches::create)), on models of Anthropic's. The pace is Anthropic's too: the service refuses
    /// [`Batch::timeout`], [`Batch::max_concurrency`] and [`Batch::parallel`] beside it. Default: false.
    ///
    /// ```no_run
    /// # use claude_code_api_client::Batch;
    /// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
    /// let batch = Batch::new(["Write a haiku", "Count to 5"]).model("haiku").economy(true);
    /// let job = client.batches().create(batch).await?;
    /// assert!(job.economy);
    /// # Ok(()) }
    /// ```
    pub fn economy(mut self, economy: bool) -> Self {
        self.body.economy = economy;
        self
    }

    /// How long each prompt may take on the service, from when it is its turn. Default: 600 s, whatever the client's time-out is:
    /// a batch may have to wait for room.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// # use std::time::Duration;
    /// let batch = Batch::new(["Hello", "Goodbye"]).timeout(Duration::from_mins(1));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.body.timeout = Some(timeout.min(LONGEST).as_secs_f64());
        self
    }

    /// How long not a byte may come before the batch has failed. Default: 60 s; the service shows every 10 s that it lives.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// # use std::time::Duration;
    /// let batch = Batch::new(["Hello", "Goodbye"]).silence_timeout(Duration::from_mins(5));
    /// ```
    pub fn silence_timeout(mut self, timeout: Duration) -> Self {
        self.silence_timeout = timeout.min(LONGEST);
        self
    }

    /// The key that every attempt of this batch is sent with, so that no prompt is paid for twice. Default: a new one for each batch.
    /// A program that sends the same batch again after it was restarted gives it one of its own, of at most 240 visible ASCII
    /// characters.
    ///
    /// ```
    /// # use claude_code_api_client::Batch;
    /// let night = "2026-11-30";
    /// let batch = Batch::new(["Hello", "Goodbye"]).idempotency_key(format!("report-{night}"));
    /// ```
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.body.timeout.is_some_and(|seconds| seconds <= 0.0) || self.silence_timeout.is_zero() {
            return Err(Error::new(ErrorKind::Configuration, "timeout: takes more than 0 seconds"));
        }
        finite("max_cost", self.body.max_cost)
    }
}

impl<P: Into<BatchPrompt>> FromIterator<P> for Batch {
    fn from_iter<I: IntoIterator<Item = P>>(prompts: I) -> Self {
        Self::new(prompts)
    }
}

impl<P: Into<BatchPrompt>> From<Vec<P>> for Batch {
    fn from(prompts: Vec<P>) -> Self {
        Self::new(prompts)
    }
}

impl<P: Into<BatchPrompt>, const N: usize> From<[P; N]> for Batch {
    fn from(prompts: [P; N]) -> Self {
        Self::new(prompts)
    }
}

/// What a batch came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BatchResponse {
    /// Counts and sums.
    #[serde(flatten)]
    pub totals: BatchTotals,
    /// What came of each prompt, in their order.
    pub results: Vec<BatchResult>,
}

/// Counts and sums over the results of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BatchTotals {
    /// How many prompts there are.
    pub total: usize,
    /// How many were answered.
    pub completed: usize,
    /// How many were not.
    pub failed: usize,
    /// What the answers cost, in USD, for people. `total_cost_nanos` is the exact figure.
    pub total_cost: f64,
    /// What the answers cost, in nano-dollars.
    pub total_cost_nanos: i64,
    /// What the answers took, in tokens.
    pub total_tokens: u64,
}

impl From<&BatchJob> for BatchTotals {
    fn from(job: &BatchJob) -> Self {
        let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            total: count(job.total),
            completed: count(job.completed),
            failed: count(job.failed),
            total_cost: job.total_cost,
            total_cost_nanos: job.total_cost_nanos,
            total_tokens: job.total_tokens,
        }
    }
}

impl BatchTotals {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub(crate) fn count(&mut self, result: &BatchResult) {
        match result.status {
            BatchStatus::Completed => self.completed += 1,
            BatchStatus::Failed => self.failed += 1,
        }
        self.total_cost_nanos = self.total_cost_nanos.saturating_add(result.cost_nanos.unwrap_or(0));
        self.total_cost = self.total_cost_nanos as f64 / 1e9;
        self.total_tokens = self.total_tokens.saturating_add(result.usage.map_or(0, |usage| usage.total_tokens));
    }
}

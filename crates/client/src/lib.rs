//! The Rust client of Claude Code API: async here, blocking in [`blocking`].
//!
//! ```no_run
//! # async fn example() -> Result<(), claude_code_api_client::Error> {
//! let client = claude_code_api_client::Client::new()?;
//! let answer = client.complete("Write a haiku about Rust").await?;
//! println!("{} ({} tokens)", answer.content, answer.usage.total_tokens);
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! | to do | async | blocking | takes | gives |
//! |---|---|---|---|---|
//! | set up | [`Client::builder`] | [`ClientBuilder::build_blocking`] | | [`ClientBuilder`] |
//! | one answer | [`Client::complete`] | [`blocking::Client::complete`] | a text or a [`Request`] | [`CompleteResponse`] |
//! | the same as it comes | [`Client::stream`] | [`blocking::Client::stream`] | a text or a [`Request`] | [`TextStream`], [`blocking::Stream`] |
//! | many answers | [`Client::batch`] | [`blocking::Client::batch`] | texts or a [`Batch`] | [`BatchResponse`] |
//! | the same as they come | [`Client::batch_stream`] | [`blocking::Client::batch_stream`] | texts or a [`Batch`] | [`BatchStream`], [`blocking::BatchStream`] |
//! | many answers, stored | [`Client::batches`] | [`blocking::Client::batches`] | texts or a [`Batch`] | [`BatchJob`], [`BatchResults`] |
//! | what was used | [`Client::usage`] | [`blocking::Client::usage`] | a [`Period`] | [`UsageReport`] |
//! | how the service is | [`Client::health`] | [`blocking::Client::health`] | | [`Health`] |
//!
//! All of them fail with one [`Error`], which has a predicate for whatever a caller acts on. The folder `examples/` of this crate has a
//! program for each.
//!
//! Where a client looks for its service is an argument's, else the environment's (`CLAUDE_CODE_API_BASE_URL`,
//! `CLAUDE_CODE_API_API_KEY`, `CLAUDE_CODE_API_PROJECT_ID`), else `http://localhost:8080`. The async client needs a tokio runtime with
//! its timers; the blocking one brings what it needs.
//!
//! # What it does about failure
//!
//! - **Attempts.** A call makes up to `max_retries` attempts (3), with a wait of `retry_delay · 2ⁿ` (1 s, at most 8 s), less up to
//!   half at random, before attempt *n* + 2. `Retry-After` is obeyed exactly up to `max_retry_after` (60 s); a longer one is an error
//!   at once.
//! - **What is tried again**: connections that fail, 408, `rate_limited`, `overloaded`, 5xx, and a stream that fails before its first
//!   text. Never a spent budget, a refused key, a wrong request, or a time-out. The service's own word, `retryable`, decides first.
//! - **Sent twice, paid once.** All attempts of a call carry one idempotency key; a program that may be restarted gives its own
//!   ([`Request::idempotency_key`], [`Batch::idempotency_key`]).
//! - **The deadline** of a call ([`Request::timeout`], 30 s) covers all of its attempts, and goes along to the service.
//! - **Dropping cancels**: a future or a stream that is dropped closes its connection, and the service stops generating.
//! - **A batch** has no total limit; it fails after 60 s in which not a byte came. A lost connection is another attempt, under the same
//!   keys: the service tells again what it has finished, at no cost, and the caller hears of it once. Attempts are counted from the
//!   last result that was new.
//! - **A stored batch** ([`Batches`]) goes on on the service whatever becomes of its caller, and through restarts. Dropping what waits for
//!   it cancels nothing.
//! - **A retry budget** per client stops retry storms: when most calls fail, new ones are tried once.
//!
//! # What may change
//!
//! Answers and errors are `#[non_exhaustive]`: a newer service says more, and fields for that come in a minor version. Words that
//! this version does not know are read as `Unknown`, where there is one. Streams are [`futures_core::Stream`], from its version 0.3.

mod batch;
mod batch_results;
mod batch_stream;
mod batches;
pub mod blocking;
mod client;
mod error;
mod lines;
mod options;
#[doc(hidden)] // For the Python package, which has the same trouble with forks.
pub mod process;
mod request;
mod retry;
mod stream;
mod transport;

pub use batch::{Batch, BatchResponse, BatchTotals};
pub use batch_results::BatchResults;
pub use batch_stream::BatchStream;
pub use batches::Batches;
#[doc(inline)]
pub use claude_code_api_wire::{
    BatchEvent, BatchJob, BatchJobList, BatchJobStatus, BatchPrompt, BatchResult, BatchStatus, BudgetState, BudgetUnit,
    Cache, CompleteResponse, ErrorBody, ErrorCode, Health, HealthStatus, Message, ModelUsage, Period, Role, Route,
    RouteResponse, RouteTier, Routing, ServiceHealth, ServiceStatus, StopReason, Usage, UsageReport,
};
pub use client::Client;
pub use error::{Error, ErrorKind};
pub use options::ClientBuilder;
pub use request::Request;
pub use stream::TextStream;

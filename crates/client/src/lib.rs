//! The Rust client of Claude Code API: async here, blocking in [`blocking`].
//!
//! # What it does about failure
//!
//! - **Attempts.** A call makes up to `max_retries` attempts (3), with a wait of `retry_delay · 2ⁿ` (1 s, at most 8 s), less up to
//!   half at random, before attempt *n* + 2. `Retry-After` is obeyed exactly up to `max_retry_after` (60 s); a longer one is an error
//!   at once.
//! - **What is tried again**: connections that fail, 408, `rate_limited`, `overloaded`, 5xx, and a stream that fails before its first
//!   text. Never a spent budget, a refused key, a wrong request, or a time-out. The service's own word, `retryable`, decides first.
//! - **The deadline** of a call ([`Request::timeout`], 30 s) covers all of its attempts, and goes along to the service.
//! - **A batch** has no total limit; it fails after 60 s in which not a byte came. A lost connection is another attempt, under the same
//!   keys: the service tells again what it has finished, at no cost, and the caller hears of it once. Attempts are counted from the
//!   last result that was new.
//! - **A retry budget** per client stops retry storms: when most calls fail, new ones are tried once.
//!
//! ```no_run
//! # async fn example() -> Result<(), claude_code_api_client::Error> {
//! let client = claude_code_api_client::Client::new()?;
//! let answer = client.complete("Write a haiku about Rust").await?;
//! println!("{} ({} tokens)", answer.content, answer.usage.total_tokens);
//! # Ok(())
//! # }
//! ```

mod batch;
mod batch_stream;
pub mod blocking;
mod client;
mod error;
mod options;
pub mod process;
mod request;
mod retry;
mod stream;
mod transport;

pub use batch::{Batch, BatchResponse, BatchTotals};
pub use batch_stream::BatchStream;
pub use claude_code_api_wire::{
    BatchEvent, BatchPrompt, BatchResult, BatchStatus, BudgetState, BudgetUnit, Cache, CompleteResponse, ErrorCode,
    Health, HealthStatus, Message, ModelUsage, Period, Role, Route, ServiceHealth, ServiceStatus, StopReason, Usage,
    UsageReport,
};
pub use client::Client;
pub use error::{Error, ErrorKind};
pub use options::ClientBuilder;
pub use request::Request;
pub use stream::TextStream;

//! The Anthropic dialect: the Messages API, as the service speaks it at its door and as it hears it from upstream.
//!
//! What passes through is kept as it came ([`Fields`](crate::Fields), and the texts of events); the types here read only what
//! somebody acts on.

mod error;
mod event;
mod message;
mod model;
pub mod say;
mod usage;

pub use error::{ErrorKind, ErrorReply};
pub use event::{Block, Delta, Event, MessageDelta, Started};
pub use message::{Collector, Message};
pub use model::{ModelInfo, ModelList};
pub use say::RawEvent;
pub use usage::Usage;

/// The answer of `POST /v1/messages/count_tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCount {
    /// Tokens that the request would take in.
    pub input_tokens: u64,
}

//! `/v1/batches`: a batch as a job that is stored, runs on without its caller, and survives restarts.

use serde::{Deserialize, Serialize};

/// A stored batch, without its prompts and results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct BatchJob {
    /// Its id, `batch_…`.
    pub id: String,
    /// The project that pays.
    pub project_id: String,
    /// How far it is.
    pub status: BatchJobStatus,
    /// Whether it runs at half price, within 24 hours.
    #[serde(default)]
    pub economy: bool,
    /// How many prompts there are.
    pub total: u64,
    /// How many were answered until now.
    pub completed: u64,
    /// How many were not, and will not be.
    pub failed: u64,
    /// What the answers cost, in USD, for people. `total_cost_nanos` is the exact figure.
    pub total_cost: f64,
    /// What the answers cost, in nano-dollars.
    pub total_cost_nanos: i64,
    /// What the answers took, in tokens.
    pub total_tokens: u64,
    /// When it was taken, RFC 3339.
    pub created_at: String,
    /// When it was cancelled, RFC 3339; null when it was not.
    pub cancelled_at: Option<String>,
    /// From when on nothing more comes, RFC 3339; null while it runs.
    pub ended_at: Option<String>,
    /// When it is deleted with its prompts and results, RFC 3339; null while it runs.
    pub expires_at: Option<String>,
}

/// How far a stored batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum BatchJobStatus {
    /// Prompts run, or wait for their turn.
    Running,
    /// It was cancelled, and some of its prompts still end.
    Cancelling,
    /// It was cancelled; prompts without a result have none.
    Cancelled,
    /// Every prompt has its result.
    Ended,
}

/// Stored batches, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct BatchJobList {
    /// The batches.
    pub batches: Vec<BatchJob>,
    /// Where the next page begins, for `before`; null on the last one.
    pub next_before: Option<String>,
}

//! The HTTP contract as data: what goes over the socket between the service and its clients.
//!
//! No IO, no policy. Requests refuse unknown fields; responses tolerate them, so that an older client can talk to a newer
//! service. Units are in the names or in the documentation of each field.

pub mod anthropic;
mod batch;
mod batch_job;
mod complete;
mod error;
mod fields;
mod health;
mod manage;
pub mod openai;
mod route;
mod shown;
pub mod sse;
mod usage;

pub use batch::{BatchEvent, BatchPrompt, BatchRequest, BatchResponse, BatchResult, BatchStatus};
pub use batch_job::{BatchJob, BatchJobList, BatchJobStatus};
pub use complete::{Cache, CompleteRequest, CompleteResponse, Delta, Message, Role, Start, StopReason, Usage};
pub use error::{ErrorBody, ErrorCode, ErrorEnvelope};
pub use fields::Fields;
pub use health::{Health, HealthStatus, ServiceHealth, ServiceStatus};
pub use manage::{
    Clamp, Key, KeyList, KeyRequest, LedgerCorrection, LedgerEntries, LedgerEntry, LedgerReport, NewKey, Project,
    ProjectChange, ProjectLimits, ProjectList,
};
pub use route::{Route, RouteResponse, RouteTier, Routing};
pub use usage::{BudgetState, BudgetUnit, ModelUsage, Period, UsageReport};

/// Header of every response: the id of the HTTP request, to quote when asking about it.
pub const REQUEST_ID: &str = "request-id";

/// Header of responses that say whether the call may be sent again: `true` or `false`.
pub const SHOULD_RETRY: &str = "x-should-retry";

//! What is relied on of the CLI, and how it was when it was tried.

use serde::Serialize;

use super::worker::WorkerError;

/// What has to hold, in the order in which it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// It is the pinned version.
    Version,
    /// A worker says that it is ready.
    Ready,
    /// Nothing is in its environment that was not put there.
    Environment,
    /// It is isolated as this system allows.
    Isolated,
    /// A request has no tools, and what it was asked and nothing else.
    Text,
    /// It has nothing to work with: no tools, no servers, no commands.
    Init,
    /// Nothing is left of a worker that was killed.
    Gone,
    /// `/help` arrives as it is.
    Command,
    /// `@` and the name of a file arrive as they are.
    File,
    /// `max_tokens` and `temperature` arrive.
    Fields,
    /// It asks once, and not again after a 401.
    Denied,
}

/// A check that was made.
#[derive(Debug, Serialize)]
pub struct Point {
    /// Which.
    pub check: Check,
    /// How it was.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    pub time_ms: u64,
}

/// How a check was.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "why", rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed(String),
    /// This system does not let us look.
    NotSeen(String),
    /// What it needs has failed.
    NotTried,
}

impl From<WorkerError> for Outcome {
    fn from(error: WorkerError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<String> for Outcome {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

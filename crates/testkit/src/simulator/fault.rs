//! The ways in which an answer goes wrong that need more than a number to say.

use serde::Deserialize;

/// An `error` event in a stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorEvent {
    /// Such as `overloaded_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// After how many events.
    #[serde(default)]
    pub after: u64,
}

/// The body of an error status that the API would not send, and whatever stands in front of it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBody {
    /// A page.
    Html,
    /// Nothing.
    Empty,
    /// Bytes that are no text, and are said to be JSON.
    Garbage,
}

/// What goes wrong with an answer as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The connection is reset before any work was done.
    ResetBefore,
    /// The connection is reset after the work was done, and charged.
    ResetAfter,
    /// The answer is no JSON; the work is charged.
    Garbage,
    /// The answer is a page, and says so; the work is charged.
    Html,
    /// The answer has no body; the work is charged.
    Empty,
    /// The connection is closed in the middle of a body of JSON; the work is charged.
    HalfBody,
    /// The answer is whole though a stream was asked for.
    Whole,
}

/// How an item of a batch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// It was tried, and failed.
    Errored,
    /// It was canceled before its turn came.
    Canceled,
    /// Its turn did not come within a day.
    Expired,
}

//! Economy: batches that an upstream runs when it has room, within a day, at half price.

use std::pin::Pin;

use claude_code_api_wire::StopReason;
use futures_core::{Stream, future::BoxFuture};

use super::{Failure, Prompt, Reason};
use crate::{price::Terms, usage::Usage, window::Moment};

/// A prompt of a batch.
#[derive(Clone, Debug)]
pub struct BatchPrompt {
    /// What its result is told by: unique in the batch, up to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// The model that is to answer.
    pub model_id: String,
    /// What is asked of it.
    pub prompt: Prompt,
}

/// A batch, as the upstream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id there.
    pub id: String,
    /// When it was made, by the upstream's clock.
    pub created_at: Moment,
    /// How many prompts it has.
    pub total: u64,
}

/// How a prompt of a batch has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Reported {
    /// With an answer.
    Succeeded(Message),
    /// Without, and it cost nothing.
    Errored(Reason),
    /// It was canceled before its turn came, and cost nothing.
    Canceled,
    /// Its turn did not come within a day, and it cost nothing.
    Expired,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Id of the model that ran.
    pub model_id: String,
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// What it took.
    pub usage: Usage,
    /// How it was served.
    pub terms: Terms,
}

/// How prompts of a batch have ended, each with its name, in any order.
pub type Reports = Pin<Box<dyn Stream<Item = Result<(String, Reported), Failure>> + Send>>;

/// Why there is no id of a batch that was submitted.
#[derive(Clone, Debug, PartialEq)]
pub enum Unsubmitted {
    /// It was refused, and is nowhere.
    Refused(Reason),
    /// It was refused in a way in which it may be there all the same.
    Doubtful(Reason),
    /// It was sent, and no answer came.
    Unknown(Reason),
}

/// An upstream that runs batches. It knows no idempotency: what is submitted twice runs twice.
pub trait Economy: Send + Sync {
    /// Submits a batch; its id there.
    fn submit(&self, prompts: &[BatchPrompt]) -> BoxFuture<'_, Result<String, Unsubmitted>>;

    /// The batches that were made since then, the oldest first.
    fn made_since(&self, since: Moment) -> BoxFuture<'_, Result<Vec<Listed>, Failure>>;

    /// Whether each of a batch's prompts has ended.
    fn has_ended<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Failure>>;

    /// How the prompts of a batch that has ended did so.
    fn reports<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Reports, Failure>>;

    /// Cancels those prompts of a batch that have not begun.
    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Failure>>;
}

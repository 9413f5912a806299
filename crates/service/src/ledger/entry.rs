//! Entry: a row of the ledger; and the reservation that it was before.

use super::{Amount, ClaimScope};
use crate::{
    id::{CallId, EntryId},
    money::Nanos,
    project::ProjectId,
    usage::Usage,
    window::{Day, Moment},
};

/// The epoch of what is held for a job that outlives every process: no process's death ends it, and it is no call that runs.
pub const OF_A_JOB: i64 = 0;

/// What is held for one attempt of a call. It becomes one entry or one release, under the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id, and that of the entry that it becomes.
    pub id: EntryId,
    /// The call that it is for.
    pub call: CallId,
    /// Who pays.
    pub project: ProjectId,
    /// The process that holds it; [`OF_A_JOB`] where none does.
    pub epoch: i64,
    /// The day whose windows hold it, and in which it is settled.
    pub day: Day,
    /// The worst case.
    pub held: Amount,
    /// The dearest model that it covers: what it is charged as when nobody lives to settle it.
    pub model: String,
    /// The bound on the input tokens in it.
    pub input_tokens: i64,
    /// What it would cost at most, where a subscription pays for it.
    pub notional: Nanos,
    /// When it was made.
    pub reserved_at: Moment,
    /// The idempotency key that it stands under.
    pub claim: Option<ClaimScope>,
    /// Whether what is held bounds the call.
    pub bounded: bool,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// What callers see as the model: the tier, else the id.
    pub model: String,
    /// The model that ran; empty when that is not known.
    pub model_id: String,
    /// The backend that ran it.
    pub backend: String,
    /// The tokens.
    pub usage: Usage,
    /// The money.
    pub cost: Nanos,
    /// What it would have cost, where a subscription has paid for it: no limit of money counts that.
    pub notional: Nanos,
    /// Whether a final usage was seen; else it is an estimate, not below the truth.
    pub exact: bool,
    /// The model or the answer has no price of its own: it was charged at the dearest known.
    pub unpriced: bool,
    /// How the attempt ended.
    pub ended: Ended,
}

impl Spent {
    /// What it counts in windows.
    pub fn amount(&self) -> Amount {
        let tokens = self.usage.input_tokens.saturating_add(self.usage.output_tokens);
        Amount { tokens: i64::try_from(tokens).unwrap_or(i64::MAX), nanos: self.cost.0 }
    }
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id; that of the reservation.
    pub id: EntryId,
    /// The call that it is an attempt of.
    pub call: CallId,
    /// Who paid.
    pub project: ProjectId,
    /// The day whose windows it counts in.
    pub day: Day,
    /// What it came to.
    pub spent: Spent,
    /// What it came to beyond what was held: nothing, unless a bound was wrong.
    pub overrun: Amount,
    /// When it was reserved.
    pub reserved_at: Moment,
    /// When it was settled.
    pub settled_at: Moment,
    /// Whether it was settled in the place of a process that had died, or once more after that, with the truth.
    pub settled_by: SettledBy,
    /// Whether what was held bounded the call: else it was made without a limit, and there was no bound to pass.
    pub bounded: bool,
}

/// Who settled an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledBy {
    /// The call itself.
    Call,
    /// Another process, at the worst case, as the call's had died. May be corrected once.
    Recovery,
    /// The call after all, or an operator, after recovery.
    Correction,
}

impl SettledBy {
    /// As it stands in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Recovery => "recovery",
            Self::Correction => "correction",
        }
    }

    /// Reads what [`SettledBy::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Call, Self::Recovery, Self::Correction].into_iter().find(|by| by.as_str() == text)
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a whole answer.
    Complete,
    /// The backend failed.
    Failed,
    /// The caller went away, its deadline passed, or the service stopped.
    Aborted,
    /// With its process.
    Orphaned,
}

impl Ended {
    /// As it stands in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Orphaned => "orphaned",
        }
    }

    /// Reads what [`Ended::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Complete, Self::Failed, Self::Aborted, Self::Orphaned].into_iter().find(|ended| ended.as_str() == text)
    }
}

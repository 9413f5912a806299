//! Operations: what calls ask of the ledger, and what it answers.

use std::sync::Arc;

use super::{Amount, Candidate, Claim, ClaimScope, Entry, Kept, Limits, Shortage, Spent};
use crate::{
    id::{CallId, EntryId},
    money::Nanos,
    project::ProjectId,
    window::Moment,
};

/// What a call asks the ledger for before it leaves for a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Id of the reservation, new.
    pub id: EntryId,
    /// The call.
    pub call: CallId,
    /// Who pays.
    pub project: ProjectId,
    /// The targets, best first. None: it is only asked for the call under the idempotency key.
    pub candidates: Vec<Candidate>,
    /// The most that the call itself allows, in nano-dollars.
    pub nanos_max: Option<i64>,
    /// The limits of the project that this call makes, where it may make one.
    pub creates: Option<Limits>,
    /// The idempotency key that the call was sent with.
    pub claim: Option<Claim>,
    /// Whether a job holds it, rather than this process: see [`OF_A_JOB`](super::OF_A_JOB).
    pub is_of_a_job: bool,
    /// Whether the bounds are the best there are: else they may be too high, and only what is certain by them is decided.
    pub is_counted: bool,
    /// Whether the bounds are bounds: else the call is only for projects without a limit of tokens or money.
    pub is_bounded: bool,
    /// The attempt of the same call before this one: it is closed in the transaction that holds for this one, whatever comes of
    /// that, as what is not known to have cost nothing is charged before it is tried again.
    pub after: Option<Box<Settle>>,
}

/// A reservation, as the call hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The call: that of an earlier attempt under the same idempotency key, where there was one.
    pub call: CallId,
    /// The process that holds it, as the store numbers them.
    pub epoch: i64,
    /// The candidates that it covers.
    pub kept: Vec<Kept>,
    /// What is held.
    pub held: Amount,
    /// What it would cost at most, where a subscription pays for it.
    pub notional: Nanos,
    /// When, by the store's clock: what prices apply.
    pub reserved_at: Moment,
}

/// The answer to [`Reserve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It is held, durably.
    Granted(Grant),
    /// This call runs already under the same idempotency key.
    Running(CallId),
    /// The call has its answer already under the same idempotency key.
    Done(CallId),
    /// The idempotency key was used for another request.
    Conflict,
    /// By these bounds the best target does not fit in full; by better ones it may.
    Uncertain,
    /// The call cannot be bounded, and the project, or the call itself, has a limit.
    Unbounded,
    /// Room is merely held by others: it may come.
    Wait,
    /// The project limits money only, and a subscription would pay for the call: nothing would limit it.
    Notional,
    /// As many calls of the project run as may.
    CallsMax(u32),
    /// What is left does not cover the call.
    Exceeded(Shortage, Moment),
    /// It came about, and is closed already: the process was taken for dead before it heard of that.
    Gone,
    /// There is no such project.
    NoProject,
    /// The projects that use may make are all made.
    TooManyProjects,
}

/// The end of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The reservation.
    pub id: EntryId,
    /// Who pays.
    pub project: ProjectId,
    /// What it came to; `None` releases it, as nothing was spent.
    pub spent: Option<Spent>,
    /// The idempotency key that the call was sent with.
    pub claim: Option<ClaimScope>,
    /// The answer, to keep for whoever sends the same idempotency key again.
    pub answer: Option<Arc<[u8]>>,
}

/// The answer to [`Settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Done; and this is what it came to beyond what was held.
    Closed(Amount),
    /// It had been charged at the worst case by recovery, and is corrected now.
    Corrected,
    /// As corrected; but another attempt has the call's idempotency key meanwhile, so that the answer is not this one's to give.
    Superseded,
    /// It was closed before: by the same operation, sent again.
    Already,
}

/// A correction by hand: what an estimated entry really came to, as an operator found out elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The entry.
    pub id: EntryId,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// The money.
    pub cost: Nanos,
}

/// The answer to [`Resolve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The entry as it stands now.
    Corrected(Box<Entry>),
    /// There is no such entry.
    NoEntry,
    /// The entry is exact: there is nothing to correct.
    Exact,
}

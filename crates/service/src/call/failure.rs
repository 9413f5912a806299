//! Why a call has no answer, or no whole one.

use std::{borrow::Cow, time::Duration};

use http::HeaderMap;

use crate::{backend::Reason, ledger::Shortage, project::ProjectId, window::Moment};

/// A failed call. A variant exists where a caller acts differently on it.
#[derive(Clone, Debug, PartialEq)]
pub enum CallFailure {
    /// The request cannot be carried out.
    Invalid {
        /// The field that is wrong.
        field: Cow<'static, str>,
        /// What is wrong with it, and what it takes.
        message: String,
    },
    /// The upstream does not take the request, and says why.
    Refused {
        /// Its HTTP status: 400, 404 or 413.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The upstream takes no more for now.
    UpstreamLimited {
        /// When it is worth trying again.
        retry_after: Duration,
        /// What it says of its limits.
        headers: Box<HeaderMap>,
    },
    /// No room now.
    Overloaded {
        /// Where.
        backend: &'static str,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// What is left of the project's budget does not cover the call.
    BudgetExceeded {
        /// Whose budget.
        project: ProjectId,
        /// What is short.
        shortage: Box<Shortage>,
        /// When that was so.
        now: Moment,
    },
    /// Too many calls of the project have begun in too short a time.
    RateLimited {
        /// Whose pace.
        project: ProjectId,
        /// How many may begin in a minute.
        per_minute: u32,
        /// When the next may.
        retry_after: Duration,
    },
    /// As many calls of the project run as may at a time.
    CallsMax {
        /// How many that is.
        calls_max: u32,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// Running calls of the project hold what the call would take; it may come free.
    BudgetHeld {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The idempotency key was used for another request.
    Conflict,
    /// The call under this idempotency key is done, and its answer was too large to be kept.
    AnswerNotKept,
    /// Only the project's money is limited, and a subscription would pay for the call.
    Notional {
        /// Whose money.
        project: ProjectId,
    },
    /// There is no such project.
    NoProject {
        /// Its name.
        project: ProjectId,
    },
    /// Use has made as many projects as it may.
    TooManyProjects,
    /// The ledger cannot be written: nothing is admitted, and no answer counts as settled.
    LedgerDown,
    /// The deadline has passed.
    DeadlinePassed {
        /// What the deadline was.
        timeout: Duration,
    },
    /// The service is shutting down.
    ShuttingDown,
    /// Nobody waits for the answer any more.
    Abandoned,
    /// The backend failed.
    Backend {
        /// Which one.
        backend: &'static str,
        /// What it said.
        message: Cow<'static, str>,
        /// Whether sending the same request again can help.
        retryable: bool,
    },
}

impl CallFailure {
    /// The failure of a call on `backend`.
    pub(crate) fn from_backend(backend: &'static str, reason: Reason) -> Self {
        match reason {
            Reason::Invalid { field, message } => Self::Invalid { field, message },
            Reason::Refused { status, message } => Self::Refused { status, message },
            Reason::RateLimited { retry_after, headers } => Self::UpstreamLimited { retry_after, headers },
            Reason::Overloaded { retry_after } => Self::Overloaded { backend, retry_after },
            Reason::Broken { message, retryable } => Self::Backend { backend, message, retryable },
        }
    }

    /// When there may be room for the call, where it is only that that it lacks.
    pub(crate) fn room_in(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. }
            | Self::UpstreamLimited { retry_after, .. }
            | Self::RateLimited { retry_after, .. }
            | Self::CallsMax { retry_after, .. }
            | Self::BudgetHeld { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether it says nothing of the call itself: another process, or this one later, may carry it out.
    pub(crate) fn is_of_the_service(&self) -> bool {
        matches!(self, Self::ShuttingDown | Self::LedgerDown | Self::Abandoned)
    }

    /// The failure in one word, for the log.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::Refused { .. } => "refused",
            Self::UpstreamLimited { .. } => "limited",
            Self::Overloaded { .. } => "overloaded",
            Self::BudgetExceeded { .. } => "budget",
            Self::RateLimited { .. } => "rate",
            Self::CallsMax { .. } => "calls",
            Self::BudgetHeld { .. } => "held",
            Self::Conflict | Self::AnswerNotKept => "key",
            Self::Notional { .. } => "notional",
            Self::NoProject { .. } => "project",
            Self::TooManyProjects => "projects",
            Self::LedgerDown => "ledger",
            Self::DeadlinePassed { .. } => "deadline",
            Self::ShuttingDown => "shutdown",
            Self::Abandoned => "abandoned",
            Self::Backend { .. } => "backend",
        }
    }
}

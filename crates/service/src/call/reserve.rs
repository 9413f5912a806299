//! Step 4 of 7: the call's worst case is held, durably, before anything leaves for a backend.
//!
//! A [`Reservation`] is opened here and closed by `settle`, exactly once. Where room is merely held by other calls, the call
//! waits in its project's line.

use std::time::Duration;

use tokio::time::Instant;

use super::{CallFailure, Caller, Request, bound, route::Routed};
use crate::{
    app::{App, OpenReservation},
    id::{CallId, EntryId},
    ledger::{Candidate, Grant, Reserve, Reserved, Settle},
    project::ProjectId,
};

/// A call's hold in the ledger. Dropped before `settle` has it, as by a panic, it is charged at its worst case.
pub(super) struct Reservation<'a> {
    app: &'a App,
    is_open: bool,
    pub(super) id: EntryId,
    pub(super) call: CallId,
    pub(super) project: ProjectId,
    pub(super) grant: Grant,
    /// The bound on the input that is part of it, in tokens.
    pub(super) input_tokens: i64,
    pub(super) opened_at: Instant,
    _open: OpenReservation,
}

impl Reservation<'_> {
    /// From here on `settle` sees to it.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.is_open {
            tracing::error!(entry = %self.id, "a call ended without settling; it is charged at its worst case");
            super::settle::until_done(self.app, super::settle::in_full(self));
        }
    }
}

/// When to come back to a line that was too long.
const LINE_RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) async fn hold<'a>(
    app: &'a App,
    call: CallId,
    caller: &Caller,
    request: &Request,
    routed: &Routed,
) -> Result<Reservation<'a>, CallFailure> {
    if app.is_draining() {
        return Err(CallFailure::ShuttingDown);
    }
    // Counted from here on, so that shutdown waits for the outcome.
    let open = app.open_reservations().open();
    let input_tokens = bound::input_tokens(request);
    let reserve = Reserve {
        id: EntryId::new(),
        call,
        project: caller.project.clone(),
        candidates: candidates(request, routed, input_tokens),
        nanos_max: request.nanos_max,
        creates: caller.makes_project.then(|| app.limits_of_new_projects()),
    };
    let grant = grant(app, &reserve).await?;
    let Reserve { id, project, .. } = reserve;
    Ok(Reservation {
        app,
        is_open: true,
        id,
        call,
        project,
        grant,
        input_tokens,
        opened_at: Instant::now(),
        _open: open,
    })
}

fn candidates(request: &Request, routed: &Routed, input_tokens: i64) -> Vec<Candidate> {
    let candidate = |target: &super::route::Target| Candidate {
        model: target.offer.shown_as().to_owned(),
        input_tokens,
        output_tokens: request.max_tokens.unwrap_or(target.offer.max_tokens_default).into(),
        output_set: request.max_tokens.is_some(),
        input_price: target.price.input,
        output_price: target.price.output,
    };
    routed.targets.iter().map(candidate).collect()
}

async fn grant(app: &App, reserve: &Reserve) -> Result<Grant, CallFailure> {
    let until = Instant::now() + app.limits().budget_wait;
    if !app.lines().has_waiting(&reserve.project)
        && let Some(answered) = once(app, reserve).await
    {
        return answered;
    }
    let place = app.lines().join(&reserve.project);
    let held = CallFailure::BudgetHeld { retry_after: LINE_RETRY_AFTER };
    let Some(head) = place.head(until).await else { return Err(held) };
    loop {
        if let Some(answered) = once(app, reserve).await {
            return answered;
        }
        if tokio::time::timeout_at(until, head.room()).await.is_err() {
            return Err(held);
        }
    }
}

/// One attempt; `None` when room may come.
async fn once(app: &App, reserve: &Reserve) -> Option<Result<Grant, CallFailure>> {
    let mut unanswered = Unanswered { app, reserve: Some(reserve) };
    let reserved = match app.store().reserve(reserve.clone()).await {
        Ok(reserved) => reserved,
        Err(error) => {
            tracing::error!(%error, "a call was refused, as its hold could not be written");
            return Some(Err(CallFailure::LedgerDown));
        }
    };
    unanswered.reserve = None;
    let refused = match reserved {
        Reserved::Granted(grant) => return Some(Ok(grant)),
        Reserved::Wait | Reserved::CallsMax(_) => return None,
        Reserved::Exceeded(shortage, now) => {
            CallFailure::BudgetExceeded { project: reserve.project.clone(), shortage: Box::new(shortage), now }
        }
        Reserved::NoProject => CallFailure::NoProject { project: reserve.project.clone() },
        Reserved::TooManyProjects => CallFailure::TooManyProjects,
        Reserved::EpochDead => CallFailure::LedgerDown,
    };
    Some(Err(refused))
}

/// A hold that was asked for and whose outcome is not known: the store failed, or the caller went away meanwhile. It may stand,
/// so that it is released, however long that takes.
struct Unanswered<'a> {
    app: &'a App,
    reserve: Option<&'a Reserve>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(reserve) = self.reserve {
            let release = Settle { id: reserve.id, project: reserve.project.clone(), spent: None };
            super::settle::until_done(self.app, release);
        }
    }
}

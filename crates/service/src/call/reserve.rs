//! Step 4 of 7: the call's worst case is held, durably, before anything leaves for a backend.
//!
//! A [`Reservation`] is opened here and closed by `settle`, exactly once. Where room is merely held by other calls, the call
//! waits in its project's line.

use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, CallFailure, Caller, Request, bound, claim, feed::Feed, route::Routed, settle};
use crate::{
    app::{App, OpenReservation},
    backend::Cost,
    id::{CallId, EntryId},
    ledger::{Candidate, ClaimScope, Grant, Limits, Reserve, Reserved, Settle},
    project::ProjectId,
};

/// A call's hold in the ledger. Dropped before `settle` has it, as by a panic, it is charged at its worst case.
pub(super) struct Reservation<'a> {
    app: &'a App,
    is_open: bool,
    pub(super) id: EntryId,
    pub(super) call: CallId,
    /// The idempotency key that it stands under.
    pub(super) claim: Option<ClaimScope>,
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
            settle::until_done(self.app, settle::in_full(self));
        }
    }
}

/// When to come back to a line that was too long.
pub(super) const LINE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What came of asking for a hold.
pub(super) enum Held<'a> {
    /// It is held.
    Now(Reservation<'a>),
    /// The same call had been made before, and this is its answer.
    Answered(Box<Answer>),
}

/// Holds; or, under an idempotency key that was used before, gives that call's answer.
pub(super) async fn or_answer<'a>(
    app: &'a App,
    caller: &Caller,
    request: &Request,
    routed: &mut Routed,
    feed: &Feed,
) -> Result<Held<'a>, CallFailure> {
    let mut was_done = false;
    loop {
        let answered = match hold(app, caller, request, routed).await? {
            Asked::Held(reservation) => return Ok(Held::Now(reservation)),
            Asked::Running(call) => claim::follow(app, call, feed).await.transpose()?,
            Asked::Done if was_done => return Err(CallFailure::AnswerNotKept),
            Asked::Done => {
                was_done = true;
                let claim = request.claim.as_ref().expect("only a claimed call is done already");
                claim::replay(app, claim, feed).await?
            }
        };
        if let Some(answer) = answered {
            return Ok(Held::Answered(Box::new(answer)));
        }
    }
}

/// The ledger's answer, where it is not a refusal.
enum Asked<'a> {
    Held(Reservation<'a>),
    Running(CallId),
    Done,
}

async fn hold<'a>(
    app: &'a App,
    caller: &Caller,
    request: &Request,
    routed: &mut Routed,
) -> Result<Asked<'a>, CallFailure> {
    if app.is_draining() {
        return Err(CallFailure::ShuttingDown);
    }
    // Counted from here on, so that shutdown waits for the outcome.
    let open = app.open_reservations().open();
    let reserve = Reserve {
        call: CallId::new(),
        nanos_max: request.nanos_max,
        creates: caller.makes_project.then(|| app.limits_of_new_projects()),
        ..asked_for(caller.project.clone(), request)
    };
    let mut asking = Asking { app, request, routed, reserve };
    let grant = match asking.grant().await? {
        Granted::Now(grant) => grant,
        Granted::Running(call) => return Ok(Asked::Running(call)),
        Granted::Done => return Ok(Asked::Done),
    };
    let Reserve { id, project, .. } = asking.reserve;
    Ok(Asked::Held(Reservation {
        app,
        is_open: true,
        id,
        call: grant.call,
        claim: request.claim.as_ref().map(|claim| claim.scope),
        project,
        input_tokens: input_tokens(&grant, routed),
        grant,
        opened_at: Instant::now(),
        _open: open,
    }))
}

/// Holds for another attempt of a call whose last one may have cost something, and charges that one, in one transaction. False
/// where there is no such room: then the reservation is the one that it was, and `settle` sees to it as ever.
pub(super) async fn another(
    app: &App,
    request: &Request,
    routed: &mut Routed,
    reservation: &mut Reservation<'_>,
    charge: Settle,
) -> bool {
    let charged = charge.spent.as_ref().map_or(0, |spent| spent.cost.0);
    let reserve = Reserve {
        call: reservation.call,
        nanos_max: request.nanos_max.map(|most| most - charged),
        after: Some(Box::new(charge)),
        ..asked_for(reservation.project.clone(), request)
    };
    let mut asking = Asking { app, request, routed, reserve };
    let Ok(Granted::Now(grant)) = asking.grant().await else { return false };
    reservation.id = asking.reserve.id;
    reservation.input_tokens = input_tokens(&grant, routed);
    reservation.grant = grant;
    true
}

/// What every attempt asks for.
pub(super) fn asked_for(project: ProjectId, request: &Request) -> Reserve {
    Reserve {
        id: EntryId::new(),
        call: CallId::new(),
        project,
        candidates: Vec::new(),
        nanos_max: None,
        creates: None,
        claim: request.claim.clone(),
        is_of_a_job: false,
        is_counted: false,
        is_bounded: true,
        after: None,
    }
}

/// The bound on the input of the dearest target that a hold covers.
fn input_tokens(grant: &Grant, routed: &Routed) -> i64 {
    let bounds = grant.kept.iter().map(|kept| routed.targets[kept.index].input_tokens);
    bounds.max().unwrap_or(0).min(grant.held.tokens)
}

pub(super) fn candidates(request: &Request, routed: &Routed) -> Vec<Candidate> {
    let candidate = |target: &super::route::Target| Candidate {
        model: target.offer.shown_as().to_owned(),
        input_tokens: target.input_tokens,
        output_tokens: request.max_tokens.unwrap_or(target.offer.max_tokens_default).into(),
        output_set: request.max_tokens.is_some(),
        input_price: routed.bound.cache.input_price(&target.price),
        output_price: target.price.output,
        is_notional: target.offer.cost == Cost::Notional,
    };
    routed.targets.iter().map(candidate).collect()
}

pub(super) enum Granted {
    Now(Grant),
    Running(CallId),
    Done,
}

/// A call that asks the ledger for a hold.
struct Asking<'a> {
    app: &'a App,
    request: &'a Request,
    routed: &'a mut Routed,
    reserve: Reserve,
}

/// What the ledger says, where it does not refuse.
pub(super) enum Said {
    Granted(Granted),
    /// Room may come; until then, this is why not.
    Wait(CallFailure),
    /// Better bounds may make a difference.
    Uncertain,
    /// What cannot be bounded is not admitted under the limits of this project.
    Unbounded,
}

impl Asking<'_> {
    /// Asks, and waits for what is merely held by others. Who comes first is served first, so that those who stand in line already
    /// are not asked past.
    async fn grant(&mut self) -> Result<Granted, CallFailure> {
        let app = self.app;
        if self.may_lack_money() && self.routed.crosses_a_band(app) {
            bound::count(app, self.request, self.routed).await;
        }
        let until = Instant::now() + app.limits().budget_wait;
        let mut waits_for = match self.before_the_line().await? {
            Said::Granted(granted) => return Ok(granted),
            Said::Wait(why) => why,
            Said::Uncertain | Said::Unbounded => CallFailure::BudgetHeld { retry_after: LINE_RETRY_AFTER },
        };
        let place = app.lines().join(&self.reserve.project);
        let Some(head) = place.head(until).await else { return Err(waits_for) };
        loop {
            match self.ask().await? {
                Said::Granted(granted) => return Ok(granted),
                Said::Wait(why) => waits_for = why,
                Said::Uncertain | Said::Unbounded => unreachable!("`ask` sees to these"),
            }
            if tokio::time::timeout_at(until, head.room()).await.is_err() {
                return Err(waits_for);
            }
        }
    }

    /// Where others stand in line, only what needs no room is asked for: what was sent before, and an attempt that gives the room of
    /// the one before it back.
    async fn before_the_line(&mut self) -> Result<Said, CallFailure> {
        if !self.app.lines().has_waiting(&self.reserve.project) || self.reserve.after.is_some() {
            return self.ask().await;
        }
        if self.reserve.claim.is_none() {
            return Ok(Said::Uncertain);
        }
        let only_known = Reserve { candidates: Vec::new(), ..self.reserve.clone() };
        once(self.app, &only_known).await
    }

    /// Asks by the bytes of the input, which takes no time, and where it is not certain by them, by its count.
    async fn ask(&mut self) -> Result<Said, CallFailure> {
        loop {
            self.reserve.candidates = candidates(self.request, self.routed);
            self.reserve.is_counted = self.routed.is_counted;
            self.reserve.is_bounded = self.routed.bound.unknown.is_none();
            match once(self.app, &self.reserve).await? {
                Said::Unbounded => return Err(unbounded(self.routed)),
                Said::Uncertain => bound::count(self.app, self.request, self.routed).await,
                said => return Ok(said),
            }
        }
    }

    /// Whether money is limited for this call, as far as is known before the ledger is asked.
    fn may_lack_money(&self) -> bool {
        let limited = |limits: &Limits| limits.windows.iter().any(|limit| limit.nanos.is_some());
        let directory = self.app.directory();
        let known = directory.project(&self.reserve.project);
        self.reserve.nanos_max.is_some() || known.is_some_and(|known| limited(&known.limits))
    }
}

pub(super) fn unbounded(routed: &Routed) -> CallFailure {
    let unknown = routed.bound.unknown.as_ref().expect("only what is unknown is unbounded");
    let (field, what) = (unknown.field.clone(), &unknown.what);
    let message = format!(
        "{field}: cannot be bounded under a limit, and the project has one: {what}; leave it out, or lift the project's limits \
         of tokens and money"
    );
    CallFailure::Invalid { field: field.into(), message }
}

/// Asks the ledger, once.
async fn once(app: &App, reserve: &Reserve) -> Result<Said, CallFailure> {
    let mut unanswered = Unanswered { app, reserve: Some(reserve) };
    let reserved = app.store().reserve(reserve.clone()).await.map_err(|error| {
        tracing::error!(%error, "a call was refused, as its hold could not be written");
        CallFailure::LedgerDown
    })?;
    unanswered.reserve = None;
    if reserved == Reserved::Gone {
        // What was charged for it is taken back.
        unanswered.reserve = Some(reserve);
    }
    understood(reserve, reserved)
}

/// What the ledger's answer means for the call.
pub(super) fn understood(reserve: &Reserve, reserved: Reserved) -> Result<Said, CallFailure> {
    let (project, retry_after) = (|| reserve.project.clone(), LINE_RETRY_AFTER);
    match reserved {
        Reserved::Granted(grant) => Ok(Said::Granted(Granted::Now(grant))),
        Reserved::Running(call) => Ok(Said::Granted(Granted::Running(call))),
        Reserved::Done(_) => Ok(Said::Granted(Granted::Done)),
        Reserved::Uncertain => Ok(Said::Uncertain),
        Reserved::Unbounded => Ok(Said::Unbounded),
        Reserved::Notional => Err(CallFailure::Notional { project: project() }),
        Reserved::Wait => Ok(Said::Wait(CallFailure::BudgetHeld { retry_after })),
        Reserved::CallsMax(calls_max) => Ok(Said::Wait(CallFailure::CallsMax { calls_max, retry_after })),
        Reserved::Gone => Err(CallFailure::LedgerDown),
        Reserved::Conflict => Err(CallFailure::Conflict),
        Reserved::Exceeded(shortage, now) => {
            Err(CallFailure::BudgetExceeded { project: project(), shortage: Box::new(shortage), now })
        }
        Reserved::NoProject => Err(CallFailure::NoProject { project: project() }),
        Reserved::TooManyProjects => Err(CallFailure::TooManyProjects),
    }
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
            let claim = reserve.claim.as_ref().map(|claim| claim.scope);
            let release = Settle { id: reserve.id, project: reserve.project.clone(), spent: None, claim, answer: None };
            settle::until_done(self.app, release);
        }
    }
}

//! Step 5 of 7: the first target that answers. Retry and fallback live here and nowhere else.
//!
//! A target is asked when it is the call's turn there. An attempt that cost nothing is made again, or followed by the next target,
//! under the same hold. One that may have cost something is charged before it is tried again, in the transaction that holds for
//! the next attempt. Once a word of an answer has come, it is not begun anew.

use futures_util::StreamExt;
use http::HeaderMap;

use super::{
    CallFailure, Request,
    deadline::Deadline,
    relay::{Attempted, Seen},
    reserve::{self, Reservation},
    retry,
    route::{Routed, Target},
    settle,
    turn::Turn,
};
use crate::{
    app::App,
    backend::{Answering, Event, Events, Failure, Prompt, Reason, Said, Spend},
    failpoint::Failpoint,
    ledger::Kept,
    project::ProjectId,
};

/// An answer of which the first word has come.
pub(super) struct Opened {
    /// What the upstream says beside it.
    pub(super) headers: HeaderMap,
    /// What has come of it.
    pub(super) begun: Vec<Event>,
    pub(super) rest: Events,
}

/// How often a call is attempted that may have cost something each time.
const HOLDS_MAX: u32 = 2;

/// Asks the targets until one answers; the call has its turn there until it drops that. `seen` knows at any time which of them is
/// being asked, so that a call that is cut off here is charged as what it was.
pub(super) async fn first_that_answers<'a>(
    app: &'a App,
    routed: &mut Routed,
    (request, deadline): (&Request, &Deadline),
    reservation: &mut Reservation<'_>,
    seen: &mut Seen,
) -> Result<(Opened, Turn<'a>), CallFailure> {
    let mut holds = 1;
    loop {
        let failure = match under_one_hold(app, routed, (request, deadline), reservation, seen).await {
            Ok(opened) => return Ok(opened),
            Err(failure) => failure,
        };
        let may_be_tried_again = holds < HOLDS_MAX && may_cost_again(&failure);
        let failure = seen.failed(failure);
        if !may_be_tried_again {
            return Err(failure);
        }
        let charge = settle::failed_attempt(app, reservation, seen, &failure);
        if !reserve::another(app, request, routed, reservation, charge).await {
            return Err(failure);
        }
        holds += 1;
        tracing::warn!(backend = seen.backend(), "the attempt broke off and is charged; trying again");
        Failpoint::Retrying.reach();
    }
}

/// Asks the targets that the reservation covers, best first, for as long as none has cost anything.
async fn under_one_hold<'a>(
    app: &'a App,
    routed: &Routed,
    (request, deadline): (&Request, &Deadline),
    reservation: &Reservation<'_>,
    seen: &mut Seen,
) -> Result<(Opened, Turn<'a>), Failure> {
    let covered = &reservation.grant.kept;
    let mut left = covered.iter().peekable();
    loop {
        let next = left.next().expect("a reservation covers at least one target, and the last one returns");
        let target = &routed.targets[next.index];
        let max_tokens = u32::try_from(next.output_tokens).expect("at most what was asked for");
        let route = || routed.explained(next.index, covered[0].index);
        let attempted = || Attempted::new(target, request, max_tokens, route());
        seen.wait_for(attempted());
        // A full queue is no reason for a lesser model.
        let has_another = |next: &&Kept| routed.targets[next.index].offer.tier == target.offer.tier;
        let turn = match turn(app, target.backend.name(), reservation, request).await {
            Ok(turn) => {
                deadline.begin();
                turn
            }
            Err(_) if left.peek().is_some_and(has_another) => continue,
            Err(failure) => return Err(failure),
        };
        let failure = match again_and_again(app, target, (request, &reservation.project), attempted, seen).await {
            Ok(opened) => return Ok((opened, turn)),
            Err(failure) => failure,
        };
        turn.end();
        if left.peek().is_none() || !another_may_answer(&failure) {
            return Err(failure);
        }
        tracing::warn!(backend = target.backend.name(), "did not answer; trying the next target");
    }
}

/// Waits for the call's turn.
async fn turn<'a>(
    app: &'a App,
    backend: &'static str,
    reservation: &Reservation<'_>,
    request: &Request,
) -> Result<Turn<'a>, Failure> {
    tokio::select! {
        turn = app.turns().take(backend, &reservation.project, request.priority) => turn,
        () = app.draining(), if request.is_stored => Err(app.turns().overloaded(backend)),
    }
}

/// Asks one target, as often as that may help and costs nothing.
async fn again_and_again(
    app: &App,
    target: &Target,
    (request, project): (&Request, &ProjectId),
    attempted: impl Fn() -> Attempted,
    seen: &mut Seen,
) -> Result<Opened, Failure> {
    let (backend, name) = (&*target.backend, target.backend.name());
    app.retries().earn(name);
    let mut attempts = 0;
    loop {
        attempts += 1;
        // While it is left alone nothing reaches the upstream, so that nothing is spared it.
        let is_asked = backend.ready_in(&target.offer.model_id).is_zero();
        let attempted = attempted();
        let prompt = request.prompt(project, attempted.max_tokens);
        seen.attempt(attempted, prompt.sent.clone());
        let failure = match attempt(target, prompt, seen).await {
            Ok(opened) => return Ok(opened),
            Err(failure) => failure,
        };
        seen.spend = Some(failure.spend);
        let pause = retry::pause(backend.ready_in(&target.offer.model_id), &failure, attempts)
            .filter(|_| !target.offer.is_embedded);
        let Some(pause) = pause.filter(|_| !is_asked || app.retries().spend(name)) else { return Err(failure) };
        tracing::info!(backend = name, ?pause, "did not answer; trying again");
        tokio::time::sleep(pause).await;
    }
}

/// Asks once, up to the first word of the answer: until then it can be begun anew.
async fn attempt(target: &Target, prompt: Prompt, seen: &mut Seen) -> Result<Opened, Failure> {
    Failpoint::Sending.reach();
    let asked = target.backend.call(&target.offer.model_id, prompt).await?;
    let Answering { headers, events: mut rest } = asked;
    let mut begun = Vec::new();
    // The embedded model says when it begins; that is worth knowing at once.
    while let Some(event) = rest.next().await {
        let event = event?;
        let is_word = !matches!(event.said, Said::Start { .. } | Said::Aside) || target.offer.is_embedded;
        seen.hear(&event.said);
        begun.push(event);
        if is_word {
            break;
        }
    }
    Ok(Opened { headers, begun, rest })
}

/// Only what was not spent may be tried elsewhere under the same hold.
fn another_may_answer(failure: &Failure) -> bool {
    failure.spend == Spend::Unspent && !matches!(failure.reason, Reason::Invalid { .. } | Reason::Refused { .. })
}

/// What may have cost something, and may come out otherwise the next time.
fn may_cost_again(failure: &Failure) -> bool {
    failure.spend != Spend::Unspent && failure.reason.may_pass()
}

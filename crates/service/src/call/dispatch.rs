//! Step 5 of 7: the first target that answers. Retry and fallback live here and nowhere else.
//!
//! An attempt that cost nothing is made again, or followed by the next target, under the same hold. One that may have cost
//! something is charged before it is tried again, in the transaction that holds for the next attempt. Once a word of an answer has
//! come, it is not begun anew.

use futures_util::StreamExt;
use http::HeaderMap;

use super::{
    CallFailure, Request,
    relay::{Attempted, Seen},
    reserve::{self, Reservation},
    retry,
    route::{Routed, Target},
    settle,
};
use crate::{
    app::App,
    backend::{Answering, Event, Events, Failure, Reason, Said, Spend},
    failpoint::Failpoint,
    ledger::Kept,
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

/// Asks the targets until one answers. `seen` knows at any time which of them is being asked, so that a call that is cut off here
/// is charged as what it was.
pub(super) async fn first_that_answers(
    app: &App,
    routed: &mut Routed,
    request: &Request,
    reservation: &mut Reservation<'_>,
    seen: &mut Seen,
) -> Result<Opened, CallFailure> {
    let mut holds = 1;
    loop {
        let failure = match under_one_hold(app, routed, request, reservation, seen).await {
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

/// Asks the targets that the reservation covers, in turn, for as long as none has cost anything.
async fn under_one_hold(
    app: &App,
    routed: &Routed,
    request: &Request,
    reservation: &Reservation<'_>,
    seen: &mut Seen,
) -> Result<Opened, Failure> {
    let covered = &reservation.grant.kept;
    let mut left = covered.iter().peekable();
    loop {
        let next = left.next().expect("a reservation covers at least one target, and the last one returns");
        let target = &routed.targets[next.index];
        let route = || routed.explained(next.index, covered[0].index);
        let failure = match again_and_again(app, target, request, next, route, seen).await {
            Ok(opened) => return Ok(opened),
            Err(failure) => failure,
        };
        if left.peek().is_none() || !another_may_answer(&failure) {
            return Err(failure);
        }
        tracing::warn!(backend = target.backend.name(), "did not answer; trying the next target");
    }
}

/// Asks one target, as often as that may help and costs nothing.
async fn again_and_again(
    app: &App,
    target: &Target,
    request: &Request,
    kept: &Kept,
    route: impl Fn() -> Option<claude_code_api_wire::Route>,
    seen: &mut Seen,
) -> Result<Opened, Failure> {
    let (backend, name) = (&*target.backend, target.backend.name());
    let max_tokens = u32::try_from(kept.output_tokens).expect("at most what was asked for");
    app.retries().earn(name);
    let mut attempts = 0;
    loop {
        attempts += 1;
        // While it is left alone nothing reaches the upstream, so that nothing is spared it.
        let is_asked = backend.ready_in().is_zero();
        seen.attempt(Attempted::new(target, request, max_tokens, route()));
        let failure = match attempt(target, request, max_tokens, seen).await {
            Ok(opened) => return Ok(opened),
            Err(failure) => failure,
        };
        seen.spend = Some(failure.spend);
        let pause = retry::pause(backend, &failure, attempts).filter(|_| !target.offer.is_embedded);
        let Some(pause) = pause.filter(|_| !is_asked || app.retries().spend(name)) else { return Err(failure) };
        tracing::info!(backend = name, ?pause, "did not answer; trying again");
        tokio::time::sleep(pause).await;
    }
}

/// Asks once, up to the first word of the answer: until then it can be begun anew.
async fn attempt(target: &Target, request: &Request, max_tokens: u32, seen: &mut Seen) -> Result<Opened, Failure> {
    Failpoint::Sending.reach();
    let asked = target.backend.call(&target.offer.model_id, request.prompt(max_tokens)).await?;
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

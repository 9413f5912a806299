//! Step 5 of 7: the first target that answers. Retry and fallback live here and nowhere else.
//!
//! An attempt that cost nothing is followed by the next target, under the same hold. One that may have cost something is charged
//! before it is tried again, in the transaction that holds for the next attempt.

use super::{
    CallFailure, Request,
    relay::{Attempted, Seen},
    reserve::{self, Reservation},
    route::{Routed, Target},
    settle,
};
use crate::{
    app::App,
    backend::{Events, Failure, Reason, Spend},
    failpoint::Failpoint,
};

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
) -> Result<Events, CallFailure> {
    let mut holds = 1;
    loop {
        let failure = match under_one_hold(routed, request, reservation, seen).await {
            Ok(events) => return Ok(events),
            Err(failure) => failure,
        };
        let may_be_tried_again = holds < HOLDS_MAX && may_cost_again(&failure);
        let failure = CallFailure::from_backend(seen.backend(), failure.reason);
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
    routed: &Routed,
    request: &Request,
    reservation: &Reservation<'_>,
    seen: &mut Seen,
) -> Result<Events, Failure> {
    let covered = &reservation.grant.kept;
    let mut left = covered.iter().peekable();
    loop {
        let next = left.next().expect("a reservation covers at least one target, and the last one returns");
        let target = &routed.targets[next.index];
        let max_tokens = u32::try_from(next.output_tokens).expect("at most what was asked for");
        let route = routed.explained(next.index, covered[0].index);
        seen.attempt(Attempted::new(target, request, max_tokens, route));
        let failure = match attempt(target, request, max_tokens).await {
            Ok(events) => return Ok(events),
            Err(failure) => failure,
        };
        seen.spend = Some(failure.spend);
        if left.peek().is_none() || !another_may_answer(&failure) {
            return Err(failure);
        }
        tracing::warn!(backend = target.backend.name(), "did not answer; trying the next target");
    }
}

async fn attempt(target: &Target, request: &Request, max_tokens: u32) -> Result<Events, Failure> {
    Failpoint::Sending.reach();
    target.backend.call(&target.offer.model_id, request.prompt(max_tokens)).await
}

/// Only what was not spent may be tried again under the same hold.
fn another_may_answer(failure: &Failure) -> bool {
    failure.spend == Spend::Unspent && !matches!(failure.reason, Reason::Invalid { .. })
}

/// What may have cost something, and may come out otherwise the next time.
fn may_cost_again(failure: &Failure) -> bool {
    failure.spend != Spend::Unspent && matches!(failure.reason, Reason::Broken { retryable: true, .. })
}

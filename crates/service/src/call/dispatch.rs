//! Step 5 of 7: the first target that answers. Retry and fallback live here and nowhere else.

use super::{
    CallFailure, Request,
    relay::{Attempted, Seen},
    reserve::Reservation,
    route::{Routed, Target},
};
use crate::backend::{Events, Failure, Prompt, Reason, Spend};
use crate::failpoint::Failpoint;

/// Asks the targets that the reservation covers, in turn. `seen` knows at any time which of them is being asked, so that a
/// call that is cut off here is charged as what it was.
pub(super) async fn first_that_answers(
    routed: &Routed,
    request: &Request,
    reservation: &Reservation<'_>,
    seen: &mut Seen,
) -> Result<Events, CallFailure> {
    let mut kept = reservation.grant.kept.iter().peekable();
    loop {
        let next = kept.next().expect("a reservation covers at least one target, and the last one returns");
        let target = &routed.targets[next.index];
        let max_tokens = u32::try_from(next.output_tokens).expect("at most what was asked for");
        seen.attempt(Attempted::new(target, request, max_tokens));
        let failure = match attempt(target, request, max_tokens).await {
            Ok(events) => return Ok(events),
            Err(failure) => failure,
        };
        seen.spend = Some(failure.spend);
        if kept.peek().is_none() || !another_may_answer(&failure) {
            return Err(CallFailure::from_backend(target.backend.name(), failure.reason));
        }
        tracing::warn!(backend = target.backend.name(), "did not answer; trying the next target");
    }
}

async fn attempt(target: &Target, request: &Request, max_tokens: u32) -> Result<Events, Failure> {
    let prompt = Prompt {
        system: request.system.clone(),
        messages: request.messages.clone(),
        max_tokens,
        sampling: request.sampling.clone(),
    };
    Failpoint::Sending.reach();
    target.backend.call(&target.offer.model_id, prompt).await
}

/// Only what was not spent may be tried again under the same hold.
fn another_may_answer(failure: &Failure) -> bool {
    failure.spend == Spend::Unspent && !matches!(failure.reason, Reason::Invalid { .. })
}

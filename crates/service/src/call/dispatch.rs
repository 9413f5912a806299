//! Step 5 of 7: the first target that answers. Retry and fallback live here and nowhere else.

use super::{
    CallFailure, Request,
    route::{Routed, Target},
};
use crate::backend::{Events, Failure, Prompt, Reason, Spend};

/// An attempt that a backend has taken on.
pub(super) struct Answer {
    pub(super) backend: &'static str,
    pub(super) tier: Option<&'static str>,
    pub(super) events: Events,
}

pub(super) async fn first_that_answers(routed: &Routed, request: &Request) -> Result<Answer, CallFailure> {
    let (last, others) = routed.targets.split_last().expect("routing gives at least one target");
    for target in others {
        match attempt(target, request).await {
            Err(failure) if another_may_answer(&failure) => {
                tracing::warn!(backend = target.backend.name(), "did not answer; trying the next target");
            }
            ended => return named(target, ended),
        }
    }
    named(last, attempt(last, request).await)
}

async fn attempt(target: &Target, request: &Request) -> Result<Answer, Failure> {
    let prompt = Prompt {
        system: request.system.clone(),
        messages: request.messages.clone(),
        max_tokens: request.max_tokens.unwrap_or(target.offer.max_tokens_default),
        sampling: request.sampling.clone(),
    };
    let events = target.backend.call(&target.offer.model_id, prompt).await?;
    Ok(Answer { backend: target.backend.name(), tier: target.offer.tier.map(crate::model::Tier::as_str), events })
}

fn another_may_answer(failure: &Failure) -> bool {
    failure.spend == Spend::Unspent && !matches!(failure.reason, Reason::Invalid { .. })
}

fn named(target: &Target, ended: Result<Answer, Failure>) -> Result<Answer, CallFailure> {
    ended.map_err(|failure| CallFailure::from_backend(target.backend.name(), failure.reason))
}

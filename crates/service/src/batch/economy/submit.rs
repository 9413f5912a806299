//! Submits a slice.

use std::time::Duration;

use super::work::{PAUSE_MIN, Step, Work, words};
use crate::{
    backend::{
        Reason,
        economy::{BatchPrompt, Unsubmitted},
    },
    call::CallFailure,
    failpoint::Failpoint,
    slice::{Adopted, SliceChange},
    window::Moment,
};

/// How long a slice is submitted again that is refused.
const REFUSED_MAX: Duration = Duration::from_hours(24);

/// How long it is looked for a slice that was refused in a way in which it may be there all the same.
const DOUBT: Duration = Duration::from_mins(1);

const PAUSE_MAX: Duration = Duration::from_mins(5);

impl Work {
    /// Submits it until upstream has taken it, or may have, or does not take it at all. Not cut off by shutdown in between: then it
    /// would not be known what became of it.
    pub(super) async fn submit(&mut self, prompts: Vec<BatchPrompt>) -> Step {
        Failpoint::Intended.reach();
        let mut pause = PAUSE_MIN;
        loop {
            let reason = match self.economy().submit(&prompts).await {
                Ok(id) => {
                    Failpoint::Submitted.reach();
                    self.slice.upstream = Some(id.clone());
                    self.note(SliceChange::Submitted(id)).await;
                    return Step::Waits;
                }
                Err(Unsubmitted::Unknown(reason)) => {
                    tracing::warn!(slice = %self.slice.id, reason = words(&reason), "it is not known whether a batch was taken");
                    return Step::Waits;
                }
                Err(Unsubmitted::Doubtful(reason)) => {
                    if self.look_in_doubt().await || self.app.is_draining() {
                        return Step::Waits;
                    }
                    reason
                }
                Err(Unsubmitted::Refused(reason)) => reason,
            };
            self.slice.sent_at = None;
            self.note(SliceChange::Refused).await;
            if self.is_refused_for_good(&reason) {
                return self.fail(&CallFailure::from_backend(self.backend(), reason)).await;
            }
            tracing::warn!(slice = %self.slice.id, reason = words(&reason), "a batch is not taken; trying again");
            pause = (pause * 2).max(wait_of(&reason)).min(PAUSE_MAX);
            let is_over = self.pause(pause).await.is_err() || self.cancel.is_cancelled();
            if is_over {
                return self.withdraw().await;
            }
            self.slice.sent_at = Some(Moment::of_system());
            if !self.note(SliceChange::Sending).await {
                return Step::Over;
            }
        }
    }

    fn is_refused_for_good(&self, reason: &Reason) -> bool {
        let since = Duration::from_millis(u64::try_from(Moment::of_system().0 - self.slice.created_at.0).unwrap_or(0));
        !reason.may_pass() || since > REFUSED_MAX
    }

    /// Takes note of what must not be forgotten, however long that takes; whether it is so now. What is not written when the process
    /// ends, the next one finds out by itself; and where this one was silent for long, another may have the slice by now.
    async fn note(&mut self, change: SliceChange) -> bool {
        loop {
            match self.app.store().change_slice(self.slice.id, change.clone()).await {
                Ok(is_so) => return is_so,
                Err(error) => {
                    tracing::warn!(slice = %self.slice.id, %error, "what became of a slice could not be noted; trying again");
                }
            }
            if self.pause(PAUSE_MIN).await.is_err() {
                return false;
            }
        }
    }

    /// Whether it is found after all.
    async fn look_in_doubt(&mut self) -> bool {
        let doubt = DOUBT.min(self.app.limits().economy_unknown_after);
        loop {
            match self.look().await {
                Ok(Adopted::Batch(_)) => return true,
                Ok(Adopted::Nothing) if self.slice.age() > doubt => return false,
                Ok(_) => {}
                Err(trouble) => {
                    tracing::warn!(slice = %self.slice.id, %trouble, "a batch cannot be looked for; trying again");
                }
            }
            if self.pause(PAUSE_MIN).await.is_err() {
                return false;
            }
        }
    }
}

fn wait_of(reason: &Reason) -> Duration {
    match reason {
        Reason::RateLimited { retry_after, .. } | Reason::Overloaded { retry_after } => *retry_after,
        _ => Duration::ZERO,
    }
}

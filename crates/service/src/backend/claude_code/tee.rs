//! What is known of an answer besides what its worker says: how much of it the worker was told, what that costs, and how it failed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{
    backend::{Failure, Said, Spend},
    usage::Usage,
};

/// What the upstream has said.
#[derive(Default)]
pub(super) struct Tee {
    state: Mutex<State>,
    has_failed: Notify,
}

#[derive(Default)]
struct State {
    usage: Option<Usage>,
    /// Of the events that say something, those that the worker was told and has not passed on.
    on_the_way: u64,
    failure: Option<Failure>,
}

impl Tee {
    /// The worker is told this.
    pub(super) fn passed_on(&self, said: &Said) {
        let mut state = self.locked();
        state.on_the_way += u64::from(*said != Said::Aside);
        match said {
            Said::Start { usage, .. } | Said::Stop { usage, .. } => state.usage = Some(*usage),
            _ => {}
        }
    }

    /// The worker has passed this on.
    pub(super) fn came(&self, said: &Said) {
        let mut state = self.locked();
        state.on_the_way = state.on_the_way.saturating_sub(u64::from(*said != Said::Aside));
    }

    /// Whether it has passed on all that it was told.
    pub(super) fn is_passed_on(&self) -> bool {
        self.locked().on_the_way == 0
    }

    /// The upstream has failed.
    pub(super) fn fail(&self, failure: Failure) {
        self.locked().failure = Some(failure);
        self.has_failed.notify_one();
    }

    /// Ends once it has.
    pub(super) async fn failed(&self) {
        self.has_failed.notified().await;
    }

    /// How it has.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.locked().failure.take()
    }

    /// What has been spent.
    pub(super) fn spend(&self) -> Spend {
        self.locked().usage.map_or(Spend::Unknown, Spend::Spent)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

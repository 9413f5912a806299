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
    /// Events that the worker was told and has not passed on.
    on_the_way: u64,
    failure: Option<Failure>,
}

impl Tee {
    /// The worker is told this.
    pub(super) fn passed_on(&self, said: &Said) {
        let mut state = self.locked();
        state.on_the_way += 1;
        match said {
            Said::Start { usage, .. } | Said::Stop { usage, .. } => state.usage = Some(*usage),
            _ => {}
        }
    }

    /// The worker has passed something on.
    pub(super) fn came(&self) {
        let mut state = self.locked();
        state.on_the_way = state.on_the_way.saturating_sub(1);
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

    /// How, once it has.
    pub(super) async fn failed(&self) -> Failure {
        loop {
            if let Some(failure) = self.locked().failure.take() {
                return failure;
            }
            self.has_failed.notified().await;
        }
    }

    /// What has been spent.
    pub(super) fn spend(&self) -> Spend {
        self.locked().usage.map_or(Spend::Unknown, Spend::Spent)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

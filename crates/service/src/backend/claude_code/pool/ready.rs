//! A worker in somebody's hands.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};

use super::{
    super::{line::Line, worker::Worker},
    Number, Shared,
};
use crate::backend::Affinity;

/// How long a worker that has served a call may take to be ready again.
const REST_MAX: Duration = Duration::from_secs(2);

/// How many calls a worker serves, and how many tokens of answers: it keeps them in its memory. At 1,000 calls it was 100 MB larger than at
/// the first, and no slower; a start takes as long as twenty calls do, and the first calls after it are slower than the rest.
const ROUNDS_MAX: u32 = 500;
const TOKENS_MAX: u64 = 500_000;

/// A worker that can be briefed. Dropped, it is killed, and its slot is given to another only when it is gone.
pub(in super::super) struct Ready {
    worker: Option<Worker>,
    number: Option<Number>,
    /// That of the calls that it serves.
    affinity: Affinity,
    /// How many it has served, and tokens of their answers.
    rounds: u32,
    tokens: u64,
}

/// How a worker is to end its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Ending {
    /// With the whole answer.
    Whole,
    /// With the failure that it was told.
    Refused,
}

impl Ready {
    /// One that has served no call.
    pub(super) fn new(worker: Worker, number: Number) -> Self {
        Self { worker: Some(worker), number: Some(number), affinity: Affinity::default(), rounds: 0, tokens: 0 }
    }

    /// For a call of this affinity.
    pub(super) fn of(mut self, affinity: &Affinity) -> Self {
        self.affinity.clone_from(affinity);
        self
    }

    /// Its answer has ended as the model wanted, or there was none: it may serve another call, once it has ended its round.
    pub(in super::super) fn rest(mut self, ending: Ending, tokens: u64) {
        self.rounds += 1;
        self.tokens += tokens;
        let shared = self.shared();
        if !shared.kit.recycles || self.rounds >= ROUNDS_MAX || self.tokens >= TOKENS_MAX {
            return;
        }
        let pool = Arc::clone(&shared);
        shared.locked().stock.rest(self.affinity.clone());
        shared.spawn(async move {
            let ended = timeout(REST_MAX, self.ends_round(ending)).await;
            let affinity = self.affinity.clone();
            pool.rested(affinity, matches!(ended, Ok(true)).then_some(self));
        });
    }

    /// It works: now is the time to start the one that takes its place, which would have been in its way before.
    pub(in super::super) fn replace(&self) {
        self.shared().fill();
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.number.as_ref().expect("it is taken only by drop").1)
    }

    /// Whether the round ends as it is to, and nothing was asked besides.
    async fn ends_round(&mut self, ending: Ending) -> bool {
        loop {
            match self.line(REST_MAX).await {
                Ok(Line::Result(ended)) => {
                    return ended.is_error == (ending == Ending::Refused) && self.gateway().refused() == 0;
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

impl Deref for Ready {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        self.worker.as_ref().expect("it is taken only by drop")
    }
}

impl DerefMut for Ready {
    fn deref_mut(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("it is taken only by drop")
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        let (Some(worker), Some(number)) = (self.worker.take(), self.number.take()) else { return };
        // Without a runtime the process ends, and its workers with it.
        let Ok(_runtime) = Handle::try_current() else { return };
        let (shared, pool) = (Arc::clone(&number.1), Arc::clone(&number.1));
        shared.spawn(async move {
            if !matches!(worker.kill().await, Ok(true)) {
                tracing::error!("something that a worker of Claude Code has started is still there");
            }
            drop(number);
            pool.fill();
        });
    }
}

//! Turns: before a backend is asked, a call waits for its turn there, and keeps it until its answer has ended. Whatever ends the
//! call drops its [`Turn`], and the next call has one.
//!
//! What cuts a call off often cuts off others with it: their client has died, or they had the same deadline. So that these do not
//! pass a turn on to each other, each to be sent for a moment and paid for, who has its turn from a call that was cut off waits a
//! little, and passes it on if it is cut off itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use claude_code_api_wire::ServiceHealth;
use tokio::{sync::oneshot, time::Instant};

use super::queue::{Full, Place, Priority, Queue};
use crate::{
    backend::{Backend, Capacity, Failure, Reason, Spend},
    project::ProjectId,
};

/// How long a call waits with a turn that it has from one that was cut off.
const AFTER_A_CUT: Duration = Duration::from_millis(50);

/// The queues of all backends, by their names.
pub struct Turns(BTreeMap<&'static str, Mutex<Waiting>>);

struct Waiting {
    queue: Queue<oneshot::Sender<Result<Freed, Full>>>,
    capacity: Capacity,
    /// How long a turn takes, as a moving average.
    took: Duration,
}

/// How a turn came to be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freed {
    /// Nobody had it, or who had it has ended.
    AtTheEnd,
    /// Who had it was cut off.
    ByACut,
}

impl Turns {
    /// The turns at these backends.
    pub fn of(backends: &[Arc<dyn Backend>]) -> Self {
        Self(backends.iter().map(|backend| (backend.name(), Waiting::at(backend.capacity()))).collect())
    }

    /// How a backend is, and how many calls are there.
    pub(crate) fn health(&self, backend: &dyn Backend) -> ServiceHealth {
        let health = backend.health();
        let waiting = locked(&self.0[backend.name()]);
        let (running, waiting) = (waiting.queue.running(), waiting.queue.waiting());
        let calls = format!("{running} calls running, {waiting} waiting");
        let detail = health.detail.map(|detail| format!("{detail}; {calls}"));
        ServiceHealth { detail: detail.or(Some(calls)), ..health }
    }

    /// The failure of a call that has no turn at `backend` now.
    pub(super) fn overloaded(&self, backend: &'static str) -> Failure {
        overloaded(&self.0[backend])
    }

    /// Waits for a turn at `backend`. Dropping what this returns, or the waiting, gives it to the next.
    pub(super) async fn take(
        &self,
        backend: &'static str,
        project: &ProjectId,
        priority: Priority,
    ) -> Result<Turn<'_>, Failure> {
        let waiting = &self.0[backend];
        let (teller, told) = oneshot::channel();
        let joined = locked(waiting).join(project, priority, teller);
        let place = joined.map_err(|Full| overloaded(waiting))?;
        let mut turn = Turn { waiting, place, begun_at: None, freed: Freed::ByACut };
        let told = told.await.expect("who stands in the queue is told");
        if told.map_err(|Full| overloaded(waiting))? == Freed::ByACut {
            tokio::time::sleep(AFTER_A_CUT).await;
        }
        turn.begun_at = Some(Instant::now());
        Ok(turn)
    }
}

fn overloaded(waiting: &Mutex<Waiting>) -> Failure {
    let retry_after = locked(waiting).retry_after();
    Failure { spend: Spend::Unspent, reason: Reason::Overloaded { retry_after } }
}

fn locked(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    fn at(capacity: Capacity) -> Mutex<Self> {
        Mutex::new(Self { queue: Queue::new(capacity), capacity, took: Duration::ZERO })
    }

    fn join(
        &mut self,
        project: &ProjectId,
        priority: Priority,
        teller: oneshot::Sender<Result<Freed, Full>>,
    ) -> Result<Place, Full> {
        let (place, sent_away) = self.queue.join(project, priority, teller)?;
        if let Some(teller) = sent_away {
            let _ = teller.send(Err(Full));
        }
        self.give_turns(Freed::AtTheEnd);
        Ok(place)
    }

    fn leave(&mut self, place: &Place, took: Option<Duration>, freed: Freed) {
        if let Some(took) = took {
            self.took = if self.took.is_zero() { took } else { (self.took * 7 + took) / 8 };
        }
        self.queue.leave(place);
        self.give_turns(freed);
    }

    fn give_turns(&mut self, freed: Freed) {
        while let Some(teller) = self.queue.next() {
            // Who has just gone away has a `Turn` to drop, and gives it back by that.
            let _ = teller.send(Ok(freed));
        }
    }

    /// When about half of the queue will have gone, by how long calls took lately.
    fn retry_after(&self) -> Duration {
        let rounds = self.capacity.waiting_max.div_ceil(2 * self.capacity.calls_max);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        self.took.saturating_mul(rounds).clamp(Duration::from_secs(1), Duration::from_mins(1))
    }
}

/// A call's turn at a backend, or its place in the queue for one.
pub(super) struct Turn<'a> {
    waiting: &'a Mutex<Waiting>,
    place: Place,
    begun_at: Option<Instant>,
    /// What dropping it is.
    freed: Freed,
}

impl Turn<'_> {
    /// Gives it back by itself, rather than as one that is cut off.
    pub(super) fn end(mut self) {
        self.freed = Freed::AtTheEnd;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let took = self.begun_at.map(|begun_at| begun_at.elapsed());
        locked(self.waiting).leave(&self.place, took, self.freed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::join_all};

    use super::*;

    fn turns(calls_max: usize, waiting_max: usize) -> Turns {
        Turns(BTreeMap::from([("b", Waiting::at(Capacity { calls_max, waiting_max }))]))
    }

    async fn take(turns: &Turns) -> Result<Turn<'_>, Failure> {
        turns.take("b", &ProjectId::default_project(), Priority::Interactive).await
    }

    fn counts(turns: &Turns) -> (usize, usize) {
        let waiting = locked(&turns.0["b"]);
        (waiting.queue.running(), waiting.queue.waiting())
    }

    #[tokio::test]
    async fn whoever_stops_waiting_leaves_at_once_and_the_next_has_the_turn() {
        let turns = turns(1, 10);
        let first = take(&turns).await.expect("a turn");
        let (mut second, mut third) = (Box::pin(take(&turns)), Box::pin(take(&turns)));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        assert_eq!(counts(&turns), (1, 2));
        drop(second);
        assert_eq!(counts(&turns), (1, 1));
        first.end();
        let third = third.now_or_never().expect("it is its turn");
        assert_eq!(counts(&turns), (1, 0));
        drop(third);
        assert_eq!(counts(&turns), (0, 0));
    }

    #[tokio::test]
    async fn a_turn_that_was_given_to_one_who_has_just_gone_is_not_lost() {
        let turns = turns(1, 10);
        let first = take(&turns).await;
        let (mut second, mut third) = (Box::pin(take(&turns)), Box::pin(take(&turns)));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(first);
        // It has been told, and does not look any more.
        drop(second);
        assert!(third.as_mut().now_or_never().is_none(), "it may be cut off, too");
        assert_eq!(counts(&turns), (1, 0), "the turn went on to the next");
        drop(third.await);
        assert_eq!(counts(&turns), (0, 0));
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told_when_to_come_back() {
        let turns = turns(1, 1);
        let first = take(&turns).await;
        let mut waiting = Box::pin(take(&turns));
        assert!(waiting.as_mut().now_or_never().is_none());
        let refused = take(&turns).await.err().expect("nobody more may wait");
        assert_eq!(refused, overloaded(&turns.0["b"]));
        assert_eq!(counts(&turns), (1, 1));
        drop((first, waiting));
    }

    #[test]
    fn when_to_come_back_is_by_how_long_turns_took_lately() {
        let turns = turns(4, 64);
        for (took_s, retry_after_s) in [(0, 1), (2, 16), (10, 24), (1_000, 60)] {
            let mut waiting = locked(&turns.0["b"]);
            let (teller, _told) = oneshot::channel();
            let place = waiting.join(&ProjectId::default_project(), Priority::Interactive, teller).expect("room");
            waiting.leave(&place, Some(Duration::from_secs(took_s)), Freed::AtTheEnd);
            assert_eq!(waiting.retry_after(), Duration::from_secs(retry_after_s), "after a turn of {took_s} s");
        }
    }

    #[tokio::test]
    async fn no_turn_is_lost_in_a_crowd_that_comes_and_goes() {
        let turns = turns(3, 1_000);
        let calls = (0..500_u64).map(async |number| {
            let patience = Duration::from_micros(number % 7 * 300);
            let Ok(turn) = tokio::time::timeout(patience, take(&turns)).await else { return false };
            assert!(counts(&turns).0 <= 3);
            tokio::time::sleep(Duration::from_micros(number % 5 * 100)).await;
            drop(turn);
            true
        });
        let had_turns = join_all(calls).await.into_iter().filter(|had_turn| *had_turn).count();
        println!("{had_turns} of 500 had a turn");
        assert!(had_turns > 0);
        assert_eq!(counts(&turns), (0, 0));
    }
}

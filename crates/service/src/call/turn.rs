//! Turns: before a backend is asked, a call waits for its turn there, and keeps it until its answer has ended. Whatever ends the
//! call drops its [`Turn`], and the next call has one.

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

/// The queues of all backends, by their names.
pub struct Turns(BTreeMap<&'static str, Mutex<Waiting>>);

struct Waiting {
    queue: Queue<oneshot::Sender<Result<(), Full>>>,
    capacity: Capacity,
    /// How long a turn takes, as a moving average.
    took: Duration,
}

impl Turns {
    /// The turns at these backends.
    pub fn of(backends: &[Arc<dyn Backend>]) -> Self {
        let waiting = |capacity| Waiting { queue: Queue::new(capacity), capacity, took: Duration::ZERO };
        Self(backends.iter().map(|backend| (backend.name(), Mutex::new(waiting(backend.capacity())))).collect())
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
        let mut turn = Turn { waiting, place: joined.map_err(|Full| overloaded(waiting))?, begun_at: None };
        told.await.expect("who stands in the queue is told").map_err(|Full| overloaded(waiting))?;
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
    fn join(
        &mut self,
        project: &ProjectId,
        priority: Priority,
        teller: oneshot::Sender<Result<(), Full>>,
    ) -> Result<Place, Full> {
        let (place, sent_away) = self.queue.join(project, priority, teller)?;
        if let Some(teller) = sent_away {
            let _ = teller.send(Err(Full));
        }
        self.give_turns();
        Ok(place)
    }

    fn leave(&mut self, place: &Place, took: Option<Duration>) {
        if let Some(took) = took {
            self.took = if self.took.is_zero() { took } else { (self.took * 7 + took) / 8 };
        }
        self.queue.leave(place);
        self.give_turns();
    }

    fn give_turns(&mut self) {
        while let Some(teller) = self.queue.next() {
            // Who has just gone away has a `Turn` to drop, and gives it back by that.
            let _ = teller.send(Ok(()));
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
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let took = self.begun_at.map(|begun_at| begun_at.elapsed());
        locked(self.waiting).leave(&self.place, took);
    }
}

//! The pool: workers that are ready before anybody asks for one. One that has served a call may serve the next of the same affinity, for a
//! while; then it is killed, and another takes its place.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout_at,
};
use tokio_util::sync::CancellationToken;

use super::{
    isolate::{Isolation, SLOTS_MAX},
    login::Login,
    round,
    slot::{Slot, Slots},
    worker::{Worker, WorkerError},
};
use crate::backend::{Affinity, Failure, Reason, Spend};
pub(super) use ready::{Ending, Ready};
use stock::Stock;

mod demand;
mod ready;
mod stock;

/// How long a worker may take to become ready: many times what it takes on a busy machine.
const READY_MAX: Duration = Duration::from_secs(20);

/// How long a call waits for a worker.
const PATIENCE: Duration = Duration::from_secs(20);

/// After so many in a row that could not be started, a call does not wait for the next.
const FAILURES_MAX: u32 = 3;

/// The pause after a worker that could not be started, which doubles with each one more.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

const OVERLOADED: Reason = Reason::Overloaded { retry_after: Duration::from_secs(1) };

/// Workers, as many as are wanted.
pub(super) struct Pool(Arc<Shared>);

/// What is needed to start one.
pub(super) struct Kit {
    pub(super) program: PathBuf,
    pub(super) slots: Slots,
    pub(super) isolation: Isolation,
    /// What workers are on; `None`: a dummy key.
    pub(super) login: Option<Login>,
    /// As many as calls at a time.
    pub(super) workers: usize,
    /// Whether a worker may serve more calls than one.
    pub(super) recycles: bool,
}

struct Shared {
    kit: Kit,
    /// Each of them takes a core for a third of a second.
    starting: Semaphore,
    state: Mutex<State>,
    /// Ends what is under way. Nothing is begun while the state is locked: where the runtime ends, a task is dropped at once, and its
    /// worker with it, which locks it too.
    closed: CancellationToken,
}

#[derive(Default)]
struct State {
    stock: Stock<Ready>,
    /// How many are being started.
    starting: usize,
    /// The numbers of slots in use, and the last that was given out.
    numbers: BTreeSet<u32>,
    last: u32,
    /// In a row, and what was wrong with the last.
    failures: u32,
    wrong: Option<WorkerError>,
    is_closed: bool,
}

impl Pool {
    /// One that begins to fill itself.
    pub(super) fn new(kit: Kit) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let shared =
            Shared { kit, starting: Semaphore::new(cores), state: Mutex::default(), closed: CancellationToken::new() };
        let pool = Self(Arc::new(shared));
        pool.0.fill();
        pool
    }

    /// A worker that is ready, and nobody else's. Whoever waits for one has it before whoever comes later.
    pub(super) async fn take(&self, affinity: &Affinity) -> Result<Ready, Failure> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let told = self.0.want(affinity);
            let Ok(Ok(mut ready)) = timeout_at(deadline, told).await else { return Err(self.0.none()) };
            // It may have died while it was waiting.
            if ready.is_alive() {
                return Ok(ready.of(affinity));
            }
        }
    }

    /// How many are ready, and what is wrong where none is.
    pub(super) fn health(&self) -> (usize, Option<String>) {
        let state = self.0.locked();
        let (ready, used) = state.stock.len();
        let wrong = state.wrong.as_ref().filter(|_| ready + used == 0);
        (ready + used, wrong.map(ToString::to_string))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.locked();
        state.is_closed = true;
        self.0.closed.cancel();
        let left: Vec<Ready> = state.stock.drain().collect();
        drop(state);
        drop(left);
    }
}

impl State {
    /// Whether another one should be started: there are to be as many as calls at a time, and of those that have served none as many
    /// as are wanted.
    fn lacks(&mut self, workers: usize) -> bool {
        let coming = self.stock.len().0 + self.starting;
        !self.is_closed && (self.numbers.len() < workers || coming < self.stock.wanted().min(workers))
    }

    /// The number of a slot that is not in use, and was not for the longest time. The last slot is the self-test's.
    fn number(&mut self) -> u32 {
        let slots = SLOTS_MAX - 1;
        let free = (1..=slots).map(|after| (self.last + after) % slots).find(|number| !self.numbers.contains(number));
        let number = free.expect("there are more slots than workers");
        self.last = number;
        self.numbers.insert(number);
        number
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(self: &Arc<Self>, affinity: &Affinity) -> oneshot::Receiver<Ready> {
        let mut state = self.locked();
        let told = state.stock.want(affinity);
        if state.failures >= FAILURES_MAX {
            state.stock.disappoint();
            return told;
        }
        drop(state);
        self.fill();
        told
    }

    /// Starts as many as are wanting.
    fn fill(self: &Arc<Self>) {
        let mut state = self.locked();
        let mut numbers = Vec::new();
        while state.lacks(self.kit.workers) {
            numbers.push(state.number());
            state.starting += 1;
        }
        drop(state);
        for number in numbers {
            self.spawn(Arc::clone(self).start_one(Number(number, Arc::clone(self))));
        }
    }

    /// Does something that ends with the pool, at the latest.
    #[expect(clippy::disallowed_methods, reason = "it ends with the pool, which ends with the app")]
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        tokio::spawn(async move {
            closed.run_until_cancelled(task).await;
        });
    }

    async fn start_one(self: Arc<Self>, number: Number) {
        let begun = Instant::now();
        let started = self.started(number).await;
        let pause = {
            let mut state = self.locked();
            state.starting -= 1;
            match started {
                Ok(worker) => {
                    (state.failures, state.wrong) = (0, None);
                    state.stock.demand().started(begun.elapsed());
                    state.stock.add(worker);
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "a worker of Claude Code could not be started; trying again");
                    state.failures += 1;
                    state.wrong = Some(error);
                    if state.failures >= FAILURES_MAX {
                        state.stock.disappoint();
                    }
                    Some((PAUSE * 2_u32.pow(state.failures.min(8))).min(PAUSE_MAX))
                }
            }
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
            self.fill();
        }
    }

    async fn started(self: &Arc<Self>, number: Number) -> Result<Ready, WorkerError> {
        let _turn = self.starting.acquire().await.expect("it is never closed");
        let Kit { program, slots, isolation, login, .. } = &self.kit;
        let slot = Slot::open(slots, number.0, isolation, login.as_ref()).map_err(WorkerError::Start)?;
        let mut worker = Worker::start(program, slot, isolation).await?;
        worker.ready(READY_MAX).await?;
        // Who waits for it is served sooner without. On a login its first round is its only one: a system prompt is heard in no other.
        if login.is_none() && !self.locked().stock.is_awaited() {
            round::prime(&mut worker, READY_MAX).await?;
        }
        Ok(Ready::new(worker, number))
    }

    /// A worker has ended its round, or is gone.
    fn rested(self: &Arc<Self>, affinity: Affinity, ready: Option<Ready>) {
        let mut state = self.locked();
        state.stock.rested(affinity, ready);
        let workers = self.kit.workers;
        let more = state.numbers.len().saturating_sub(workers + state.stock.wanted());
        let surplus = state.stock.surplus(workers, more);
        drop(state);
        drop(surplus);
        self.fill();
    }

    /// Too many want one, or there is no room for one: that passes.
    fn none(&self) -> Failure {
        let reason = match &self.locked().wrong {
            Some(wrong) if !wrong.lacks_room() => {
                Reason::Broken { message: format!("has no worker: {wrong}").into(), retryable: true }
            }
            _ => OVERLOADED,
        };
        Failure { spend: Spend::Unspent, reason }
    }
}

/// The number of a slot, which is free again when this is dropped.
struct Number(u32, Arc<Shared>);

impl Drop for Number {
    fn drop(&mut self) {
        self.1.locked().numbers.remove(&self.0);
    }
}

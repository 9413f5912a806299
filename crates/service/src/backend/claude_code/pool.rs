//! The pool: workers that are ready before anybody asks for one. One that has served a call may serve the next of the same affinity, for a
//! while; then it is killed, and another takes its place.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::{Deref, DerefMut},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::timeout,
};

use super::{
    isolate::{Isolation, SLOTS_MAX},
    line::Line,
    slot::{Slot, Slots},
    worker::{Worker, WorkerError},
};
use crate::backend::{Affinity, Failure, Reason, Spend};

/// How long a worker may take to become ready: many times what it takes on a busy machine.
const READY_MAX: Duration = Duration::from_secs(20);

/// How long a call waits for a worker.
const PATIENCE: Duration = Duration::from_secs(20);

/// After so many in a row that could not be started, a call does not wait for the next.
const FAILURES_MAX: u32 = 3;

/// How long a worker that has served a call may take to be ready again.
const REST_MAX: Duration = Duration::from_secs(2);

/// How many calls a worker serves, and how many tokens of answers: it keeps them in its memory.
const ROUNDS_MAX: u32 = 100;
const TOKENS_MAX: u64 = 50_000;

/// The pause after a worker that could not be started, which doubles with each one more.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Workers, as many as are wanted.
pub(super) struct Pool(Arc<Shared>);

/// What is needed to start one.
pub(super) struct Kit {
    pub(super) program: PathBuf,
    pub(super) slots: Slots,
    pub(super) isolation: Isolation,
    /// How many are kept ready that have served no call, and at most as many that have.
    pub(super) ready_max: usize,
    /// Whether a worker may serve more calls than one.
    pub(super) recycles: bool,
}

struct Shared {
    kit: Kit,
    /// Each of them takes a core for a quarter of a second.
    starting: Semaphore,
    state: Mutex<State>,
    changed: Notify,
    /// Calls that wait for a worker, in the order in which they came.
    line: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Ready>,
    /// Those that have served calls, the one that has rested longest first.
    used: VecDeque<Ready>,
    /// Those that end a round, by their affinity: they will be ready in a moment, or gone.
    resting: Vec<Affinity>,
    /// How many are being started.
    starting: usize,
    /// The numbers of slots in use, and the last that was given out.
    numbers: BTreeSet<u32>,
    last: u32,
    /// In a row, and what was wrong with the last.
    failures: u32,
    wrong: Option<String>,
    tasks: JoinSet<()>,
}

impl Pool {
    /// One that begins to fill itself.
    pub(super) fn new(kit: Kit) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let shared = Shared {
            kit,
            starting: Semaphore::new(cores),
            state: Mutex::default(),
            changed: Notify::new(),
            line: tokio::sync::Mutex::default(),
        };
        let pool = Self(Arc::new(shared));
        pool.0.fill();
        pool
    }

    /// A worker that is ready, and nobody else's. Whoever waits for one has it before whoever comes later.
    pub(super) async fn take(&self, affinity: &Affinity) -> Result<Ready, Failure> {
        match timeout(PATIENCE, self.next(affinity)).await {
            Ok(taken) => taken,
            Err(_) => Err(self.0.none()),
        }
    }

    async fn next(&self, affinity: &Affinity) -> Result<Ready, Failure> {
        let _turn = self.0.line.lock().await;
        loop {
            let changed = self.0.changed.notified();
            let taken = self.0.locked().pop(affinity);
            if let Some(mut ready) = taken {
                // It may have died while it was waiting.
                if ready.is_alive() {
                    ready.affinity = affinity.clone();
                    return Ok(ready);
                }
                continue;
            }
            if self.0.locked().failures >= FAILURES_MAX {
                return Err(self.0.none());
            }
            self.0.fill();
            changed.await;
        }
    }

    /// How many are ready, and what is wrong where none is.
    pub(super) fn health(&self) -> (usize, Option<String>) {
        let state = self.0.locked();
        let ready = state.ready.len() + state.used.len();
        (ready, state.wrong.clone().filter(|_| ready == 0))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.locked();
        state.tasks.abort_all();
        let ready = (std::mem::take(&mut state.ready), std::mem::take(&mut state.used));
        drop(state);
        drop(ready);
    }
}

impl State {
    /// One that knows calls of this affinity, else one that knows none; but none where one that does is about to be ready.
    fn pop(&mut self, affinity: &Affinity) -> Option<Ready> {
        match self.used.iter().rposition(|worker| worker.affinity == *affinity) {
            Some(at) => self.used.remove(at),
            None if self.resting.contains(affinity) => None,
            None => self.ready.pop_front(),
        }
    }

    fn rested(&mut self, affinity: &Affinity) {
        let at = self.resting.iter().position(|resting| resting == affinity);
        self.resting.swap_remove(at.expect("it was noted"));
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts as many as are wanting.
    fn fill(self: &Arc<Self>) {
        let mut state = self.locked();
        while state.tasks.try_join_next().is_some() {}
        while state.ready.len() + state.starting < self.kit.ready_max {
            state.starting += 1;
            state.tasks.spawn(Arc::clone(self).start_one());
        }
    }

    async fn start_one(self: Arc<Self>) {
        let started = self.started().await;
        let pause = {
            let mut state = self.locked();
            state.starting -= 1;
            match started {
                Ok(worker) => {
                    (state.failures, state.wrong) = (0, None);
                    state.ready.push_back(worker);
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "a worker of Claude Code could not be started; trying again");
                    state.failures += 1;
                    state.wrong = Some(error.to_string());
                    Some((PAUSE * 2_u32.pow(state.failures.min(8))).min(PAUSE_MAX))
                }
            }
        };
        // Whoever waits hears of either.
        self.changed.notify_waiters();
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
            self.fill();
        }
    }

    async fn started(self: &Arc<Self>) -> Result<Ready, WorkerError> {
        let _turn = self.starting.acquire().await.expect("it is never closed");
        let number = self.number();
        let Kit { program, slots, isolation, .. } = &self.kit;
        let slot = Slot::open(slots, number.0, isolation).map_err(WorkerError::Start)?;
        let mut worker = Worker::start(program, slot, isolation).await?;
        worker.ready(READY_MAX).await?;
        let (affinity, rounds, tokens) = (Affinity::default(), 0, 0);
        Ok(Ready { worker: Some(worker), number: Some(number), affinity, rounds, tokens })
    }

    /// A worker is ready again. There are never more of these than calls at a time.
    fn put(&self, ready: Ready) {
        let mut state = self.locked();
        state.used.push_back(ready);
        let most = self.kit.ready_max;
        let too_many = if state.used.len() > most { state.used.pop_front() } else { None };
        drop(state);
        drop(too_many);
        self.changed.notify_waiters();
    }

    /// One that is not in use, and was not for the longest time. The last slot is the self-test's.
    fn number(self: &Arc<Self>) -> Number {
        let mut state = self.locked();
        let slots = SLOTS_MAX - 1;
        let free = (1..=slots).map(|after| (state.last + after) % slots).find(|number| !state.numbers.contains(number));
        let number = free.expect("there are more slots than workers");
        state.last = number;
        state.numbers.insert(number);
        Number(number, Arc::clone(self))
    }

    fn none(&self) -> Failure {
        let wrong = self.locked().wrong.clone();
        let reason = match wrong {
            Some(wrong) => Reason::Broken { message: format!("has no worker: {wrong}").into(), retryable: true },
            None => Reason::Overloaded { retry_after: Duration::from_secs(1) },
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

/// A worker that can be briefed. Dropped, it is killed, and its slot is given to another only when it is gone.
pub(super) struct Ready {
    worker: Option<Worker>,
    number: Option<Number>,
    /// That of the calls that it serves.
    affinity: Affinity,
    /// How many it has served, and tokens of their answers.
    rounds: u32,
    tokens: u64,
}

impl Ready {
    /// Its answer has ended as the model wanted: it may serve another call, once it has ended its round.
    pub(super) fn rest(mut self, tokens: u64) {
        self.rounds += 1;
        self.tokens += tokens;
        let number = self.number.as_ref().expect("it is taken only by drop");
        let shared = Arc::clone(&number.1);
        if !shared.kit.recycles || self.rounds >= ROUNDS_MAX || self.tokens >= TOKENS_MAX {
            return;
        }
        let resting = Arc::clone(&shared);
        let mut state = shared.locked();
        state.resting.push(self.affinity.clone());
        state.tasks.spawn(async move {
            let ended = timeout(REST_MAX, self.end_of_round()).await;
            resting.locked().rested(&self.affinity);
            if matches!(ended, Ok(true)) {
                resting.put(self);
            } else {
                drop(self);
                resting.changed.notify_waiters();
            }
        });
    }

    /// It works: now is the time to start the one that takes its place, which would have been in its way before.
    pub(super) fn replace(&self) {
        self.number.as_ref().expect("it is taken only by drop").1.fill();
    }

    /// Whether the round ends in good order, and nothing was asked besides.
    async fn end_of_round(&mut self) -> bool {
        loop {
            match self.line(REST_MAX).await {
                Ok(Line::Result(ended)) => return !ended.is_error && self.gateway().refused() == 0,
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
        let shared = Arc::clone(&number.1);
        shared.locked().tasks.spawn(async move {
            if !matches!(worker.kill().await, Ok(true)) {
                tracing::error!("something that a worker of Claude Code has started is still there");
            }
            drop(number);
        });
    }
}

//! The bounded queue in front of the scheduler. Calls whose reader has gone give up their place when it is needed.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::slot::Job;

/// The end that calls are put in. Closes the queue when dropped.
pub(super) struct Queue(Arc<Shared>);

/// The scheduler's end. Closes the queue when dropped.
pub(super) struct Waiting(Arc<Shared>);

/// Why a call was not queued.
pub(super) enum Refused {
    /// As many calls wait as may.
    Full {
        /// How many that is.
        waiting: usize,
    },
    /// The scheduler has ended.
    Closed,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    jobs_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

pub(super) fn bounded(jobs_max: usize) -> (Queue, Waiting) {
    let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), jobs_max });
    (Queue(Arc::clone(&shared)), Waiting(shared))
}

impl Queue {
    pub(super) fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.jobs.len() >= self.0.jobs_max {
            state.jobs.retain(|job| !job.is_abandoned());
        }
        if state.jobs.len() >= self.0.jobs_max {
            return Err(Refused::Full { waiting: state.jobs.len() });
        }
        state.jobs.push_back(job);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().jobs.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().closed
    }
}

impl Waiting {
    /// The job that waits longest, if it may go now. Nothing overtakes it: a large call is not starved by small ones.
    pub(super) fn pop_if(&self, may_go: impl FnOnce(&Job) -> bool) -> Option<Job> {
        let mut state = self.0.lock();
        while state.jobs.front().is_some_and(Job::is_abandoned) {
            state.jobs.pop_front();
        }
        if may_go(state.jobs.front()?) { state.jobs.pop_front() } else { None }
    }

    /// Waits until there is a job; false when there will be none any more.
    pub(super) fn wait(&self) -> bool {
        let waits = |state: &mut State| state.jobs.is_empty() && !state.closed;
        let state = self.0.changed.wait_while(self.0.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        !state.closed
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().closed
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A job list is whole after every statement, so that a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.changed.notify_all();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.close();
    }
}

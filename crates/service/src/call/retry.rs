//! When an attempt that cost nothing is tried again: soon, and not so often that retries are what an upstream in trouble has to
//! carry.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::backend::{Failure, Reason, Spend};

/// How often a target is asked under one hold.
pub(super) const ATTEMPTS_MAX: u32 = 3;

/// The longest pause before an attempt; who would have to wait longer is told so.
const PAUSE_MAX: Duration = Duration::from_secs(4);
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// Retries are at most this part of the calls of an upstream, beside a few at any time.
const RETRIES_PER_CALL: f64 = 0.2;
const RETRIES_SAVED_MAX: f64 = 100.0;
const RETRIES_AT_FIRST: f64 = 10.0;

/// What every upstream has left to be tried again with.
#[derive(Debug, Default)]
pub struct Retries(Mutex<BTreeMap<&'static str, f64>>);

impl Retries {
    /// A call is made there.
    pub(super) fn earn(&self, backend: &'static str) {
        self.with(backend, |left| *left = (*left + RETRIES_PER_CALL).min(RETRIES_SAVED_MAX));
    }

    /// One attempt more, if it is to be had.
    pub(super) fn spend(&self, backend: &'static str) -> bool {
        self.with(backend, |left| {
            let is_there = *left >= 1.0;
            *left -= if is_there { 1.0 } else { 0.0 };
            is_there
        })
    }

    fn with<T>(&self, backend: &'static str, act: impl FnOnce(&mut f64) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(all.entry(backend).or_insert(RETRIES_AT_FIRST))
    }
}

/// How long to wait before a target that will be ready in so long is asked again under the same hold, after so many attempts; `None`: it
/// is not.
pub(super) fn pause(told: Duration, failure: &Failure, attempts: u32) -> Option<Duration> {
    if failure.spend != Spend::Unspent || !failure.reason.may_pass() || attempts >= ATTEMPTS_MAX {
        return None;
    }
    let pause = match failure.reason {
        // Another way is open.
        Reason::RateLimited { .. } | Reason::Overloaded { .. } if told.is_zero() => Duration::ZERO,
        Reason::RateLimited { .. } | Reason::Overloaded { .. } => told + jittered(PAUSE_FIRST),
        _ => told.max(jittered(PAUSE_FIRST * 2_u32.pow(attempts.saturating_sub(1)))),
    };
    (pause <= PAUSE_MAX).then_some(pause)
}

/// Between a half and the whole of it, so that those who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let [.., a, b] = uuid::Uuid::now_v7().into_bytes();
    pause / 2 + (pause / 2).mul_f64(f64::from(u16::from_le_bytes([a, b])) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_part_of_the_calls() {
        let retries = Retries::default();
        let first = (0..100).filter(|_| retries.spend("a")).count();
        (0..1_000).for_each(|_| retries.earn("a"));
        let later = (0..1_000).filter(|_| retries.spend("a")).count();
        assert_eq!((first, later, retries.spend("b")), (10, 100, true));
    }
}

//! How many workers that have served no call are kept ready: as many as are likely to be wanted while one more is started.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How far back it looks.
const WINDOW: Duration = Duration::from_secs(30);

/// When workers were taken, of late, and how long it takes to start one.
#[derive(Debug, Default)]
pub(super) struct Demand {
    taken: VecDeque<Instant>,
    start: Duration,
}

impl Demand {
    /// One is taken.
    pub(super) fn taken(&mut self, now: Instant) {
        self.forget(now);
        self.taken.push_back(now);
    }

    /// One has been started, in so long.
    pub(super) fn started(&mut self, start: Duration) {
        self.start = start;
    }

    /// One, and as many as are taken in the time of a start, with two standard deviations (takings that know nothing of each other).
    pub(super) fn ready(&mut self, now: Instant) -> usize {
        self.forget(now);
        let taken = u64::try_from(self.taken.len()).unwrap_or(u64::MAX);
        let start_ms = u64::try_from(self.start.as_millis()).unwrap_or(u64::MAX);
        // In thousandths of a worker, as most are.
        let expected = taken.saturating_mul(start_ms) / WINDOW.as_secs();
        let deviation = expected.saturating_mul(1_000).isqrt();
        usize::try_from(1 + (expected + 2 * deviation) / 1_000).unwrap_or(usize::MAX)
    }

    fn forget(&mut self, now: Instant) {
        while self.taken.front().is_some_and(|taken| now.duration_since(*taken) > WINDOW) {
            self.taken.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_are_ready_the_more_are_taken_and_the_longer_a_start_takes() {
        let now = Instant::now();
        let ready = |taken: u32, start_ms| {
            let mut demand = Demand::default();
            demand.started(Duration::from_millis(start_ms));
            (0..taken).for_each(|number| demand.taken(now + WINDOW * number / taken));
            demand.ready(now + WINDOW)
        };
        assert_eq!((ready(0, 500), ready(1, 500), ready(30, 500)), (1, 1, 2));
        // Four a second, half a second each: 1 + 2 + 2 x 1.41.
        assert_eq!((ready(120, 500), ready(120, 2_000)), (5, 14));
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let (mut demand, now) = (Demand::default(), Instant::now());
        demand.started(Duration::from_secs(1));
        (0..100).for_each(|_| demand.taken(now));
        assert!(demand.ready(now) > 1);
        assert_eq!(demand.ready(now + WINDOW * 2), 1);
    }
}

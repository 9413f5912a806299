//! Waiting for a state: polled, bounded, and the time it took is printed. Nothing here sleeps for a fixed time and
//! hopes.

use std::time::{Duration, Instant};

/// The bound of every wait: generous, because the machine may be busy; figures come from benchmarks.
pub const BOUND: Duration = Duration::from_secs(5);

const POLL_EVERY: Duration = Duration::from_millis(2);

/// Waits until `holds`, prints how long that took, and fails when it takes longer than [`BOUND`].
pub async fn until(claim: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < BOUND, "{claim}: not within {BOUND:?}");
        tokio::time::sleep(POLL_EVERY).await;
    }
    println!("{claim}: after {:?}", begun.elapsed());
    begun.elapsed()
}

/// Waits for `event`, prints how long that took, and fails when it takes longer than `bound`.
pub async fn in_time<T>(claim: &str, bound: Duration, event: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let Ok(value) = tokio::time::timeout(bound, event).await else { panic!("{claim}: not within {bound:?}") };
    println!("{claim}: after {:?}", begun.elapsed());
    value
}

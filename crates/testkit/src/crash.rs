//! When a service is to die in a test of crashes: how often, and at which moments.

use std::{ops::Range, time::Duration};

/// How often: what CRASHES says, else `short_form`.
pub fn crashes(short_form: usize) -> usize {
    #[expect(clippy::disallowed_methods, reason = "how long a test takes is not the product's configuration")]
    std::env::var("CRASHES").ok().and_then(|count| count.parse().ok()).unwrap_or(short_form)
}

/// Spreads figures over a range without a source of randomness that a failure could not name.
pub fn spread(seed: usize, range: usize) -> usize {
    (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % range
}

/// How long the service runs before this crash, within a range of milliseconds.
pub fn time_to_live(crash: usize, range_ms: Range<usize>) -> Duration {
    Duration::from_millis((range_ms.start + spread(crash, range_ms.len())) as u64)
}

//! When a failed attempt is followed by another one, and after how long.

use std::{
    sync::atomic::{AtomicI32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::{Error, error::ErrorKind, options::Options};
use claude_code_api_wire::ErrorCode;

/// The longest wait of our own choosing; the service may ask for a longer one.
const WAIT_MAX: Duration = Duration::from_secs(8);

/// Tokens that a client may spend on retries, so that a service in trouble is not kept there by its clients.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tokens: AtomicI32,
    random: AtomicU64,
}

const TOKENS_MAX: i32 = 500;
const TRANSIENT_COST: i32 = 14;
const THROTTLED_COST: i32 = 5;
const SUCCESS_GAIN: i32 = 1;

impl Default for RetryBudget {
    fn default() -> Self {
        // Clients that start together should not wait in step.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        Self { tokens: AtomicI32::new(TOKENS_MAX), random: AtomicU64::new(seed) }
    }
}

impl RetryBudget {
    /// A call succeeded at its first attempt.
    pub(crate) fn gain(&self) {
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
            (tokens < TOKENS_MAX).then(|| (tokens + SUCCESS_GAIN).min(TOKENS_MAX))
        });
    }

    fn spend(&self, cost: i32) -> bool {
        let spent = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| (tokens >= cost).then_some(tokens - cost));
        spent.is_ok()
    }

    /// Evenly in 0.5 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are enough to spread waits")]
    fn jitter(&self) -> f64 {
        // SplitMix64: one addition that threads share, and a mix of the sum.
        let mut mixed = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        0.5 + ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 54) as f64
    }
}

/// What to do after a failed attempt: the wait before the next one; or why there is none, where the error itself does not tell.
pub(crate) fn next_wait(
    error: &Error,
    attempts: u32,
    options: &Options,
    budget: &RetryBudget,
    deadline: Option<Instant>,
) -> Result<Duration, Option<&'static str>> {
    if !error.is_retryable() || attempts >= options.attempts_max {
        return Err(None);
    }
    let wait = match error.retry_after() {
        Some(asked) if asked > options.max_retry_after => {
            return Err(Some("told to wait longer than max_retry_after"));
        }
        Some(asked) => asked,
        None => backoff(options.retry_delay, attempts).mul_f64(budget.jitter()),
    };
    if deadline.is_some_and(|deadline| Instant::now() + wait >= deadline) {
        return Err(Some("no time left for another attempt"));
    }
    let throttled = matches!(error.kind(), ErrorKind::Api(ErrorCode::RateLimited | ErrorCode::Overloaded));
    if !budget.spend(if throttled { THROTTLED_COST } else { TRANSIENT_COST }) {
        return Err(Some("too many calls fail; the retry budget is used up"));
    }
    Ok(wait)
}

fn backoff(delay: Duration, attempts: u32) -> Duration {
    delay.saturating_mul(1_u32.checked_shl(attempts - 1).unwrap_or(u32::MAX)).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            base_url: "http://localhost".parse().expect("a URL"),
            authorization: None,
            project_id: None,
            timeout: Duration::from_secs(30),
            attempts_max: 100,
            retry_delay: Duration::from_secs(1),
            max_retry_after: Duration::from_mins(1),
        }
    }

    fn refused(retry_after: Option<u64>) -> Error {
        Error::from_status(503, retry_after.map(Duration::from_secs), "")
    }

    #[test]
    fn waits_double_up_to_eight_seconds_less_up_to_half() {
        let (options, budget) = (options(), RetryBudget::default());
        for (attempts, longest) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (60, 8.0)] {
            let wait =
                next_wait(&refused(None), attempts, &options, &budget, None).expect("another attempt").as_secs_f64();
            assert!(wait >= longest / 2.0 && wait <= longest, "after {attempts}: {wait}");
        }
    }

    #[test]
    fn retry_after_is_obeyed_exactly_up_to_the_limit() {
        let (options, budget) = (options(), RetryBudget::default());
        assert_eq!(next_wait(&refused(Some(60)), 1, &options, &budget, None), Ok(Duration::from_mins(1)));
        let note = next_wait(&refused(Some(61)), 1, &options, &budget, None).expect_err("too long");
        assert_eq!(note, Some("told to wait longer than max_retry_after"));
    }

    #[test]
    fn a_wait_that_does_not_fit_the_deadline_is_not_taken() {
        let deadline = Some(Instant::now() + Duration::from_secs(5));
        let note = next_wait(&refused(Some(6)), 1, &options(), &RetryBudget::default(), deadline).expect_err("no time");
        assert_eq!(note, Some("no time left for another attempt"));
    }

    #[test]
    fn the_budget_stops_a_storm_and_success_refills_it() {
        let (options, budget) = (options(), RetryBudget::default());
        let retries = (0..1_000).take_while(|_| next_wait(&refused(None), 1, &options, &budget, None).is_ok()).count();
        assert_eq!(retries, 100, "500 tokens, 5 for a throttled retry");
        for _ in 0..5 {
            budget.gain();
        }
        assert!(next_wait(&refused(None), 1, &options, &budget, None).is_ok());
    }
}

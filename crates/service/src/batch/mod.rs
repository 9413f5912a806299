//! Batch: many prompts as calls of their own, so many at a time. The second caller of [`call::start`]: for a request that waits for
//! the results ([`outcomes`]), and for batches that are stored and have no one waiting (`runner`).
//!
//! What it does not have room for now it asks for again within the deadline of the prompt: a batch goes on at the pace that its
//! project and its backend allow.

use std::{sync::Arc, time::Duration};

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::{
    app::App,
    call::{self, Answer, CallFailure, Caller, Hearing, Priority, Request, Updates},
};

pub(crate) mod economy;
pub(crate) mod runner;

/// What came of one of the requests.
pub struct Outcome {
    /// Its place among them.
    pub index: usize,
    /// How it ended.
    pub end: End,
}

/// An answer with its text, or why there is none.
pub type End = Result<(Arc<Answer>, String), CallFailure>;

/// The shortest pause before what there was no room for is asked for again.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// The most bytes in memory of what the calls of a batch share, such as a long system text.
const SHARED_BYTES_MAX: usize = 64 << 20;

/// Runs the requests as calls, at most so many at a time, and tells what came of each as it ends. A request is taken when it is its
/// turn. Dropping this cancels what runs.
pub fn outcomes(
    app: Arc<App>,
    caller: Caller,
    requests: impl Iterator<Item = Request> + Send,
    calls_max: usize,
) -> impl Stream<Item = Outcome> + Send {
    let calls = requests.enumerate().map(move |(index, request)| {
        let (app, caller) = (Arc::clone(&app), caller.clone());
        async move { Outcome { index, end: one(&app, &caller, request).await } }
    });
    stream::iter(calls).buffer_unordered(calls_max)
}

/// One call, and again where there was no room for it, within its deadline.
async fn one(app: &Arc<App>, caller: &Caller, request: Request) -> End {
    let deadline = Instant::now() + request.timeout;
    loop {
        // It would be refused a little later, and a task that has just begun may not live to say so.
        if app.is_draining() {
            return Err(CallFailure::ShuttingDown);
        }
        let timeout = deadline.saturating_duration_since(Instant::now());
        let request = Request { timeout, priority: Priority::Batch, ..request.clone() };
        let mut updates: Updates = call::start(app, caller.clone(), request, Hearing::Whole);
        let failure = match updates.end().await {
            Ok(answer) => return Ok((answer, updates.text())),
            Err(failure) => failure,
        };
        let Some(pause) = room_in(&failure) else { return Err(failure) };
        if Instant::now() + pause >= deadline {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
    }
}

/// How many calls may run at a time, each of which has in memory what all share.
pub fn at_a_time(calls_max: usize, shared_bytes: usize) -> usize {
    calls_max.min(SHARED_BYTES_MAX / shared_bytes.max(1)).max(1)
}

/// The pause before there may be room for what found none.
fn room_in(failure: &CallFailure) -> Option<Duration> {
    failure.room_in().map(|pause| pause.max(PAUSE_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_all_share_the_fewer_run_at_a_time_and_one_always_does() {
        for (calls_max, shared_bytes, expected) in
            [(16, 0, 16), (1_000, 1 << 20, 64), (16, 1 << 20, 16), (16, 1 << 30, 1)]
        {
            assert_eq!(at_a_time(calls_max, shared_bytes), expected);
        }
    }
}

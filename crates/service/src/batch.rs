//! Batch: many prompts as calls of their own, so many at a time. The second caller of [`call::start`].
//!
//! What it does not have room for now it asks for again within the deadline of the prompt: a batch goes on at the pace that its
//! project and its backend allow.

use std::{sync::Arc, time::Duration};

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::{
    app::App,
    call::{self, Answer, CallFailure, Caller, Hearing, Request, Updates},
};

/// What came of one of the requests.
pub struct Outcome {
    /// Its place among them.
    pub index: usize,
    /// Its answer, with its text.
    pub end: Result<(Arc<Answer>, String), CallFailure>,
}

/// The shortest pause before what there was no room for is asked for again.
const PAUSE_MIN: Duration = Duration::from_millis(200);

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

async fn one(app: &Arc<App>, caller: &Caller, request: Request) -> Result<(Arc<Answer>, String), CallFailure> {
    let deadline = Instant::now() + request.timeout;
    loop {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let mut updates: Updates =
            call::start(app, caller.clone(), Request { timeout, ..request.clone() }, Hearing::Whole);
        let failure = match updates.end().await {
            Ok(answer) => return Ok((answer, updates.text())),
            Err(failure) => failure,
        };
        let Some(pause) = failure.room_in().map(|pause| pause.max(PAUSE_MIN)) else { return Err(failure) };
        if Instant::now() + pause >= deadline {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
    }
}

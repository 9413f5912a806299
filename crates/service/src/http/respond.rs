//! Step 7 of 7: a call's updates become an answer in the native dialect, whole or as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use claude_code_api_wire::{Delta, sse};
use futures_core::Stream;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::error::ApiError;
use crate::{
    call::{Update, Updates},
    failpoint::Failpoint,
    id::RequestId,
};

/// How long a stream's status waits for the call's first update. A call that fails within it is answered with the status of
/// its error; one that waits longer has to say so, and that takes a body.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// How often a waiting stream says `queued`; clients leave that time out of theirs.
const QUEUED_EVERY: Duration = Duration::from_secs(1);

/// How often a running stream that has nothing to say shows that it lives.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// The whole answer.
pub(super) async fn json(updates: Updates) -> Result<Response, ApiError> {
    let end = updates.end().await;
    Failpoint::Ending.reach();
    Ok(Json(end?).into_response())
}

/// The answer as it comes.
pub(super) async fn events(mut updates: Updates, id: RequestId) -> Result<Response, ApiError> {
    let first = match tokio::time::timeout(STATUS_PATIENCE, updates.next()).await {
        Ok(Update::Failed(failure)) => return Err(failure.into()),
        Ok(update) => Some(update),
        Err(_) => None,
    };
    let mut response = Body::from_stream(frames(updates, first, id)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would turn a stream into a wait.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct EventStream {
    updates: Updates,
    id: RequestId,
    first: Option<Update>,
    heartbeat: Interval,
    heartbeat_text: &'static str,
    ended: bool,
}

fn frames(updates: Updates, first: Option<Update>, id: RequestId) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let heartbeat = every(QUEUED_EVERY, Instant::now());
    let stream = EventStream { updates, id, first, heartbeat, heartbeat_text: "queued", ended: false };
    futures_util::stream::unfold(stream, |mut stream| async {
        let bytes = stream.next_bytes().await?;
        Some((Ok(bytes), stream))
    })
}

fn every(period: Duration, from: Instant) -> Interval {
    let mut interval = tokio::time::interval_at(from, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl EventStream {
    /// The next bytes to send: every frame that is ready, in one piece. `None` after the last frame.
    async fn next_bytes(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let update = if let Some(update) = self.first.take() {
            update
        } else {
            tokio::select! {
                biased;
                update = self.updates.next() => update,
                _ = self.heartbeat.tick() => return Some(sse::comment(self.heartbeat_text).into()),
            }
        };
        let mut text = self.frame(update);
        while !self.ended
            && let Some(update) = self.updates.ready()
        {
            text += &self.frame(update);
        }
        Some(text.into())
    }

    fn frame(&mut self, update: Update) -> String {
        if matches!(update, Update::Finished(_) | Update::Failed(_)) {
            Failpoint::Ending.reach();
        }
        match update {
            Update::Started(start) => {
                self.heartbeat_text = "heartbeat";
                self.heartbeat = every(HEARTBEAT_EVERY, Instant::now() + HEARTBEAT_EVERY);
                sse::event("start", &start)
            }
            Update::Text(text) => {
                self.heartbeat.reset();
                sse::event("delta", &Delta { text })
            }
            Update::Finished(response) => {
                self.ended = true;
                sse::event("done", &response)
            }
            Update::Failed(failure) => {
                self.ended = true;
                sse::event("error", &ApiError::from(failure).envelope(&self.id))
            }
        }
    }
}

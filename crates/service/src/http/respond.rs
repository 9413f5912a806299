//! Step 7 of 7: a call's updates become an answer, whole or as server-sent events, in the caller's dialect.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_core::Stream;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::error::ApiError;
use crate::{
    backend::Event,
    call::{Answer, Started, Update, Updates},
    failpoint::Failpoint,
};

/// How a stream is told. Each gives bytes of the stream, or nothing.
pub(super) trait Dialect: Send + 'static {
    /// The call has left the queue.
    fn started(&mut self, started: &Started) -> String;
    /// The next event of the answer.
    fn event(&mut self, event: &Event) -> String;
    /// The answer is complete.
    fn finished(&mut self, answer: &Answer) -> String;
    /// There is no answer, or no whole one.
    fn failed(&mut self, error: ApiError) -> String;
    /// Nothing is to be said, and the stream lives.
    fn heartbeat(&self) -> String;
}

/// How often a stream that waits says so; clients of the native dialect leave that time out of theirs.
const QUEUED_EVERY: Duration = Duration::from_secs(1);

/// How often a running stream that has nothing to say shows that it lives.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// The whole answer, once it is there.
pub(super) async fn whole(updates: &mut Updates) -> Result<Arc<Answer>, ApiError> {
    let end = updates.end().await;
    Failpoint::Ending.reach();
    Ok(end?)
}

/// The answer as it comes. A call that fails before its first update is answered with the status of its error; `patience` bounds
/// the wait for that.
pub(super) async fn events(
    mut updates: Updates,
    dialect: impl Dialect,
    patience: Option<Duration>,
) -> Result<Response, ApiError> {
    let first = match patience {
        Some(patience) => tokio::time::timeout(patience, updates.next()).await.ok(),
        None => Some(updates.next().await),
    };
    if let Some(Update::Failed(failure)) = first {
        return Err(failure.into());
    }
    let passed_on = updates.headers();
    let mut response = stream(frames(updates, first, dialect));
    response.headers_mut().extend(passed_on);
    Ok(response)
}

/// A response of server-sent events.
pub(super) fn stream(frames: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let mut response = Body::from_stream(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would turn a stream into a wait.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct EventStream<D> {
    updates: Updates,
    dialect: D,
    first: Option<Update>,
    heartbeat: Interval,
    ended: bool,
}

fn frames(
    updates: Updates,
    first: Option<Update>,
    dialect: impl Dialect,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let heartbeat = every(QUEUED_EVERY, Instant::now());
    let stream = EventStream { updates, dialect, first, heartbeat, ended: false };
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

impl<D: Dialect> EventStream<D> {
    /// The next bytes to send: every frame that is ready, in one piece. `None` after the last frame.
    async fn next_bytes(&mut self) -> Option<Bytes> {
        let mut text = String::new();
        while text.is_empty() && !self.ended {
            let update = if let Some(update) = self.first.take() {
                update
            } else {
                tokio::select! {
                    biased;
                    update = self.updates.next() => update,
                    _ = self.heartbeat.tick() => {
                        text = self.dialect.heartbeat();
                        continue;
                    }
                }
            };
            text = self.frame(update);
            while !self.ended
                && let Some(update) = self.updates.ready()
            {
                text += &self.frame(update);
            }
        }
        (!text.is_empty()).then(|| text.into())
    }

    fn frame(&mut self, update: Update) -> String {
        if matches!(update, Update::Finished(_) | Update::Failed(_)) {
            self.ended = true;
            Failpoint::Ending.reach();
        }
        match update {
            Update::Started(started) => {
                self.heartbeat = every(HEARTBEAT_EVERY, Instant::now() + HEARTBEAT_EVERY);
                self.dialect.started(&started)
            }
            Update::Event(event) => {
                self.heartbeat.reset();
                self.dialect.event(&event)
            }
            Update::Finished(answer) => self.dialect.finished(&answer),
            Update::Failed(failure) => self.dialect.failed(failure.into()),
        }
    }
}

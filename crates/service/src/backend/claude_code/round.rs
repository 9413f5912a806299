//! A round of a worker that is answered by this process: a brief, its request, the answer, and the end.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{sync::oneshot, time::timeout};

use super::{
    brief::Brief,
    gateway::{Answerer, Reply, reply},
    line::{Ended, Init, Line},
    worker::{Worker, WorkerError},
};

/// What the answer says.
pub(super) const TEXT: &str = "Hello";

/// How the request is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Ok,
    Unauthorized,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The body of its request.
    pub(super) request: Option<Bytes>,
    /// Requests besides it.
    pub(super) refused: usize,
    /// What it had to work with.
    pub(super) init: Option<Init>,
    /// The text that it passed on.
    pub(super) text: String,
    /// How it ended.
    pub(super) ended: Ended,
}

/// Briefs a worker, answers its request, and reads until its round ends.
pub(super) async fn take(
    worker: &mut Worker,
    brief: &Brief,
    answer: Answer,
    time_max: Duration,
) -> Result<Round, WorkerError> {
    let (tell, mut told) = oneshot::channel();
    worker.gateway().allow(answerer(answer, tell));
    worker.tell(&brief.lines(), time_max).await?;
    let mut round = Round::default();
    let reading = async {
        loop {
            match worker.line(time_max).await? {
                Line::Init(init) => round.init = Some(init),
                Line::Event(event) => round.text.push_str(&text_of(&event)),
                Line::Result(ended) => break Ok(ended),
                Line::Control(_) | Line::Other => {}
            }
        }
    };
    round.ended = match timeout(time_max, reading).await {
        Ok(ended) => ended?,
        Err(_) => return Err(WorkerError::Endless(time_max)),
    };
    round.request = told.try_recv().ok();
    round.refused = worker.gateway().refused();
    Ok(round)
}

fn answerer(answer: Answer, tell: oneshot::Sender<Bytes>) -> Answerer {
    Box::new(move |request: Request<Bytes>| {
        // Nobody waits any more: the round has failed in another way.
        let _ = tell.send(request.into_body());
        Box::pin(async move { made_up(answer) })
    })
}

fn made_up(answer: Answer) -> Reply {
    match answer {
        Answer::Ok => reply(StatusCode::OK, "text/event-stream", events()),
        Answer::Unauthorized => {
            let error = json!({"type": "error", "error": {"type": "authentication_error", "message": "no"}});
            reply(StatusCode::UNAUTHORIZED, "application/json", error.to_string())
        }
    }
}

fn events() -> String {
    let message = json!({"id": "msg_self_test", "type": "message", "role": "assistant", "model": "claude", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
    let events = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ];
    events.map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())).concat()
}

fn text_of(event: &RawValue) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Event {
        delta: Delta,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Delta {
        text: String,
    }
    serde_json::from_str::<Event>(event.get()).unwrap_or_default().delta.text
}

//! A round of a worker that is answered by this process: a brief, its request, the answer, and the end.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{sync::oneshot, time::timeout};

use super::{
    apart::Apart,
    brief::Brief,
    gateway::{Answerer, Reply, reply},
    grammar,
    line::{Ended, Init, Line},
    login::Login,
    worker::{Worker, WorkerError},
};

/// What the answer says.
const TEXT: &str = "Hello";

const SYSTEM: &str = "Answer in one word.";
const MODEL: &str = "claude-haiku-5-5";

/// How the request is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Ok,
    /// With this status, and an error.
    Failed(StatusCode),
}

/// What came of a round.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Its request.
    pub(super) request: Option<Request<Bytes>>,
    /// Requests besides it.
    pub(super) refused: usize,
    /// What it had to work with.
    pub(super) init: Option<Init>,
    /// The text that it passed on.
    pub(super) text: String,
    /// How it ended.
    pub(super) ended: Ended,
}

impl Round {
    /// Whether its one request is its brief, and nothing else, and was taken for answered; else what it is, in words.
    pub(super) fn proves(self, brief: &Brief, login: Option<&Login>) -> Result<(), String> {
        let request = match self {
            Self { request: None, .. } => return Err("no request came of it".to_owned()),
            Self { refused: 1.., .. } => return Err("it asked more than once".to_owned()),
            Self { ended, .. } if ended.is_error => return Err("it takes an answer for a failure".to_owned()),
            Self { text, .. } if text != TEXT => return Err(format!("of the answer it passes on {text:?}")),
            Self { request: Some(request), .. } => request,
        };
        let proven = grammar::prove(brief, request.body());
        let proven = proven.and_then(|()| login.map_or(Ok(()), |login| login.prove(brief, &request)));
        proven.map_err(|mismatch| mismatch.to_string())
    }
}

/// What says this, to a worker with a dummy key or on a login.
pub(super) fn brief(text: &str, login: Option<&Login>) -> Brief {
    let mut call = json!({"max_tokens": 100, "messages": [{"role": "user", "content": text}]});
    let apart = login.map(|_| Apart { system: SYSTEM.to_owned(), ..Apart::default() });
    if apart.is_none() {
        call["system"] = SYSTEM.into();
    }
    Brief { model: MODEL.to_owned(), fields: call.as_object().cloned().unwrap_or_default(), apart }
}

/// Has a worker with a dummy key answer a call of nobody's: what it does once in its life is then done, and it has shown that it asks for
/// what it is told.
pub(super) async fn prime(worker: &mut Worker, time_max: Duration) -> Result<(), WorkerError> {
    let brief = brief("Say hello.", None);
    let round = take(worker, &brief, Answer::Ok, time_max).await?;
    if round.init.as_ref().is_some_and(|init| !init.is_as_tested()) {
        return Err(WorkerError::Unfit("it has tools, servers or commands, or is another version".to_owned()));
    }
    round.proves(&brief, None).map_err(WorkerError::Unfit)
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

fn answerer(answer: Answer, tell: oneshot::Sender<Request<Bytes>>) -> Answerer {
    Box::new(move |request| {
        // Nobody waits any more: the round has failed in another way.
        let _ = tell.send(request);
        Box::pin(async move { made_up(answer) })
    })
}

fn made_up(answer: Answer) -> Reply {
    match answer {
        Answer::Ok => reply(StatusCode::OK, "text/event-stream", events()),
        Answer::Failed(status) => {
            let error = json!({"type": "error", "error": {"type": "api_error", "message": "no"}});
            reply(status, "application/json", error.to_string())
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

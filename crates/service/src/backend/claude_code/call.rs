//! One call on one worker: it is briefed, its request is answered by the upstream with what we ask ourselves, and what it says of
//! the answer is the answer. Dropped, the worker is killed, and the upstream hears no more.

use std::{borrow::Cow, io, sync::Arc, time::Duration};

use bytes::Bytes;
use claude_code_api_wire::{StopReason, anthropic::RawEvent};
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Response, body::Frame};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    brief::Brief,
    gateway::{Answerer, Reply, reply},
    grammar,
    line::{Init, Line},
    pool::{Ending, Ready},
    tee::Tee,
    upstream::Upstream,
    worker::WorkerError,
};
use crate::backend::{
    Answering, Event, Events, Failure, Prompt, Reason, Said, Sent, Spend,
    said::{Broken, Reader},
};

/// How long a worker may take for what costs nothing: to take in its brief, and to make a request.
const TELL_MAX: Duration = Duration::from_secs(10);

/// How long a worker may take to pass on what it has been told; and where the upstream has failed after that.
const PASS_ON_MAX: Duration = Duration::from_secs(10);
const PASS_ON_FAILED_MAX: Duration = Duration::from_secs(2);

/// Briefs the worker, and gives the answer once the upstream has begun it.
pub(super) async fn answer(
    upstream: Upstream,
    mut worker: Ready,
    brief: Brief,
    prompt: Prompt,
) -> Result<Answering, Failure> {
    let (lines, sent) = (brief.lines(), prompt.sent.clone());
    let (tee, (tell_asked, asked), (tell, told)) = (Arc::<Tee>::default(), oneshot::channel(), oneshot::channel());
    let passing = Passing { upstream, brief, prompt, tee: Arc::clone(&tee), asked: tell_asked, tell };
    worker.gateway().allow(passing.answerer());
    let has_asked = async {
        worker.tell(&lines, TELL_MAX).await.map_err(|error| unspent(&error))?;
        has_asked(&mut worker, asked).await
    };
    // What it asks now is not sent any more, unless it was a moment ago.
    has_asked
        .await
        .map_err(|failure| if sent.withdraw() { failure } else { Failure { spend: Spend::Unknown, ..failure } })?;
    worker.replace();
    // A gateway that has gone without a word has gone with its worker.
    let headers = match told.await.map_err(|_| broken(Spend::Unknown, "lost the worker of a call"))? {
        Outcome::Begun(headers) => headers,
        Outcome::Refused(failure) => {
            worker.rest(Ending::Refused, 0);
            return Err(failure);
        }
        Outcome::Unproven(failure) => return Err(failure),
    };
    let running = Running {
        worker: Some(worker),
        reader: Reader::default(),
        tee,
        has_failed: false,
        gives_up: false,
        said_all: None,
        is_over: false,
    };
    Ok(Answering { headers, events: running.events() })
}

fn broken(spend: Spend, message: &'static str) -> Failure {
    Failure { spend, reason: Reason::Broken { message: message.into(), retryable: true } }
}

/// What a worker gets wrong before it has asked costs nothing.
fn unspent(error: &WorkerError) -> Failure {
    failed(Spend::Unspent, error)
}

fn failed(spend: Spend, error: &WorkerError) -> Failure {
    let message = format!("has a worker of no use: {error}");
    Failure { spend, reason: Reason::Broken { message: message.into(), retryable: true } }
}

/// Reads until the worker has made its request.
async fn has_asked(worker: &mut Ready, mut asked: oneshot::Receiver<()>) -> Result<(), Failure> {
    let deadline = Instant::now() + TELL_MAX;
    loop {
        tokio::select! {
            biased;
            asked = &mut asked => {
                return asked.map_err(|_| broken(Spend::Unspent, "has a worker that broke off what it asked"));
            }
            line = worker.line(TELL_MAX) => match line.map_err(|error| unspent(&error))? {
                Line::Init(init) => has_nothing(&init)?,
                Line::Result(_) => return Err(broken(Spend::Unspent, "has a worker that ended a call without asking for it")),
                _ => {}
            },
            () = tokio::time::sleep_until(deadline) => {
                return Err(broken(Spend::Unspent, "has a worker that does not ask"));
            }
        }
    }
}

fn has_nothing(init: &Init) -> Result<(), Failure> {
    if init.is_as_tested() {
        return Ok(());
    }
    tracing::error!("a worker has tools, servers or commands, or is another version; it is killed");
    Err(broken(Spend::Unspent, "has a worker that is not as it was tested"))
}

/// What became of a worker's request.
enum Outcome {
    /// The upstream has begun an answer.
    Begun(HeaderMap),
    /// The upstream has none, and the worker was told nothing of it but that.
    Refused(Failure),
    /// It is not the call.
    Unproven(Failure),
}

/// The way of a worker's request: what it asks must be the call.
struct Passing {
    upstream: Upstream,
    brief: Brief,
    prompt: Prompt,
    tee: Arc<Tee>,
    asked: oneshot::Sender<()>,
    tell: oneshot::Sender<Outcome>,
}

impl Passing {
    fn answerer(self) -> Answerer {
        Box::new(move |request| self.pass_on(request).boxed())
    }

    async fn pass_on(self, request: Request<Bytes>) -> Reply {
        let Self { upstream, brief, prompt, tee, asked, tell } = self;
        // Whoever waits for these may have gone, and the worker goes, too. Whether what was asked may still be sent, `prompt.sent` knows.
        let _ = asked.send(());
        if let Err(mismatch) = grammar::prove(&brief, request.body()) {
            let _ = tell.send(Outcome::Unproven(mismatch.failure()));
            return refused();
        }
        let sent = prompt.sent.clone();
        match upstream.answer(&brief, prompt, request).await {
            Ok(Answering { headers, events }) => {
                let _ = tell.send(Outcome::Begun(headers));
                streamed(events, tee, sent)
            }
            Err(failure) => {
                let _ = tell.send(Outcome::Refused(failure));
                refused()
            }
        }
    }
}

/// The call knows why, and the worker need not.
fn refused() -> Reply {
    let error = json!({"type": "error", "error": {"type": "api_error", "message": "the call has failed"}});
    reply(StatusCode::BAD_GATEWAY, "application/json", error.to_string())
}

/// Where the upstream fails, the worker hears no more: what it was told is on its way out, and then it is killed.
fn streamed(events: Events, tee: Arc<Tee>, sent: Sent) -> Reply {
    let frames = futures_util::stream::unfold((events, tee, sent), |(mut events, tee, sent)| async {
        match events.next().await? {
            Ok(event) => {
                tee.passed_on(&event.said);
                sent.hear(&event.said);
                let RawEvent { name, data } = event.raw;
                let frame = Frame::data(Bytes::from(format!("event: {name}\ndata: {data}\n\n")));
                Some((Ok::<_, io::Error>(frame), (events, tee, sent)))
            }
            Err(failure) => {
                tee.fail(failure);
                std::future::pending().await
            }
        }
    });
    let response = Response::builder().status(StatusCode::OK).header("content-type", "text/event-stream");
    response.body(StreamBody::new(frames).boxed_unsync()).expect("a status and a header")
}

/// An answer, as a worker passes it on.
struct Running {
    /// Until the answer is over.
    worker: Option<Ready>,
    reader: Reader,
    tee: Arc<Tee>,
    /// Whether the upstream has, and the worker passes nothing on any more.
    has_failed: bool,
    gives_up: bool,
    /// The tokens of an answer that the model has ended by itself.
    said_all: Option<u64>,
    is_over: bool,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

impl Running {
    fn events(self) -> Events {
        Box::pin(futures_util::stream::unfold(self, |mut running| async {
            if running.is_over {
                return None;
            }
            let event = running.next().await;
            running.is_over = !matches!(&event, Ok(event) if event.said != Said::End);
            if running.is_over {
                running.end(event.is_ok());
            }
            Some((event, running))
        }))
    }

    /// What the upstream has said before it failed comes before the failure.
    async fn next(&mut self) -> Result<Event, Failure> {
        loop {
            if let Some(failure) = self.failure_after_all() {
                return Err(failure);
            }
            let worker = self.worker.as_mut().expect("the answer is not over");
            let time_max = if self.has_failed { PASS_ON_FAILED_MAX } else { PASS_ON_MAX };
            let line = tokio::select! {
                line = timeout(time_max, worker.line(PASS_ON_MAX * 2)) => line,
                () = self.tee.failed(), if !self.has_failed => {
                    self.has_failed = true;
                    continue;
                }
            };
            match line {
                Ok(Ok(Line::Event(raw))) => {
                    let event = self.read(raw.get());
                    if let Ok(event) = &event {
                        self.hear(&event.said);
                    }
                    return event;
                }
                // Its request may have come before what it has to work with.
                Ok(Ok(Line::Init(init))) => {
                    has_nothing(&init).map_err(|failure| Failure { spend: self.tee.spend(), ..failure })?;
                }
                Ok(Ok(Line::Control(_) | Line::Other)) => {}
                _ if self.has_failed => self.gives_up = true,
                // Where the upstream says nothing, a worker has nothing to pass on.
                Err(_) if self.tee.is_passed_on() => {}
                Err(_) => return Err(self.broken("has a worker that does not pass on what it was told")),
                Ok(Ok(Line::Result(_))) => {
                    return Err(self.broken("has a worker that ended in the middle of an answer"));
                }
                Ok(Err(error)) => return Err(failed(self.tee.spend(), &error)),
            }
        }
    }

    /// A worker whose answer ended because the model had said all of it may serve another call; one whose answer broke off is killed.
    fn end(&mut self, is_whole: bool) {
        let worker = self.worker.take();
        if let (Some(worker), Some(tokens), true) = (worker, self.said_all, is_whole) {
            worker.rest(Ending::Whole, tokens);
        }
    }

    fn failure_after_all(&self) -> Option<Failure> {
        if self.tee.is_passed_on() || self.gives_up { self.tee.take_failure() } else { None }
    }

    fn hear(&mut self, said: &Said) {
        self.tee.came(said);
        if let Said::Stop { stop_reason: StopReason::EndTurn | StopReason::StopSequence, usage, .. } = said {
            self.said_all = Some(usage.output_tokens);
        }
    }

    fn read(&mut self, data: &str) -> Result<Event, Failure> {
        let kind =
            serde_json::from_str::<Kind>(data).map_err(|_| self.broken("has a worker that says what is no event"))?;
        let raw = RawEvent { name: Cow::Owned(kind.kind), data: data.to_owned() };
        self.reader.read(raw).map_err(|broken| match broken {
            Broken::Garbage => self.broken("has a worker that says what is no event of an answer"),
            Broken::Error { .. } => self.broken("broke off in the middle of an answer"),
        })
    }

    fn broken(&self, message: &'static str) -> Failure {
        broken(self.tee.spend(), message)
    }
}

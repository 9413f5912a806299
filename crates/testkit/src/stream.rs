//! A streamed answer: its events as they come, and the whole of it held against the contract.

use claude_code_api_wire::{
    CompleteResponse, Delta, ErrorEnvelope, Start,
    sse::{Decoder, Frame},
};
use serde::de::DeserializeOwned;

use crate::answer::{assert_adds_up, assert_well_formed};

/// One thing that a stream says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A comment: `queued` or `heartbeat`.
    Comment(String),
    /// The call has left the queue.
    Start(Start),
    /// The next piece of the answer.
    Delta(String),
    /// The answer is complete.
    Done(Box<CompleteResponse>),
    /// The call has failed.
    Error(Box<ErrorEnvelope>),
}

/// The events of a stream that is being read. Dropping it closes the connection.
pub struct Events {
    response: reqwest::Response,
    decoder: Decoder,
}

impl Events {
    /// The events of a stream of the native dialect.
    pub fn of(response: reqwest::Response) -> Self {
        Self { response, decoder: Decoder::default() }
    }

    /// The next event; `None` at the end of the body. A body that breaks off fails.
    pub async fn next(&mut self) -> Option<Event> {
        self.try_next().await.unwrap_or_else(|error| panic!("the stream broke off: {error:?}"))
    }

    /// The same where the body may break off at any moment.
    pub async fn try_next(&mut self) -> reqwest::Result<Option<Event>> {
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("the service's events are short") {
                return Ok(Some(event(frame)));
            }
            match self.response.chunk().await? {
                Some(bytes) => self.decoder.push(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// How a stream ends that may break off at any moment: what has come of it before `done` or `error` is nothing.
    pub async fn try_end(mut self) -> reqwest::Result<Result<CompleteResponse, Box<ErrorEnvelope>>> {
        loop {
            match self.try_next().await?.expect("no stream ends without done or error") {
                Event::Done(response) => return Ok(Ok(*response)),
                Event::Error(error) => return Ok(Err(error)),
                Event::Comment(_) | Event::Start(_) | Event::Delta(_) => {}
            }
        }
    }

    /// Reads up to the first event that `is_it`, which has to come.
    pub async fn find(&mut self, is_it: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await.expect("the stream ended before what was looked for");
            if is_it(&event) {
                return event;
            }
        }
    }

    /// Reads up to the first piece of the answer.
    pub async fn first_delta(&mut self) -> Event {
        self.find(|event| matches!(event, Event::Delta(_))).await
    }

    /// Reads the rest of a stream nothing of which has been read yet, and checks all of it.
    pub async fn to_the_end(mut self) -> Transcript {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        Transcript::of(events)
    }
}

fn event(frame: Frame) -> Event {
    match frame {
        Frame::Comment(text) => Event::Comment(text),
        Frame::Event { name, data } => match name.as_str() {
            "start" => Event::Start(parsed(&data)),
            "delta" => Event::Delta(parsed::<Delta>(&data).text),
            "done" => Event::Done(parsed(&data)),
            "error" => Event::Error(parsed(&data)),
            other => panic!("the contract has no event {other:?} ({data})"),
        },
    }
}

fn parsed<T: DeserializeOwned>(data: &str) -> T {
    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))
}

/// A stream that was read to its end, and that keeps to the contract.
#[derive(Debug)]
pub struct Transcript {
    /// The start; a call that failed in the queue has none.
    pub start: Option<Start>,
    /// The pieces of the answer.
    pub deltas: Vec<String>,
    /// The comments, in order.
    pub comments: Vec<String>,
    /// How it ended.
    pub end: Result<Box<CompleteResponse>, Box<ErrorEnvelope>>,
}

impl Transcript {
    fn of(events: Vec<Event>) -> Self {
        let (mut start, mut deltas, mut comments, mut end) = (None, Vec::new(), Vec::new(), None);
        for event in events {
            assert!(end.is_none(), "{event:?} came after the last word");
            match event {
                Event::Comment(text) => comments.push(text),
                Event::Start(first) => assert!(start.replace(first).is_none() && deltas.is_empty(), "a second start"),
                Event::Delta(text) => {
                    assert!(start.is_some() && !text.is_empty(), "a delta before the start, or an empty one");
                    deltas.push(text);
                }
                Event::Done(done) => end = Some(Ok(done)),
                Event::Error(error) => end = Some(Err(error)),
            }
        }
        let transcript = Self { start, deltas, comments, end: end.expect("a stream ends with `done` or `error`") };
        transcript.check();
        transcript
    }

    fn check(&self) {
        match &self.end {
            Err(envelope) => assert_well_formed(envelope),
            Ok(done) => {
                assert_adds_up(done);
                assert_eq!(self.deltas.concat(), done.content, "the pieces are not the answer");
                let start = self.start.as_ref().expect("an answer has a start");
                assert_eq!((&start.id, &start.model, &start.model_id), (&done.id, &done.model, &done.model_id));
            }
        }
    }

    /// The answer of a stream that went well.
    pub fn done(self) -> CompleteResponse {
        *self.end.unwrap_or_else(|error| panic!("the call failed: {error:?}"))
    }

    /// The error of a stream that did not.
    pub fn error(self) -> ErrorEnvelope {
        *self.end.expect_err("the call should have failed")
    }
}

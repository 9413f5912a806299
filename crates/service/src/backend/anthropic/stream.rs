//! The answer of the Messages API as it comes: bytes become events, each passed on at once.

use std::borrow::Cow;

use claude_code_api_wire::{
    anthropic::RawEvent,
    sse::{Decoder, Frame},
};
use reqwest::Response;

use super::{ANSWER_BYTES_MAX, response};
use crate::backend::{
    Event, Events, Failure, Reason, Said, Spend,
    said::{Broken, Reader},
};

/// The most bytes of one event.
const EVENT_BYTES_MAX: usize = 16 << 20;

pub(super) fn events(response: Response) -> Events {
    let reading = Reading {
        response,
        decoder: Decoder::with_bytes_max(EVENT_BYTES_MAX),
        reader: Reader::default(),
        bytes: 0,
        progress: Progress::Goes,
    };
    Box::pin(futures_util::stream::unfold(reading, |mut reading| async {
        let event = reading.next().await?;
        Some((event, reading))
    }))
}

struct Reading {
    response: Response,
    decoder: Decoder,
    reader: Reader,
    /// Of all events until now.
    bytes: usize,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Goes,
    /// The answer is complete: what comes after that changes nothing.
    Complete,
    Ended,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Event, Failure>> {
        if self.progress == Progress::Ended {
            return None;
        }
        let event = self.event().await;
        match &event {
            Ok(Event { said: Said::Stop { .. }, .. }) => self.progress = Progress::Complete,
            Ok(Event { said: Said::End, .. }) => self.progress = Progress::Ended,
            Ok(_) => {}
            Err(_) if self.progress == Progress::Complete => return None,
            Err(_) => self.progress = Progress::Ended,
        }
        Some(event)
    }

    async fn event(&mut self) -> Result<Event, Failure> {
        let raw = self.raw().await?;
        self.bytes += raw.data.len();
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(self.broken("sent an answer that is too large"));
        }
        self.reader.read(raw).map_err(|broken| match broken {
            Broken::Garbage => self.broken("sent what is no event of an answer"),
            Broken::Error { kind, message } => Failure { spend: self.spend(), reason: error(&kind, &message) },
        })
    }

    async fn raw(&mut self) -> Result<RawEvent, Failure> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(Frame::Event { name, data })) => return Ok(RawEvent { name: Cow::Owned(name), data }),
                Ok(Some(Frame::Comment(_))) => {}
                Ok(None) => self.more().await?,
                Err(_) => return Err(self.broken("sent an event that is too large")),
            }
        }
    }

    async fn more(&mut self) -> Result<(), Failure> {
        match self.response.chunk().await {
            Ok(Some(bytes)) => self.decoder.push(&bytes),
            Ok(None) | Err(_) => return Err(self.broken("broke off in the middle of an answer")),
        }
        Ok(())
    }

    fn broken(&self, what: &'static str) -> Failure {
        Failure { spend: self.spend(), reason: Reason::Broken { message: what.into(), retryable: true } }
    }

    fn spend(&self) -> Spend {
        self.reader.usage().map_or(Spend::Unknown, Spend::Spent)
    }
}

/// What an `error` event in the stream means.
fn error(kind: &str, message: &str) -> Reason {
    let retry_after = response::RETRY_AFTER_DEFAULT;
    match kind {
        "overloaded_error" => Reason::Overloaded { retry_after },
        "rate_limit_error" => Reason::RateLimited { retry_after, headers: Box::default() },
        "invalid_request_error" => Reason::Refused { status: 400, message: response::shown(message) },
        _ => {
            let message = format!("broke off with {}: {}", response::shown(kind), response::shown(message));
            Reason::Broken { message: message.into(), retryable: true }
        }
    }
}

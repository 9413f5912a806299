//! What the embedded model says, as the events of the Messages API: one message of one text.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use claude_code_api_wire::{
    StopReason,
    anthropic::{RawEvent, say},
};
use futures_core::Stream;
use tokio::sync::mpsc;

use crate::{
    backend::{Event, Failure, Said},
    price::Terms,
    usage::Usage,
};

/// What happens in a call, in this order: one `Start`, any number of `Text`, one `End`.
pub(super) enum Word {
    /// The call has left the queue.
    Start { model_id: String, input_tokens: u64 },
    /// The next piece of the answer; never empty.
    Text(String),
    /// The answer is complete.
    End { stop_reason: StopReason, stop_sequence: Option<String>, usage: Usage },
}

/// The reader's end of a call. Dropping it cancels the call.
pub(super) struct Answer {
    words: mpsc::UnboundedReceiver<Result<Word, Failure>>,
    events: VecDeque<Event>,
}

impl Answer {
    pub(super) fn new(words: mpsc::UnboundedReceiver<Result<Word, Failure>>) -> Self {
        Self { words, events: VecDeque::new() }
    }
}

impl Stream for Answer {
    type Item = Result<Event, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            match std::task::ready!(self.words.poll_recv(context)) {
                Some(Ok(word)) => self.events.extend(events(word)),
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                None => return Poll::Ready(None),
            }
        }
    }
}

fn events(word: Word) -> Vec<Event> {
    match word {
        Word::Start { model_id, input_tokens } => {
            let id = format!("msg_{}", uuid::Uuid::now_v7().simple());
            let [start, block] = say::start(&id, &model_id, input_tokens);
            let usage = Usage { input_tokens, ..Usage::default() };
            vec![event(Said::Start { model_id, usage, terms: Terms::default() }, start), event(Said::Aside, block)]
        }
        Word::Text(text) => {
            let raw = say::text(&text);
            vec![event(Said::Text(text), raw)]
        }
        Word::End { stop_reason, stop_sequence, usage } => {
            let stop = Said::Stop { stop_reason, usage, terms: Terms::default(), is_counted: true };
            vec![
                event(Said::Aside, say::text_end()),
                event(stop, say::end(stop_reason.as_str(), stop_sequence.as_deref(), usage.output_tokens)),
                event(Said::End, say::stop()),
            ]
        }
    }
}

fn event(said: Said, raw: RawEvent) -> Event {
    Event { said, raw }
}

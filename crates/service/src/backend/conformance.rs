//! What every backend does, as plain functions: each takes a backend, and panics where it breaks the contract.
//!
//! They assert nothing of what is said, so that a weak model passes as well as a strong one.

use std::sync::Arc;

use claude_code_api_wire::{Fields, Message, Role, StopReason, anthropic::Collector};
use futures_util::StreamExt;

use super::{Asked, Backend, Capacity, Event, Prompt, Said};
use crate::model::ModelChoice;

/// Every check.
///
/// # Panics
/// When `backend` breaks the contract.
pub async fn passes(backend: &dyn Backend) {
    an_answer_is_one_start_then_text_then_one_stop(backend).await;
    the_events_make_a_message_of_the_text_that_they_say(backend).await;
    an_answer_stops_at_max_tokens(backend).await;
    a_call_may_be_dropped_at_any_event(backend).await;
    an_unknown_model_is_not_offered(backend);
    a_call_has_room(backend);
}

fn prompt(max_tokens: u32) -> Prompt {
    let message = Message { role: Role::User, content: "Count from one to twenty.".to_owned() };
    let mut fields = Fields::default();
    fields.set("messages", &[message]);
    Prompt { request: Arc::new(Asked { fields, ..Asked::default() }), max_tokens, ..Prompt::default() }
}

fn model_id(backend: &dyn Backend) -> String {
    backend.offer(&ModelChoice::Auto).expect("a backend offers something for `auto`").model_id
}

async fn events(backend: &dyn Backend, max_tokens: u32) -> Vec<Event> {
    let answering = backend.call(&model_id(backend), prompt(max_tokens)).await.expect("the call is taken");
    answering.events.map(|event| event.expect("no event fails")).collect().await
}

async fn an_answer_is_one_start_then_text_then_one_stop(backend: &dyn Backend) {
    let events = events(backend, 16).await;
    let said: Vec<&Said> = events.iter().map(|event| &event.said).filter(|said| **said != Said::Aside).collect();
    let [Said::Start { usage: begun, .. }, texts @ .., Said::Stop { usage, .. }, Said::End] = said.as_slice() else {
        panic!("no start or no end: {events:?}");
    };
    assert!(texts.iter().all(|said| matches!(said, Said::Text(text) if !text.is_empty())), "not text: {events:?}");
    assert!(begun.input_tokens > 0 && usage.input_tokens == begun.input_tokens);
    assert!(usage.output_tokens >= begun.output_tokens && usage.output_tokens <= 16);
}

async fn the_events_make_a_message_of_the_text_that_they_say(backend: &dyn Backend) {
    let mut collector = Collector::default();
    let mut text = String::new();
    for event in events(backend, 16).await {
        collector.event(&event.raw.data);
        if let Said::Text(piece) = event.said {
            text += &piece;
        }
    }
    let message = collector.message();
    assert_eq!((&message["role"], &message["content"][0]["text"]), (&"assistant".into(), &text.into()));
    assert!(message["stop_reason"].is_string() && message["usage"]["output_tokens"].is_u64(), "{message:?}");
}

async fn an_answer_stops_at_max_tokens(backend: &dyn Backend) {
    let events = events(backend, 1).await;
    let stop = events.iter().find_map(|event| match event.said {
        Said::Stop { stop_reason, usage, .. } => Some((stop_reason, usage.output_tokens)),
        _ => None,
    });
    assert_eq!(stop, Some((StopReason::MaxTokens, 1)));
}

async fn a_call_may_be_dropped_at_any_event(backend: &dyn Backend) {
    for events_seen in 0..4 {
        let answering = backend.call(&model_id(backend), prompt(64)).await.expect("the call is taken");
        let seen = answering.events.take(events_seen).count().await;
        assert_eq!(seen, events_seen);
    }
}

fn a_call_has_room(backend: &dyn Backend) {
    let Capacity { calls_max, waiting_max } = backend.capacity();
    assert!(calls_max > 0 && waiting_max > 0);
}

fn an_unknown_model_is_not_offered(backend: &dyn Backend) {
    assert_eq!(backend.offer(&ModelChoice::Id("no-such-model".to_owned())), None);
}

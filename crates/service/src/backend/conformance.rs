//! What every backend does, as plain functions: each takes a backend, and panics where it breaks the contract.
//!
//! They assert nothing of what is said, so that a weak model passes as well as a strong one.

use claude_code_api_wire::{Message, Role, StopReason};
use futures_util::StreamExt;

use super::{Backend, Event, Prompt, Sampling};
use crate::model::ModelChoice;

/// Every check.
///
/// # Panics
/// When `backend` breaks the contract.
pub async fn passes(backend: &dyn Backend) {
    an_answer_is_one_start_then_text_then_one_end(backend).await;
    an_answer_stops_at_max_tokens(backend).await;
    a_call_may_be_dropped_at_any_event(backend).await;
    an_unknown_model_is_not_offered(backend);
}

fn prompt(max_tokens: u32) -> Prompt {
    let message = Message { role: Role::User, content: "Count from one to twenty.".to_owned() };
    Prompt { system: None, messages: vec![message], max_tokens, sampling: Sampling::default() }
}

fn model_id(backend: &dyn Backend) -> String {
    backend.offer(&ModelChoice::Auto).expect("a backend offers something for `auto`").model_id
}

async fn events(backend: &dyn Backend, max_tokens: u32) -> Vec<Event> {
    let events = backend.call(&model_id(backend), prompt(max_tokens)).await.expect("the call is taken");
    events.map(|event| event.expect("no event fails")).collect().await
}

async fn an_answer_is_one_start_then_text_then_one_end(backend: &dyn Backend) {
    let events = events(backend, 16).await;
    let [Event::Start { input_tokens, .. }, texts @ .., Event::End { usage, .. }] = events.as_slice() else {
        panic!("no start or no end: {events:?}");
    };
    let mut before = 0;
    for event in texts {
        let Event::Text { text, output_tokens } = event else { panic!("not text: {event:?}") };
        assert!(!text.is_empty(), "an empty piece");
        assert!(*output_tokens >= before, "the count went back");
        before = *output_tokens;
    }
    assert!(*input_tokens > 0 && usage.input_tokens == *input_tokens);
    assert!(usage.output_tokens >= before && usage.output_tokens <= 16);
}

async fn an_answer_stops_at_max_tokens(backend: &dyn Backend) {
    let events = events(backend, 1).await;
    let Some(Event::End { stop_reason, usage, .. }) = events.last() else { panic!("no end: {events:?}") };
    assert_eq!((*stop_reason, usage.output_tokens), (StopReason::MaxTokens, 1));
}

async fn a_call_may_be_dropped_at_any_event(backend: &dyn Backend) {
    for events_seen in 0..4 {
        let events = backend.call(&model_id(backend), prompt(64)).await.expect("the call is taken");
        let seen = events.take(events_seen).count().await;
        assert_eq!(seen, events_seen);
    }
}

fn an_unknown_model_is_not_offered(backend: &dyn Backend) {
    assert_eq!(backend.offer(&ModelChoice::Id("no-such-model".to_owned())), None);
}

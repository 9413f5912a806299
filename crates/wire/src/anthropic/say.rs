//! A message as its stream: what a model that speaks only text says, and what a kept message says once more.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Message;

/// An event as it stands in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawEvent {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its data, JSON in one line.
    pub data: String,
}

impl RawEvent {
    fn new(name: &'static str, mut data: Value) -> Self {
        if let Value::Object(fields) = &mut data {
            fields.shift_insert(0, "type".to_owned(), name.into());
        }
        Self { name: name.into(), data: data.to_string() }
    }
}

/// The message begins, and its text.
pub fn start(id: &str, model: &str, input_tokens: u64) -> [RawEvent; 2] {
    let usage = json!({"input_tokens": input_tokens, "output_tokens": 0});
    let message = json!({"id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage});
    [
        RawEvent::new("message_start", json!({"message": message})),
        RawEvent::new("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
    ]
}

/// The text goes on.
pub fn text(text: &str) -> RawEvent {
    RawEvent::new("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": text}}))
}

/// The text is complete.
pub fn text_end() -> RawEvent {
    RawEvent::new("content_block_stop", json!({"index": 0}))
}

/// The message is complete.
pub fn end(stop_reason: &str, stop_sequence: Option<&str>, output_tokens: u64) -> RawEvent {
    let delta = json!({"stop_reason": stop_reason, "stop_sequence": stop_sequence});
    RawEvent::new("message_delta", json!({"delta": delta, "usage": {"output_tokens": output_tokens}}))
}

/// Nothing comes any more.
pub fn stop() -> RawEvent {
    RawEvent::new("message_stop", json!({}))
}

/// The events of a whole message. [`Collector`](super::Collector) makes the same message of them.
pub fn whole(message: &Message) -> Vec<RawEvent> {
    let mut begun = message.clone();
    let content = begun.insert("content".to_owned(), json!([]));
    let mut delta = Map::new();
    for name in ["stop_reason", "stop_sequence"] {
        if let Some(value) = begun.get_mut(name) {
            delta.insert(name.to_owned(), value.take());
        }
    }
    let usage = begun.get("usage").cloned().unwrap_or_else(|| json!({}));
    let mut events = vec![RawEvent::new("message_start", json!({"message": begun}))];
    if let Some(Value::Array(blocks)) = content {
        events.extend(blocks.into_iter().enumerate().flat_map(|(index, block)| block_events(index, block)));
    }
    events.push(RawEvent::new("message_delta", json!({"delta": delta, "usage": usage})));
    events.push(stop());
    events
}

/// The fields of a block that come in pieces, with the kind of delta that brings them.
const IN_PIECES: [(&str, &str); 3] =
    [("text", "text_delta"), ("thinking", "thinking_delta"), ("signature", "signature_delta")];

fn block_events(index: usize, mut block: Value) -> Vec<RawEvent> {
    let mut deltas = Vec::new();
    for (field, kind) in IN_PIECES {
        if let Some(Value::String(text)) = block.get_mut(field) {
            deltas.push(json!({"type": kind, field: std::mem::take(text)}));
        }
    }
    if block["type"] == "tool_use" && block["input"].is_object() {
        let input = std::mem::replace(&mut block["input"], json!({}));
        deltas.push(json!({"type": "input_json_delta", "partial_json": input.to_string()}));
    }
    let start = RawEvent::new("content_block_start", json!({"index": index, "content_block": block}));
    let deltas = deltas.into_iter();
    let deltas = deltas.map(|delta| RawEvent::new("content_block_delta", json!({"index": index, "delta": delta})));
    let stop = RawEvent::new("content_block_stop", json!({"index": index}));
    std::iter::once(start).chain(deltas).chain([stop]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::Collector;

    #[test]
    fn a_message_is_the_same_after_it_was_said_again() {
        let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "eA=="},
                {"type": "text", "text": "It is 7.", "citations": [{"type": "char_location", "cited_text": "7"}]},
                {"type": "text", "text": ""},
                {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"z": [1, {"a": "\"}"}], "b": 2.5}},
                {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
                {"type": "block_of_tomorrow", "what": [1], "text_of": "x"},
            ], "stop_reason": "tool_use", "stop_sequence": null, "container": {"id": "c"},
            "usage": {"input_tokens": 3, "output_tokens": 9, "server_tool_use": null}});
        let Value::Object(message) = message else { unreachable!("an object") };
        let mut collector = Collector::default();
        for event in whole(&message) {
            collector.event(&event.data);
        }
        let again = collector.message();
        assert_eq!(again, message);
        let names = |message: &Message| serde_json::to_string(&message["content"]).expect("serializes");
        assert_eq!(names(&again), names(&message), "in the same order");
    }
}

//! A stream of Anthropic events becomes one of `chat.completion.chunk`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::response::{Bill, arguments, finish_reason, reasoning_tokens, usage};

/// Writes the chunks of one answer, as JSON texts. Their frames, and `[DONE]` after the last, are the caller's.
///
/// The first chunk has the role; then come texts, `reasoning_content` for thinking (others' field: OpenAI has none), and the
/// calls of tools, whose arguments put together are a JSON object. Events that have no counterpart give no chunk, unknown
/// ones among them; errors are the caller's to end the stream with.
#[derive(Debug)]
pub struct ChunkWriter {
    id: String,
    model: String,
    created: u64,
    include_usage: bool,
    has_begun: bool,
    /// Calls that are being written, by the index of their block.
    calls: BTreeMap<u64, Call>,
    calls_begun: u64,
    reasoning_tokens: Option<u64>,
}

#[derive(Debug)]
struct Call {
    index: u64,
    /// What the block began with; it counts when nothing follows.
    input: Value,
    has_arguments: bool,
}

impl ChunkWriter {
    /// A writer for the answer of this id. `created` is in seconds since 1970. With `include_usage` the last chunk has the
    /// usage, and all others have it as null.
    pub fn new(id: impl Into<String>, model: impl Into<String>, created: u64, include_usage: bool) -> Self {
        Self {
            id: id.into(),
            model: model.into(),
            created,
            include_usage,
            has_begun: false,
            calls: BTreeMap::new(),
            calls_begun: 0,
            reasoning_tokens: None,
        }
    }

    /// The chunks that an event of the Messages API gives.
    pub fn event(&mut self, name: &str, data: &str) -> Vec<String> {
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        let delta = match name {
            "message_start" => return self.begin(),
            "content_block_start" => self.block_start(&data),
            "content_block_delta" => self.block_delta(&data),
            "content_block_stop" => self.block_stop(&data),
            "message_delta" => {
                self.reasoning_tokens = reasoning_tokens(&data["usage"]).or(self.reasoning_tokens);
                None
            }
            _ => None,
        };
        delta.map(|delta| self.chunk(&delta, None)).unwrap_or_default()
    }

    /// The chunks that end the stream. `stop_reason` is Anthropic's.
    pub fn finish(&mut self, stop_reason: &str, bill: &Bill) -> Vec<String> {
        let mut chunks = self.chunk(&json!({}), Some(finish_reason(stop_reason)));
        if self.include_usage {
            chunks.push(self.text(&json!([]), &usage(bill, self.reasoning_tokens)));
        }
        chunks
    }

    fn block_start(&mut self, data: &Value) -> Option<Value> {
        let block = &data["content_block"];
        match block["type"].as_str()? {
            "text" => piece("content", &block["text"]),
            "thinking" => piece("reasoning_content", &block["thinking"]),
            "tool_use" => {
                let call = Call { index: self.calls_begun, input: block["input"].clone(), has_arguments: false };
                let function = json!({"name": block["name"], "arguments": ""});
                let delta = json!({"index": call.index, "id": block["id"], "type": "function", "function": function});
                self.calls_begun += 1;
                self.calls.insert(data["index"].as_u64()?, call);
                Some(json!({"tool_calls": [delta]}))
            }
            _ => None,
        }
    }

    fn block_delta(&mut self, data: &Value) -> Option<Value> {
        let delta = &data["delta"];
        match delta["type"].as_str()? {
            "text_delta" => piece("content", &delta["text"]),
            "thinking_delta" => piece("reasoning_content", &delta["thinking"]),
            "input_json_delta" => {
                let text = delta["partial_json"].as_str().filter(|text| !text.is_empty())?;
                // Tools that the server calls have such deltas too, and are not among these.
                let call = self.calls.get_mut(&data["index"].as_u64()?)?;
                call.has_arguments = true;
                Some(arguments_delta(call.index, text))
            }
            _ => None,
        }
    }

    /// A call without arguments comes without pieces of them, and clients parse what they put together.
    fn block_stop(&mut self, data: &Value) -> Option<Value> {
        let call = self.calls.remove(&data["index"].as_u64()?)?;
        (!call.has_arguments).then(|| arguments_delta(call.index, &arguments(&call.input)))
    }

    fn begin(&mut self) -> Vec<String> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Vec::new();
        }
        vec![self.text(&choices(&json!({"role": "assistant", "content": ""}), None), &Value::Null)]
    }

    fn chunk(&mut self, delta: &Value, finish_reason: Option<&str>) -> Vec<String> {
        let mut chunks = self.begin();
        chunks.push(self.text(&choices(delta, finish_reason), &Value::Null));
        chunks
    }

    fn text(&self, choices: &Value, usage: &Value) -> String {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if self.include_usage {
            chunk["usage"] = usage.clone();
        }
        chunk.to_string()
    }
}

fn choices(delta: &Value, finish_reason: Option<&str>) -> Value {
    json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}])
}

fn piece(field: &str, text: &Value) -> Option<Value> {
    let text = text.as_str().filter(|text| !text.is_empty())?;
    Some(json!({field: text}))
}

fn arguments_delta(index: u64, text: &str) -> Value {
    json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
}

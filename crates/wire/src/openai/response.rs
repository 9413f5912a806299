//! An Anthropic message becomes a `chat.completion`.

use serde_json::{Map, Value, json};

use crate::{Cache, Usage};

/// What a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bill {
    /// Tokens.
    pub usage: Usage,
    /// Which of them went through the prompt cache.
    pub cache: Cache,
    /// USD, for people.
    pub cost: f64,
    /// Nano-dollars, exact.
    pub cost_nanos: i64,
    /// `max_tokens`, where what is left of a budget has lowered it.
    pub clamped_max_tokens: Option<u32>,
}

/// The whole answer. `created` is in seconds since 1970; `message` is an Anthropic message.
///
/// Texts are joined as they are: Claude splits one text into blocks where it cites. Thinking becomes `reasoning_content`, the
/// field that others have for it and OpenAI has not. Blocks of other types have no counterpart and are left out.
pub fn completion(id: &str, model: &str, created: u64, message: &Value, bill: &Bill) -> Value {
    let stop_reason = message["stop_reason"].as_str().unwrap_or_default();
    json!({
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{
            "index": 0,
            "message": answer(message),
            "logprobs": null,
            "finish_reason": finish_reason(stop_reason),
        }],
        "usage": usage(bill, reasoning_tokens(&message["usage"])),
    })
}

fn answer(message: &Value) -> Value {
    let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = joined(blocks, "text", "text");
    let thinking = joined(blocks, "thinking", "thinking");
    let calls: Vec<Value> = blocks.iter().filter(|block| block["type"] == "tool_use").map(call).collect();
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
    let mut answer = Map::from_iter([
        ("role".to_owned(), "assistant".into()),
        ("content".to_owned(), content),
        ("refusal".to_owned(), Value::Null),
    ]);
    if !thinking.is_empty() {
        answer.insert("reasoning_content".to_owned(), thinking.into());
    }
    if !calls.is_empty() {
        answer.insert("tool_calls".to_owned(), calls.into());
    }
    answer.into()
}

fn joined(blocks: &[Value], kind: &str, field: &str) -> String {
    blocks.iter().filter(|block| block["type"] == kind).filter_map(|block| block[field].as_str()).collect()
}

fn call(block: &Value) -> Value {
    let function = json!({"name": block["name"], "arguments": arguments(&block["input"])});
    json!({"id": block["id"], "type": "function", "function": function})
}

/// What a tool is called with, as text: an object, also when there is nothing to it.
pub(super) fn arguments(input: &Value) -> String {
    if input.is_null() { "{}".to_owned() } else { input.to_string() }
}

/// Why generation ended, in OpenAI's words. `pause_turn` is `stop`: there is no call of the client's to answer.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

/// How many tokens of the output were thinking, where an Anthropic usage says it.
pub(super) fn reasoning_tokens(usage: &Value) -> Option<u64> {
    usage["output_tokens_details"]["thinking_tokens"].as_u64()
}

/// OpenAI's usage, and the cost beside it.
pub(super) fn usage(bill: &Bill, reasoning_tokens: Option<u64>) -> Value {
    let mut usage = json!({
        "prompt_tokens": bill.usage.input_tokens,
        "completion_tokens": bill.usage.output_tokens,
        "total_tokens": bill.usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": bill.cache.read_input_tokens,
            "cache_write_tokens": bill.cache.creation_input_tokens,
        },
        "cost": bill.cost,
        "cost_nanos": bill.cost_nanos,
    });
    if let Some(tokens) = bill.clamped_max_tokens {
        usage["clamped_max_tokens"] = tokens.into();
    }
    if let Some(tokens) = reasoning_tokens {
        usage["completion_tokens_details"] = json!({"reasoning_tokens": tokens});
    }
    usage
}

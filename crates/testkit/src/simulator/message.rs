//! What is said: one description of an answer's content, for the whole message and for the stream of it.

use serde_json::{Value, json};

use super::{
    Billed, Script,
    event::with_unknown_fields,
    script::{Display, Thinking, Tool},
};

/// Words of a text; what is charged beyond them is not shown.
const WORDS_MAX: u64 = 1_000;
const WORD: &str = "word ";
/// Of so many thoughts, one is shown.
const THOUGHTS_PER_WORD: u64 = 10;
const SIGNATURE: &str = "EqQBsimulatedSIGNATURE+/==";

/// A content block, and how it comes about.
pub(super) struct Block {
    /// As a stream begins it.
    pub(super) start: Value,
    pub(super) pieces: Vec<Piece>,
    /// As the whole message has it.
    pub(super) whole: Value,
}

/// Tokens, and the delta that shows them, if any does.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) tokens: u64,
    pub(super) delta: Option<Value>,
}

/// The content of an answer that costs `billed`.
pub(super) fn blocks(script: &Script, billed: &Billed, id: &str) -> Vec<Block> {
    let thought = script
        .thinking
        .as_ref()
        .map(|thinking| Thinking { tokens: thinking.tokens.min(billed.output_tokens), display: thinking.display });
    let left = billed.output_tokens - thought.as_ref().map_or(0, |thought| thought.tokens);
    let said = match &script.tool {
        Some(called) => tool(called, left, &id.replace("msg_", "toolu_")),
        None => text(script, left),
    };
    // Who thinks until there is no more says nothing.
    let said = Some(said).filter(|_| left > 0 || thought.is_none());
    thought.as_ref().map(thinking).into_iter().chain(said).collect()
}

fn text(script: &Script, tokens: u64) -> Block {
    let (visible, each) = (tokens.min(WORDS_MAX), script.tokens_per_delta.unwrap_or(1).max(1));
    let words = |tokens: u64| {
        let bytes = script.bytes_per_delta.unwrap_or(WORD.len() * usize::try_from(tokens).expect("a thousand at most"));
        let mut words = WORD.repeat(bytes.div_ceil(WORD.len()));
        words.truncate(bytes);
        words
    };
    let mut texts: Vec<(u64, String)> = (0..visible)
        .step_by(usize::try_from(each).unwrap_or(usize::MAX))
        .map(|from| each.min(visible - from))
        .map(|tokens| (tokens, words(tokens)))
        .collect();
    if let (Some(says), Some((_, first))) = (&script.says, texts.first_mut()) {
        first.insert_str(0, says);
    }
    let whole: String = texts.iter().map(|(_, text)| text.as_str()).collect();
    let shown = texts.into_iter().map(|(tokens, text)| piece(tokens, json!({"type": "text_delta", "text": text})));
    Block {
        start: json!({"type": "text", "text": ""}),
        pieces: shown.chain([Piece { tokens: tokens - visible, delta: None }]).collect(),
        whole: json!({"type": "text", "text": whole}),
    }
}

fn thinking(thinking: &Thinking) -> Block {
    let shown = match thinking.display {
        Display::Summarized => Some(json!({"type": "thinking_delta", "thinking": "thought "})),
        Display::Omitted => None,
    };
    let words = thinking.tokens / THOUGHTS_PER_WORD;
    let word = Piece { tokens: THOUGHTS_PER_WORD, delta: shown.clone() };
    let rest = Piece { tokens: thinking.tokens % THOUGHTS_PER_WORD, delta: None };
    let signature = piece(0, json!({"type": "signature_delta", "signature": SIGNATURE}));
    let words = usize::try_from(words).expect("no machine thinks for so long");
    let text = if shown.is_some() { "thought ".repeat(words) } else { String::new() };
    Block {
        start: json!({"type": "thinking", "thinking": "", "signature": ""}),
        pieces: std::iter::repeat_n(word, words).chain([rest, signature]).collect(),
        whole: json!({"type": "thinking", "thinking": text, "signature": SIGNATURE}),
    }
}

fn tool(tool: &Tool, tokens: u64, id: &str) -> Block {
    let json_delta = |part: &str| json!({"type": "input_json_delta", "partial_json": part});
    let escaped = escaped(&tool.input.to_string());
    let parts = awkwardly_cut(&escaped);
    let shown = parts.iter().enumerate().map(|(index, part)| {
        // A token each, as long as there are any.
        piece(u64::from((index as u64) < tokens), json_delta(part))
    });
    let rest = Piece { tokens: tokens.saturating_sub(parts.len() as u64), delta: None };
    Block {
        start: json!({"type": "tool_use", "id": id, "name": tool.name, "input": {}}),
        pieces: [piece(0, json_delta(""))].into_iter().chain(shown).chain([rest]).collect(),
        whole: json!({"type": "tool_use", "id": id, "name": tool.name, "input": tool.input}),
    }
}

fn piece(tokens: u64, delta: Value) -> Piece {
    Piece { tokens, delta: Some(delta) }
}

/// JSON in ASCII only.
fn escaped(json: &str) -> String {
    let units = |letter: char| -> Vec<String> {
        letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    };
    let escape = |letter: char| if letter.is_ascii() { letter.to_string() } else { units(letter).concat() };
    json.chars().map(escape).collect()
}

/// Cuts ASCII in pieces so short that keys, numbers and escapes are cut too.
fn awkwardly_cut(ascii: &str) -> Vec<&str> {
    let (mut rest, mut parts) = (ascii, Vec::new());
    for length in [1, 2, 3, 5, 8].into_iter().cycle() {
        if rest.len() <= length {
            break;
        }
        let (part, after) = rest.split_at(length);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

/// The usage of an answer whose output has come to so many tokens.
pub(super) fn usage(script: &Script, billed: &Billed, output_tokens: u64) -> Value {
    let written = billed.cache_write_5m_tokens + billed.cache_write_1h_tokens;
    let usual = if billed.batch { "batch" } else { "standard" };
    json!({
        "input_tokens": billed.input_tokens - written - billed.cache_read_tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": billed.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": billed.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": billed.cache_write_1h_tokens,
        },
        "output_tokens": output_tokens,
        "service_tier": script.service_tier.as_deref().unwrap_or(usual),
    })
}

/// The usage at the end, which says how much of it was thinking.
pub(super) fn final_usage(script: &Script, billed: &Billed) -> Value {
    let mut usage = usage(script, billed, billed.output_tokens);
    if let Some(thinking) = &script.thinking {
        let tokens = thinking.tokens.min(billed.output_tokens);
        usage["output_tokens_details"] = json!({"thinking_tokens": tokens});
    }
    usage
}

/// Why it ended.
pub(super) fn stop_reason<'a>(script: &'a Script, billed: &Billed, body: &Value) -> &'a str {
    let is_full = body["max_tokens"].as_u64() == Some(billed.output_tokens);
    let usual = match &script.tool {
        Some(_) => "tool_use",
        None if is_full => "max_tokens",
        None => "end_turn",
    };
    script.stop_reason.as_deref().unwrap_or(usual)
}

/// The message as a stream begins it.
pub(super) fn begun(script: &Script, billed: &Billed, id: &str) -> Value {
    json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": billed.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage(script, billed, billed.output_tokens.min(1)),
    })
}

/// The whole message.
pub(super) fn whole(script: &Script, billed: &Billed, body: &Value, id: &str) -> Value {
    let mut message = begun(script, billed, id);
    message["content"] = blocks(script, billed, id).into_iter().map(|block| block.whole).collect();
    message["stop_reason"] = stop_reason(script, billed, body).into();
    message["usage"] = final_usage(script, billed);
    if script.unknown_fields { with_unknown_fields(message) } else { message }
}

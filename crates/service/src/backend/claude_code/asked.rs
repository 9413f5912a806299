//! What a call asks, as a worker can be told it. What it cannot be told is refused by name: nothing is dropped.

use claude_code_api_wire::Fields;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::brief::{Brief, Message};
use crate::backend::{Prompt, Reason};

/// Fields that a brief has words of its own for, or that are not the worker's business.
const KNOWN: [&str; 5] = ["model", "max_tokens", "stream", "messages", "system"];

/// Fields that a worker passes on as they are.
const PASSED_ON: [&str; 5] = ["temperature", "top_p", "top_k", "stop_sequences", "metadata"];

/// What a worker is to be told.
///
/// # Errors
/// It cannot be told that.
pub(super) fn brief(model_id: &str, prompt: &Prompt) -> Result<Brief, Reason> {
    let asked = &prompt.request;
    if asked.seed.is_some() {
        return Err(refused("seed", "Claude takes none"));
    }
    let unknown = asked.fields.iter().find(|(name, _)| !KNOWN.contains(name) && !PASSED_ON.contains(name));
    if let Some((name, _)) = unknown {
        return Err(refused(name, "Claude Code has no words for it"));
    }
    let mut messages = messages(&asked.fields)?;
    let last = messages.pop().filter(|last| last.role == "user");
    let Some(last) = last else {
        return Err(refused("messages", "Claude Code takes a conversation that ends with the user"));
    };
    Ok(Brief {
        model: model_id.to_owned(),
        system: system(&asked.fields)?,
        max_tokens: prompt.max_tokens,
        fields: passed_on(&asked.fields),
        history: messages,
        content: last.content,
    })
}

fn refused(field: &str, why: &str) -> Reason {
    let message = format!("{field}: {why}; leave it out, or use backend anthropic");
    Reason::Invalid { field: field.to_owned().into(), message }
}

fn passed_on(fields: &Fields) -> Map<String, Value> {
    let read = |value: &RawValue| serde_json::from_str(value.get()).expect("what was read is JSON");
    let passed_on = fields.iter().filter(|(name, _)| PASSED_ON.contains(name) && *name != "metadata");
    passed_on.map(|(name, value)| (name.to_owned(), read(value))).collect()
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: Content,
}

/// A text, or blocks.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    Image {
        source: Source,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source {
    Base64 {
        media_type: String,
        data: String,
    },
    #[serde(other)]
    Other,
}

fn messages(fields: &Fields) -> Result<Vec<Message>, Reason> {
    let said: Vec<Said> = read(fields, "messages")?.unwrap_or_default();
    let message = |(at, said): (usize, Said)| {
        let content = blocks(said.content, &said.role, &format!("messages[{at}].content"))?;
        Ok(Message { role: said.role, content })
    };
    said.into_iter().enumerate().map(message).collect()
}

fn blocks(content: Content, role: &str, field: &str) -> Result<Vec<Value>, Reason> {
    let blocks = match content {
        Content::Text(text) => return Ok(vec![json!({"type": "text", "text": text})]),
        Content::Blocks(blocks) => blocks,
    };
    let block = |(at, block): (usize, Block)| match block {
        Block::Text { text } => Ok(json!({"type": "text", "text": text})),
        Block::Image { source: Source::Base64 { media_type, data } } if role == "user" => {
            Ok(json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}))
        }
        _ => Err(refused(&format!("{field}[{at}]"), "Claude Code takes texts, and images in base64")),
    };
    blocks.into_iter().enumerate().map(block).collect()
}

fn system(fields: &Fields) -> Result<Vec<String>, Reason> {
    let text = |(at, block): (usize, Block)| match block {
        Block::Text { text } => Ok(text),
        _ => Err(refused(&format!("system[{at}]"), "Claude Code takes texts")),
    };
    match read(fields, "system")? {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![text]),
        Some(Content::Blocks(blocks)) => blocks.into_iter().enumerate().map(text).collect(),
    }
}

fn read<'a, T: Deserialize<'a>>(fields: &'a Fields, name: &str) -> Result<Option<T>, Reason> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    serde_json::from_str(value.get()).map(Some).map_err(|error| refused(name, &format!("it cannot be read ({error})")))
}

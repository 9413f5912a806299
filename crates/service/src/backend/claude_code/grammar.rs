//! What a worker may ask for: the call that it was briefed for, in the wrapping that this version of the CLI puts round every one.
//! Anything else is a mismatch. What it says of one is where it is, and never what stands there.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::brief::Brief;

/// What the CLI says to the model before anything else, whatever it is told.
pub(super) const PREAMBLE: &str = "You are a Claude agent, built on Anthropic's Claude Agent SDK.";

/// Fields that the CLI sets as it likes. What goes upstream has none of them.
const ITS_OWN: [&str; 6] = ["metadata", "thinking", "output_config", "context_management", "stream", "tools"];

/// Where a request is not the call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at} differs")]
pub(super) struct Mismatch {
    /// The place in the body.
    at: String,
}

#[derive(Deserialize)]
struct Body {
    model: String,
    max_tokens: u32,
    messages: Vec<Message>,
    #[serde(default)]
    system: Vec<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: String,
    content: Value,
}

/// Whether a request is the call, and nothing else.
///
/// # Errors
/// It is not.
pub(super) fn check(body: &[u8], brief: &Brief) -> Result<(), Mismatch> {
    let body: Body = serde_json::from_slice(body).map_err(|_| differs("the body"))?;
    holds("model", body.model == brief.model)?;
    holds("max_tokens", body.max_tokens == brief.max_tokens)?;
    system(&body.system, &brief.system)?;
    messages(&body.messages, brief)?;
    rest(&body.rest, &brief.fields)
}

fn differs(at: impl Into<String>) -> Mismatch {
    Mismatch { at: at.into() }
}

fn holds(at: &str, holds: bool) -> Result<(), Mismatch> {
    if holds { Ok(()) } else { Err(differs(at)) }
}

fn system(found: &[Value], said: &[String]) -> Result<(), Mismatch> {
    let expected = std::iter::once(PREAMBLE).chain(said.iter().map(String::as_str).filter(|text| !text.is_empty()));
    let expected: Vec<Value> = expected.map(text).collect();
    holds("system", without_cache(&json!(found)) == json!(expected))
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn messages(found: &[Message], brief: &Brief) -> Result<(), Mismatch> {
    let said = brief.history.iter().map(|message| (message.role.as_str(), &message.content));
    let said: Vec<_> = said.chain([("user", &brief.content)]).collect();
    holds("messages", found.len() == said.len())?;
    for (at, (found, (role, content))) in found.iter().zip(said).enumerate() {
        holds(&format!("messages[{at}].role"), found.role == role)?;
        holds(&format!("messages[{at}].content"), is_content(&found.content, content))?;
    }
    Ok(())
}

/// A text alone may stand without a block round it.
fn is_content(found: &Value, said: &[Value]) -> bool {
    let found = without_cache(found);
    match found {
        Value::String(found) => said == [text(&found)],
        found => found == json!(said),
    }
}

fn rest(found: &Map<String, Value>, said: &Map<String, Value>) -> Result<(), Mismatch> {
    for (name, value) in found {
        match said.get(name) {
            Some(said) => holds(name, value == said)?,
            None if name == "tools" => holds("tools", value == &json!([]))?,
            None => holds(&format!("a field of {} bytes", name.len()), ITS_OWN.contains(&name.as_str()))?,
        }
    }
    match said.keys().find(|name| !found.contains_key(*name)) {
        Some(name) => Err(differs(name)),
        None => Ok(()),
    }
}

/// Where a cache begins is no part of what is asked.
fn without_cache(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "cache_control");
            kept.map(|(name, value)| (name.clone(), without_cache(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_cache).collect(),
        other => other.clone(),
    }
}

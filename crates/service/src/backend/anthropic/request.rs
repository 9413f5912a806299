//! A prompt as the Messages API takes it.

use claude_code_api_wire::Message;
use serde::Serialize;

use crate::backend::{Prompt, Reason};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    messages: &'a [Message],
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
}

/// What is counted: everything that makes up the input.
#[derive(Serialize)]
struct Counted<'a> {
    model: &'a str,
    messages: &'a [Message],
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
}

pub(super) fn to_count(model_id: &str, prompt: &Prompt) -> Vec<u8> {
    let body = Counted { model: model_id, messages: &prompt.messages, system: system(prompt.system.as_ref()) };
    serde_json::to_vec(&body).expect("texts serialize")
}

/// The API refuses an empty one.
fn system(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.trim().is_empty())
}

pub(super) fn body(model_id: &str, prompt: Prompt) -> Result<Vec<u8>, Reason> {
    let Prompt { system, messages, max_tokens, sampling } = prompt;
    if sampling.seed.is_some() {
        let message = "seed: Claude takes none; leave it out, or use the embedded model".to_owned();
        return Err(Reason::Invalid { field: "seed", message });
    }
    let body = Body {
        model: model_id,
        max_tokens,
        messages: &messages,
        system: self::system(system.as_ref()),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop_sequences: &sampling.stop_sequences,
    };
    Ok(serde_json::to_vec(&body).expect("texts and numbers serialize"))
}

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
        // The API refuses an empty one.
        system: system.as_deref().filter(|system| !system.trim().is_empty()),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop_sequences: &sampling.stop_sequences,
    };
    Ok(serde_json::to_vec(&body).expect("texts and numbers serialize"))
}

//! A prompt as the Messages API takes it: the caller's own words, with the model, the bound and the stream that the call settled on.

use serde_json::Value;

use crate::backend::{Asked, Prompt, Reason};

/// What only an answer needs, and counting does not take.
const NOT_COUNTED: [&str; 9] = [
    "max_tokens",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "metadata",
    "service_tier",
    "inference_geo",
];

pub(super) fn to_count(model_id: &str, asked: &Asked) -> Vec<u8> {
    asked.fields.written(&[("model", model_id.into())], &NOT_COUNTED)
}

pub(super) fn body(model_id: &str, prompt: &Prompt) -> Result<Vec<u8>, Reason> {
    written(model_id, prompt, &[("stream", true.into())], &[])
}

/// A prompt of a batch.
pub(super) fn of_batch(model_id: &str, prompt: &Prompt) -> Result<Vec<u8>, Reason> {
    written(model_id, prompt, &[], &["stream"])
}

fn written(model_id: &str, prompt: &Prompt, more: &[(&str, Value)], without: &[&str]) -> Result<Vec<u8>, Reason> {
    if prompt.request.seed.is_some() {
        let message = "seed: Claude takes none; leave it out, or use the embedded model".to_owned();
        return Err(Reason::Invalid { field: "seed".into(), message });
    }
    let set = [&[("model", model_id.into()), ("max_tokens", prompt.max_tokens.into())], more].concat();
    Ok(prompt.request.fields.written(&set, without))
}

//! A prompt as the Messages API takes it: the caller's own words, with the model, the bound and the stream that the call settled on.

use claude_code_api_wire::Fields;

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
    let mut fields = asked.fields.clone();
    for name in NOT_COUNTED {
        fields.take(name);
    }
    fields.set("model", &model_id);
    written(&fields)
}

pub(super) fn body(model_id: &str, prompt: &Prompt) -> Result<Vec<u8>, Reason> {
    if prompt.request.seed.is_some() {
        let message = "seed: Claude takes none; leave it out, or use the embedded model".to_owned();
        return Err(Reason::Invalid { field: "seed".into(), message });
    }
    let mut fields = prompt.request.fields.clone();
    fields.set("model", &model_id);
    fields.set("max_tokens", &prompt.max_tokens);
    fields.set("stream", &true);
    Ok(written(&fields))
}

fn written(fields: &Fields) -> Vec<u8> {
    serde_json::to_vec(fields).expect("JSON serializes")
}

//! The older dialect of this service, at the same path: what copies of its Python client send, and what they read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Usage;

const FIELDS: [&str; 4] = ["messages", "project_id", "model", "timeout"];
/// `auto` is not among them: older clients did not have it, and who writes it knows the newer dialects.
const TIERS: [&str; 3] = ["haiku", "sonnet", "opus"];

/// Whether a body of `POST /v1/chat/completions` is of the older dialect: it has `project_id`, no field but the four of that
/// dialect, and a tier as its model or none; and it does not come from an official SDK, whose header is
/// `x-stainless-lang`. Every such body is also one that [`decode`](super::decode) reads.
pub fn is_older_dialect(body: &Map<String, Value>, has_stainless_header: bool) -> bool {
    let model_fits = match body.get("model") {
        None | Some(Value::Null) => true,
        Some(model) => model.as_str().is_some_and(|model| TIERS.contains(&model)),
    };
    !has_stainless_header
        && body.get("project_id").is_some_and(Value::is_string)
        && body.keys().all(|name| FIELDS.contains(&name.as_str()))
        && model_fits
}

/// The answer in the older dialect: exactly these fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OlderResponse {
    /// Id of the call, `call_…`.
    pub id: String,
    /// The tier when a Claude model of that tier ran, else the id of what ran.
    pub model: String,
    /// The generated text.
    pub content: String,
    /// Tokens that count against budgets.
    pub usage: Usage,
    /// USD.
    pub cost: f64,
    /// The project that paid, by its real name.
    pub project_id: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_older(body: &Value, has_stainless_header: bool) -> bool {
        is_older_dialect(body.as_object().expect("an object"), has_stainless_header)
    }

    #[test]
    fn a_body_is_of_the_older_dialect_by_its_project_its_fields_its_model_and_its_sender() {
        let cases = [
            ("all four fields", true, json!({"messages": [], "project_id": "p", "model": "opus", "timeout": 60})),
            ("no model", true, json!({"messages": [], "project_id": "p"})),
            ("no project", false, json!({"messages": [], "model": "opus"})),
            ("a project that is null", false, json!({"messages": [], "project_id": null})),
            ("a model that is no tier", false, json!({"messages": [], "project_id": "p", "model": "claude-opus-5"})),
            ("auto is no tier", false, json!({"messages": [], "project_id": "p", "model": "auto"})),
            ("a model that is no text", false, json!({"messages": [], "project_id": "p", "model": 4})),
            ("a field of OpenAI's", false, json!({"messages": [], "project_id": "p", "stream": false})),
            ("the same, null", false, json!({"messages": [], "project_id": "p", "temperature": null})),
        ];
        for (claim, expected, body) in cases {
            assert_eq!(is_older(&body, false), expected, "{claim}");
            assert!(!is_older(&body, true), "{claim}, from an official SDK");
        }
    }

    #[test]
    fn the_older_answer_has_exactly_its_fields() {
        let usage = Usage { input_tokens: 1, output_tokens: 2, total_tokens: 3 };
        let answer = OlderResponse {
            id: "call_1".into(),
            model: "opus".into(),
            content: "Hi".into(),
            usage,
            cost: 0.5,
            project_id: "p".into(),
        };
        let expected = json!({
            "id": "call_1", "model": "opus", "content": "Hi", "cost": 0.5, "project_id": "p",
            "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        });
        assert_eq!(serde_json::to_value(answer).expect("serializes"), expected);
    }
}

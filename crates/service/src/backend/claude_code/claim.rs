//! A claim: what makes a worker that could answer anything answer one call. It is one write, of lines of JSON.

use serde_json::{Map, Value, json};

/// What a worker is asked to answer.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The model.
    pub model: String,
    /// What the model is told before.
    pub system: String,
    /// The most tokens to generate.
    pub max_tokens: u32,
    /// Fields of the Messages API that the CLI has no words for, such as `temperature`.
    pub fields: Map<String, Value>,
    /// What is asked.
    pub text: String,
}

impl Claim {
    /// As a worker is told.
    pub fn lines(&self) -> String {
        let control =
            |id: &str, request: Value| json!({"type": "control_request", "request_id": id, "request": request});
        let environment = json!({
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": self.max_tokens.to_string(),
            "CLAUDE_CODE_EXTRA_BODY": Value::from(self.fields.clone()).to_string(),
        });
        let settings = json!({"model": self.model, "env": environment});
        let lines = [
            control("system", json!({"subtype": "initialize", "systemPrompt": [self.system]})),
            control("settings", json!({"subtype": "apply_flag_settings", "settings": settings})),
            json!({
                "type": "user",
                "message": {"role": "user", "content": [{"type": "text", "text": self.text}]},
                "parent_tool_use_id": null,
                "session_id": "",
                // Without it a text that begins with `/` is a command, and `@` brings in a file.
                "client_composed": true,
            }),
        ];
        lines.map(|line| line.to_string() + "\n").concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_many_lines_stays_in_one() {
        let claim = Claim { text: "/help\n{\"type\":\"user\"}\u{2028}".to_owned(), ..Claim::default() };
        let lines = claim.lines();
        assert_eq!(lines.lines().count(), 3, "{lines}");
        let user: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
        assert_eq!(
            (&user["client_composed"], &user["message"]["content"][0]["text"]),
            (&json!(true), &json!(claim.text))
        );
    }
}

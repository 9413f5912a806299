//! A brief: what makes a worker that could answer anything answer one call. It is one write, of lines of JSON.
//!
//! The call goes in as it is, as fields that the CLI puts into the body of its request in the place of its own (its setting
//! `CLAUDE_CODE_EXTRA_BODY`): the conversation, the system prompt, tools, everything. What the CLI takes for the user's line is a dot, so
//! that no word of a caller is ever a command, a file or a setting to it.

use serde_json::{Map, Value, json};

use super::apart::Apart;
use crate::backend::{Prompt, Reason};

/// Fields that are not the worker's to be told: it is told the model in another way, and always streams.
const LEFT_OUT: [&str; 2] = ["model", "stream"];

/// What a worker is asked to answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brief {
    /// The model.
    pub model: String,
    /// The call: every field of the Messages API that it sets.
    pub fields: Map<String, Value>,
    /// What of it a worker on a login is told apart; `None`: it is on none, and nothing is.
    pub apart: Option<Apart>,
}

impl Brief {
    /// The call that a prompt is for this model.
    ///
    /// # Errors
    /// It is none that JSON can be made of.
    pub fn of(model: &str, prompt: &Prompt) -> Result<Self, Reason> {
        if prompt.request.seed.is_some() {
            return Err(invalid("seed", "Claude takes none; leave it out, or use the embedded model"));
        }
        let mut fields = Map::new();
        for (name, value) in prompt.request.fields.iter().filter(|(name, _)| !LEFT_OUT.contains(name)) {
            let value = serde_json::from_str(value.get());
            fields.insert(name.to_owned(), value.map_err(|_| invalid(name, "holds what Claude Code cannot carry"))?);
        }
        fields.insert("max_tokens".to_owned(), prompt.max_tokens.into());
        // Without any the CLI would put its own there.
        fields.entry("system").or_insert_with(|| json!([]));
        Ok(Self { model: model.to_owned(), fields, apart: None })
    }

    /// The same for a worker on a login.
    ///
    /// # Errors
    /// It is none that the CLI takes along as it is.
    pub fn on_login(model: &str, prompt: &Prompt) -> Result<Self, Reason> {
        let mut brief = Self::of(model, prompt)?;
        brief.apart = Some(Apart::take(&mut brief.fields, &prompt.request)?);
        Ok(brief)
    }

    /// As a worker is told.
    pub fn lines(&self) -> String {
        let mut environment = json!({"CLAUDE_CODE_EXTRA_BODY": Value::from(self.fields.clone()).to_string()});
        let mut lines = Vec::new();
        if let Some(Apart { system, version, betas }) = &self.apart {
            let version = version.as_ref().map(|version| format!("anthropic-version: {version}"));
            environment["ANTHROPIC_CUSTOM_HEADERS"] = version.unwrap_or_default().into();
            environment["ANTHROPIC_BETAS"] = betas.join(",").into();
            // It is heard before a worker's first round only: on a login it has no second one.
            lines.push(control("system", &json!({"subtype": "initialize", "systemPrompt": [system]})));
        }
        let settings = json!({"model": self.model, "env": environment});
        lines.extend([
            control("settings", &json!({"subtype": "apply_flag_settings", "settings": settings})),
            json!({
                "type": "user",
                "message": {"role": "user", "content": "."},
                "parent_tool_use_id": null,
                "session_id": "",
                "client_composed": true,
            }),
        ]);
        lines.iter().map(|line| line.to_string() + "\n").collect()
    }
}

fn control(id: &str, request: &Value) -> Value {
    json!({"type": "control_request", "request_id": id, "request": request})
}

pub(super) fn invalid(field: &str, why: &str) -> Reason {
    Reason::Invalid { field: field.to_owned().into(), message: format!("{field}: {why}") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::Asked;

    fn brief(fields: &str) -> Result<Brief, Reason> {
        let asked = Asked { fields: serde_json::from_str(fields).expect("an object"), ..Asked::default() };
        Brief::of("claude-haiku-5-5", &Prompt { request: Arc::new(asked), max_tokens: 7, ..Prompt::default() })
    }

    #[test]
    fn a_call_is_carried_as_it_is() {
        let brief = brief(r#"{"model": "haiku", "stream": false, "max_tokens": 9, "messages": [1], "tools": [{}]}"#);
        let fields = json!({"messages": [1], "tools": [{}], "max_tokens": 7, "system": []});
        assert_eq!(Value::from(brief.expect("a brief").fields), fields);
    }

    #[test]
    fn whatever_it_holds_it_is_two_lines_and_the_user_s_is_a_dot() {
        let brief =
            brief("{\"messages\": [{\"role\": \"user\", \"content\": \"/help\\n{}\u{2028}\"}], \"system\": \"@x\"}");
        let lines = brief.expect("a brief").lines();
        assert_eq!(lines.lines().count(), 2, "{lines}");
        let user: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
        assert_eq!((&user["client_composed"], &user["message"]["content"]), (&json!(true), &json!(".")));
    }

    #[test]
    fn what_cannot_be_carried_is_named() {
        let half_a_letter = r#"{"messages": [{"role": "user", "content": "\ud800"}]}"#;
        assert!(matches!(brief(half_a_letter), Err(Reason::Invalid { field, .. }) if field == "messages"));
    }
}

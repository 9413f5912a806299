//! A brief: what makes a worker that could answer anything answer one call, in lines of JSON.

use serde_json::{Map, Value, json};

/// What a worker is asked to answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brief {
    /// The model.
    pub model: String,
    /// What the model is told before.
    pub system: Vec<String>,
    /// The most tokens to generate.
    pub max_tokens: u32,
    /// Fields of the Messages API that the CLI has no words for, such as `temperature`.
    pub fields: Map<String, Value>,
    /// What was said before.
    pub history: Vec<Message>,
    /// What is asked: blocks of the Messages API.
    pub content: Vec<Value>,
}

/// A message of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `user` or `assistant`.
    pub role: String,
    /// Blocks of the Messages API.
    pub content: Vec<Value>,
}

impl Brief {
    /// As a worker is told, in steps: after each but the last it says that it has taken it in.
    pub fn steps(&self) -> Vec<String> {
        let (mut steps, mut step) = (Vec::new(), self.settings());
        for Message { role, content } in &self.history {
            if role == "user" {
                step += &line(&user(content, false));
                steps.push(std::mem::take(&mut step));
            } else {
                step += &line(&json!({"type": "assistant", "message": {"role": "assistant", "content": content}}));
            }
        }
        steps.push(step + &line(&user(&self.content, true)));
        steps
    }

    /// Everything that could be otherwise is said.
    fn settings(&self) -> String {
        let control =
            |id: &str, request: Value| line(&json!({"type": "control_request", "request_id": id, "request": request}));
        let environment = json!({
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": self.max_tokens.to_string(),
            "CLAUDE_CODE_EXTRA_BODY": Value::from(self.fields.clone()).to_string(),
        });
        let settings = json!({"model": self.model, "env": environment});
        let mut said = String::new();
        if !self.system.is_empty() {
            said += &control("system", json!({"subtype": "initialize", "systemPrompt": self.system}));
        }
        said + &control("settings", json!({"subtype": "apply_flag_settings", "settings": settings}))
    }
}

fn line(said: &Value) -> String {
    said.to_string() + "\n"
}

fn user(content: &[Value], is_asked: bool) -> Value {
    let mut said = json!({
        "type": "user",
        "message": {"role": "user", "content": content},
        "parent_tool_use_id": null,
        "session_id": "",
        // Without it a text that begins with `/` is a command, and `@` brings in a file.
        "client_composed": true,
    });
    if !is_asked {
        said["shouldQuery"] = false.into();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<Value> {
        vec![json!({"type": "text", "text": text})]
    }

    #[test]
    fn a_text_of_many_lines_stays_in_one() {
        let content = text("/help\n{\"type\":\"user\"}\u{2028}");
        let brief = Brief { system: vec!["S".to_owned()], content: content.clone(), ..Brief::default() };
        let [step] = &brief.steps()[..] else { panic!("there is no history") };
        assert_eq!(step.lines().count(), 3, "{step}");
        let user: Value = serde_json::from_str(step.lines().last().expect("a line")).expect("JSON");
        assert_eq!((&user["client_composed"], &user["message"]["content"]), (&json!(true), &json!(content)));
    }

    #[test]
    fn each_turn_of_a_history_is_a_step_with_the_answer_before_it() {
        let said = |role: &str, words| Message { role: role.to_owned(), content: text(words) };
        let history = vec![said("user", "1"), said("assistant", "2"), said("user", "3"), said("assistant", "4")];
        let brief = Brief { history, content: text("5"), ..Brief::default() };
        let steps: Vec<Vec<(String, Value)>> = (brief.steps().iter())
            .map(|step| {
                let lines = step.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
                lines
                    .map(|line| (line["type"].as_str().expect("a type").to_owned(), line["shouldQuery"].clone()))
                    .collect()
            })
            .collect();
        let is = |kind: &str, asks: Value| (kind.to_owned(), asks);
        assert_eq!(
            steps,
            [
                vec![is("control_request", Value::Null), is("user", json!(false))],
                vec![is("assistant", Value::Null), is("user", json!(false))],
                vec![is("assistant", Value::Null), is("user", Value::Null)],
            ]
        );
    }
}

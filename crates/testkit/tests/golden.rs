//! Golden files: what every dialect makes of the same request and of the same answer, whole and as a stream. `UPDATE_GOLDEN=1`
//! writes them anew.

use std::{fs, path::PathBuf};

use claude_code_api_service::config::{Allowance, Settings};
use claude_code_api_testkit::{Simulator, TestServer};
use serde_json::{Value, json};

/// A dialect: its name, its path, and how it asks with this text.
type Dialect = (&'static str, &'static str, fn(&str) -> Value);

const DIALECTS: [Dialect; 3] = [
    ("native", "/v1/complete", |text| json!({"model": "opus", "max_tokens": 40, "prompt": text})),
    (
        "anthropic",
        "/v1/messages",
        |text| json!({"model": "opus", "max_tokens": 40, "messages": [{"role": "user", "content": text}]}),
    ),
    ("openai", "/v1/chat/completions", |text| {
        let stream_options = json!({"include_usage": true});
        let messages = json!([{"role": "user", "content": text}]);
        json!({"model": "opus", "max_tokens": 40, "messages": messages, "stream_options": stream_options})
    }),
];

/// Answers, as the simulator is told to give them.
fn answers() -> Vec<(&'static str, Value)> {
    let tool = json!({"name": "weather", "input": {"city": "Zürich", "days": [1, {"two": "\"}"}], "at": 7.5}});
    vec![
        ("text", json!({"input": 12, "output": 3})),
        ("max_tokens", json!({"output": 40, "tokens_per_delta": 20})),
        ("refusal", json!({"output": 2, "stop_reason": "refusal"})),
        ("stop_sequence", json!({"output": 2, "stop_reason": "stop_sequence"})),
        ("tool", json!({"output": 20, "tool": tool})),
        ("thinking", json!({"output": 12, "thinking": {"tokens": 10, "display": "summarized"}})),
        ("thinking_omitted", json!({"output": 12, "thinking": {"tokens": 10, "display": "omitted"}})),
        ("cached", json!({"input": 100, "output": 2, "cache_write": 50, "cache_write_1h": 10, "cache_read": 20})),
        ("news", json!({"output": 2, "unknown_events": true, "unknown_fields": true, "comments": true, "crlf": true})),
        ("other_model", json!({"output": 2, "model": "claude-opus-5"})),
        ("broken_off", json!({"output": 9, "error_event": {"type": "overloaded_error", "after": 5}})),
        ("refused", json!({"status": 400})),
        ("limited", json!({"status": 429, "retry_after": "7"})),
    ]
}

async fn server(simulator: &Simulator) -> TestServer {
    let settings = Settings { default_tokens_per_month: Some(Allowance(None)), ..Settings::default() };
    TestServer::start_on(simulator, settings).await
}

#[tokio::test]
async fn what_is_answered_is_told_in_every_dialect() {
    for (name, script) in answers() {
        for (dialect, path, ask) in DIALECTS {
            for kind in ["whole", "stream"] {
                let mut body = ask(&format!("Hi sim:{script}"));
                if kind == "stream" {
                    body["stream"] = json!(true);
                } else if let Some(body) = body.as_object_mut() {
                    body.remove("stream_options");
                }
                compare(&format!("answers/{name}.{dialect}.{kind}"), &told(path, &body).await);
            }
        }
    }
}

/// Status and body, without what is new each time.
async fn told(path: &str, body: &Value) -> String {
    // A server each, as a key that fails is left alone.
    let simulator = Simulator::start();
    let server = server(&simulator).await;
    let answer = server.caller().post(path, body.to_string()).await;
    let mut told = format!("{}\n\n{}", answer.status, answer.body);
    for (mark, ends) in [("call_", '"'), ("req_", '"'), ("msg_", '"'), ("toolu_", '"'), ("\"created\":", ',')] {
        told = masked(&told, mark, ends);
    }
    told
}

/// What follows each `mark`, up to `ends`, is left out.
fn masked(text: &str, mark: &str, ends: char) -> String {
    let mut pieces = text.split(mark);
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |all, piece| all + mark + "…" + &piece[piece.find(ends).unwrap_or(0)..])
}

/// Requests, as each dialect has them.
fn requests() -> Vec<(&'static str, &'static str, Value)> {
    let image = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="});
    let turns = json!([
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image", "source": image}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"z": 1, "a": [2.0]}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "A cat."}]},
    ]);
    let schema = json!({"type": "object", "properties": {"z": {"type": "number"}, "a": {"type": "array"}}});
    let chat = json!([
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        ]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": "{\"z\": 1, \"a\": [2.0]}"}},
        ]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "A cat."},
    ]);
    vec![
        ("plain.native", "/v1/complete", json!({"model": "haiku", "system": "Be brief.", "prompt": "Hi"})),
        (
            "sampled.native",
            "/v1/complete",
            json!({"model": "claude-opus-5", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"}], "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["x"], "max_tokens": 7}),
        ),
        (
            "rich.anthropic",
            "/v1/messages",
            json!({"max_tokens": 9, "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
                "messages": turns, "model": "sonnet", "tools": [{"name": "look", "input_schema": schema}], "stream": false,
                "thinking": {"type": "adaptive"}, "metadata": {"user_id": "u"}, "field_of_tomorrow": {"b": 1, "a": [null]}}),
        ),
        (
            "rich.openai",
            "/v1/chat/completions",
            json!({"model": "sonnet", "max_completion_tokens": 9, "messages": chat, "stop": "x", "user": "u", "tool_choice": "auto",
                "tools": [{"type": "function", "function": {"name": "look", "parameters": schema}}]}),
        ),
    ]
}

#[tokio::test]
async fn what_is_asked_in_any_dialect_reaches_claude_as_one() {
    for (name, path, body) in requests() {
        let simulator = Simulator::start();
        let server = server(&simulator).await;
        let answer = server.caller().post(path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        let asked = serde_json::to_string_pretty(&simulator.requests()[0]).expect("JSON");
        compare(&format!("requests/{name}.json"), &(asked + "\n"));
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the test asks for new files by the environment")]
fn compare(name: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(&path, found).expect("it can be written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found, expected, "{} differs; UPDATE_GOLDEN=1 writes it anew", path.display());
}

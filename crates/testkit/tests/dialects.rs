//! The three dialects walk one path: budgets, idempotency keys, deadlines and cancellation hold in each of them, on Claude and on the
//! embedded model.

#![expect(clippy::disallowed_methods, reason = "tests have no App to spawn through")]

use std::time::{Duration, Instant};

use claude_code_api_service::{
    config::Settings,
    ledger::{Limit, Limits, Project},
    project::ProjectId,
};
use claude_code_api_testkit::{Answer, BOUND, Program, Simulator, TestServer, in_time, json_of, send, until};
use http::Method;
use serde_json::{Value, json};

/// A dialect: its path, how it asks with this text, and where a whole answer has its text.
struct Dialect {
    path: &'static str,
    ask: fn(&str) -> Value,
    text: &'static str,
}

const DIALECTS: [Dialect; 3] = [
    Dialect {
        path: "/v1/complete",
        ask: |text| json!({"model": "sonnet", "max_tokens": 50, "prompt": text}),
        text: "/content",
    },
    Dialect {
        path: "/v1/messages",
        ask: |text| json!({"model": "sonnet", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}),
        text: "/content/0/text",
    },
    Dialect {
        path: "/v1/chat/completions",
        ask: |text| json!({"model": "sonnet", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}),
        text: "/choices/0/message/content",
    },
];

impl Dialect {
    fn whole(&self, text: &str) -> Value {
        (self.ask)(text)
    }

    fn stream(&self, text: &str) -> Value {
        let mut body = (self.ask)(text);
        body["stream"] = json!(true);
        body
    }

    /// What a whole answer says.
    fn said(&self, answer: &Answer) -> String {
        let body: Value = answer.json();
        let text = body.pointer(self.text).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{}: no text in {body}", self.path)).to_owned()
    }
}

/// All text in the events of a stream, whatever the dialect.
fn streamed(body: &str) -> String {
    let data = body.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let texts = data.filter_map(|event| {
        let text = event.pointer("/choices/0/delta/content").or(event.pointer("/delta/text")).or(event.get("text"))?;
        Some(text.as_str()?.to_owned())
    });
    texts.collect()
}

async fn limited(server: &TestServer, name: &str, tokens: i64) {
    let day = Limit { tokens: Some(tokens), nanos: None };
    let limits = Limits { windows: [day, Limit::default(), Limit::default()], ..Limits::default() };
    let id = ProjectId::parse(name).expect("a name");
    let project = Project { id: id.clone(), limits, created_by_use: false };
    server.app().store().set_project(project).await.expect("the store works");
    until("the limit is known", || server.app().directory().project(&id).is_some()).await;
}

#[tokio::test]
async fn a_call_that_is_sent_again_is_answered_again_and_paid_for_once() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    for (number, dialect) in DIALECTS.iter().enumerate() {
        let caller = server.caller().once("the same key in all of them");
        let first = caller.post(dialect.path, dialect.whole("Hi").to_string()).await;
        let again = caller.post(dialect.path, dialect.whole("Hi").to_string()).await;
        assert_eq!(dialect.said(&first), dialect.said(&again));
        let stream = caller.post(dialect.path, dialect.stream("Hi").to_string()).await;
        assert_eq!((streamed(&stream.body), stream.status), (dialect.said(&first), 200), "{}", stream.body);
        let other = caller.post(dialect.path, dialect.whole("Something else").to_string()).await;
        assert_eq!(other.status, 409, "{}", other.body);
        assert_eq!(simulator.requests().len(), number + 1, "{}", dialect.path);
    }
    let usage: Value = server.caller().get("/v1/usage").await.json();
    let billed: u64 = simulator.bill().iter().map(|billed| billed.input_tokens + billed.output_tokens).sum();
    assert_eq!(usage["total_tokens"], billed);
}

#[tokio::test]
async fn a_tool_call_and_thinking_are_the_same_when_they_are_told_again() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let tool = json!({"name": "look", "input": {"z": 1, "a": [{"b": null}]}});
    let script = json!({"output": 30, "tool": tool, "thinking": {"tokens": 10, "display": "summarized"}});
    let dialect = &DIALECTS[1];
    let caller = server.caller().once("k");
    let first: Value = caller.post(dialect.path, dialect.whole(&format!("sim:{script}")).to_string()).await.json();
    let again: Value = caller.post(dialect.path, dialect.whole(&format!("sim:{script}")).to_string()).await.json();
    assert_eq!(first, again);
    let kinds: Vec<&Value> = first["content"].as_array().expect("blocks").iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["thinking", "tool_use"]);
    assert_eq!(first["content"][1]["input"], tool["input"]);
}

#[tokio::test]
async fn a_budget_that_does_not_cover_a_call_is_told_once() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    limited(&server, "poor", 20).await;
    for dialect in &DIALECTS {
        for body in [dialect.whole("Hi"), dialect.stream("Hi")] {
            let mut body = body;
            if dialect.path == "/v1/complete" {
                body["project_id"] = json!("poor");
            }
            let request = json_of(server.caller().request(Method::POST, dialect.path), body.to_string());
            let request = if dialect.path == "/v1/complete" { request } else { request.header("x-project-id", "poor") };
            let answer = send(request).await.expect("an answer");
            assert_eq!((answer.status, answer.header("x-should-retry")), (429, "false"), "{}", answer.body);
            assert!(answer.body.contains("Budget exceeded") && answer.body.contains("\"limit\":20"), "{}", answer.body);
        }
    }
    assert!(simulator.requests().is_empty());
}

#[tokio::test]
async fn a_word_is_passed_on_as_it_comes() {
    const TOKEN_MS: u32 = 300;
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let script = json!({"output": 5, "token_ms": TOKEN_MS});
    for dialect in &DIALECTS {
        let request = server.caller().request(Method::POST, dialect.path);
        let body = dialect.stream(&format!("sim:{script}")).to_string();
        let mut response = json_of(request, body).send().await.expect("a stream");
        let (mut words, mut text) = (Vec::new(), String::new());
        while let Some(piece) = response.chunk().await.expect("it goes on") {
            text += &String::from_utf8_lossy(&piece);
            words.resize(text.matches("word ").count().min(5), Instant::now());
        }
        let [first, .., last] = words.as_slice() else { panic!("{}: {text}", dialect.path) };
        let apart = last.duration_since(*first);
        println!("{}: first and last word {apart:?} apart", dialect.path);
        assert!(apart >= Duration::from_millis(u64::from(3 * TOKEN_MS)), "{apart:?}: they were kept together");
    }
}

#[tokio::test]
async fn no_last_word_leaves_before_the_call_is_settled() {
    const DELAY: Duration = Duration::from_millis(1_500);
    let simulator = Simulator::start();
    let slow = [("CLAUDE_CODE_API_FAILPOINT", "settling=1500")];
    let folder = tempfile::tempdir().expect("a folder");
    let service = Program::serve_on(&simulator, folder, &[], &slow).await;
    let last_words = ["event: done", "\"stop_reason\":\"", "\"finish_reason\":\""];
    for (dialect, last_word) in DIALECTS.iter().zip(last_words) {
        let request = service.caller().request(Method::POST, dialect.path);
        let mut response = json_of(request, dialect.stream("Hi").to_string()).send().await.expect("a stream");
        let (mut word, mut last, mut text) = (None, None, String::new());
        while let Some(piece) = response.chunk().await.expect("it goes on") {
            text += &String::from_utf8_lossy(&piece);
            word = word.or_else(|| text.contains("word ").then(Instant::now));
            last = last.or_else(|| text.contains(last_word).then(Instant::now));
        }
        let (word, last) = (word.expect("a word"), last.unwrap_or_else(|| panic!("no {last_word:?} in {text}")));
        let after = last.duration_since(word);
        println!("{}: the last word came {after:?} after the first", dialect.path);
        assert!(after + Duration::from_millis(200) >= DELAY, "{}: it came {after:?} after the first", dialect.path);
        let begun = Instant::now();
        let request = json_of(service.caller().request(Method::POST, dialect.path), dialect.whole("Hi").to_string());
        let response = request.send().await.expect("an answer");
        assert!(response.status() == 200 && begun.elapsed() >= DELAY, "{}: the status came too early", dialect.path);
    }
}

#[tokio::test]
async fn whoever_leaves_ends_the_generation() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    for dialect in &DIALECTS {
        for body in [
            dialect.whole("sim:{\"token_ms\": 500, \"output\": 50}"),
            dialect.stream("sim:{\"token_ms\": 500, \"output\": 50}"),
        ] {
            let request = json_of(server.caller().request(Method::POST, dialect.path), body.to_string());
            let call = tokio::spawn(async move {
                let mut response = request.send().await.expect("an answer begins");
                while response.chunk().await.expect("it goes on").is_some() {}
            });
            until("the model generates", || simulator.open_streams() == 1).await;
            call.abort();
            until("nothing is generated any more", || simulator.open_streams() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_deadline_ends_a_call_in_every_dialect() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    for dialect in &DIALECTS {
        let mut body = dialect.whole("sim:{\"first_ms\": 30000}");
        let request = server.caller().request(Method::POST, dialect.path);
        // As Anthropic's SDK says it, and OpenAI's.
        let request = match dialect.path {
            "/v1/messages" => request.header("x-stainless-timeout", "0.3"),
            "/v1/chat/completions" => request.header("x-stainless-read-timeout", "0.3"),
            _ => {
                body["timeout"] = json!(0.3);
                request
            }
        };
        let answer = in_time("the deadline", BOUND, send(json_of(request, body.to_string()))).await.expect("an answer");
        assert_eq!(answer.status, 504, "{}", answer.body);
    }
}

#[tokio::test]
async fn the_embedded_model_speaks_all_of_them() {
    let server = TestServer::start().await;
    let caller = server.caller();
    for dialect in &DIALECTS {
        let mut whole = dialect.whole("Count from one to ten.");
        whole["temperature"] = json!(0);
        let mut stream = whole.clone();
        stream["stream"] = json!(true);
        let said = dialect.said(&caller.post(dialect.path, whole.to_string()).await);
        let streamed = streamed(&caller.post(dialect.path, stream.to_string()).await.body);
        assert_eq!((said.is_empty(), streamed), (false, said), "{}", dialect.path);
    }
    let [_, messages, chat] = &DIALECTS;
    let answer: Value = caller.post(messages.path, messages.whole("Hi").to_string()).await.json();
    let counted = caller.post("/v1/messages/count_tokens", messages.whole("Hi").to_string()).await.json::<Value>();
    assert_eq!(counted["input_tokens"], answer["usage"]["input_tokens"]);
    for (dialect, name, value) in [
        (messages, "tools", json!([{"name": "t", "input_schema": {"type": "object"}}])),
        (messages, "thinking", json!({"type": "adaptive"})),
        (messages, "top_k", json!(5)),
        (messages, "field_of_tomorrow", json!(1)),
        (chat, "tools", json!([{"type": "function", "function": {"name": "t"}}])),
    ] {
        let mut body = dialect.whole("Hi");
        body[name] = value;
        let answer = caller.post(dialect.path, body.to_string()).await;
        assert!(answer.status == 400 && answer.body.contains(name), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_older_client_is_answered_as_it_expects() {
    let server = TestServer::start().await;
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "project_id": "older", "timeout": 60});
    let caller = server.caller();
    let answer: Value = caller.post("/v1/chat/completions", body.to_string()).await.json();
    let names: Vec<&str> = answer.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["id", "model", "content", "usage", "cost", "project_id"]);
    assert_eq!(answer["project_id"], "older");
    let request = caller.request(Method::POST, "/v1/chat/completions").header("x-stainless-lang", "python");
    let answer: Value = send(json_of(request, body.to_string())).await.expect("an answer").json();
    assert_eq!(answer["object"], "chat.completion", "{answer}");
}

#[tokio::test]
async fn models_are_listed_in_the_shape_that_was_asked_for() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let list: Value = server.caller().get("/v1/models").await.json();
    assert_eq!((&list["object"], &list["data"][0]["object"]), (&json!("list"), &json!("model")));
    let ids: Vec<&str> =
        list["data"].as_array().expect("models").iter().filter_map(|model| model["id"].as_str()).collect();
    for id in ["auto", "haiku", "sonnet", "opus", "claude-sonnet-5-5", "claude-opus-4-5"] {
        assert!(ids.contains(&id), "{id} is not in {ids:?}");
        let request = server.caller().request(Method::GET, &format!("/v1/models/{id}"));
        let model: Value = send(request.header("anthropic-version", "2023-06-01")).await.expect("an answer").json();
        assert_eq!((&model["type"], &model["id"]), (&json!("model"), &json!(id)));
    }
    let missing = server.caller().get("/v1/models/gpt-4").await;
    assert_eq!((missing.status, missing.json::<Value>()["error"]["type"].as_str()), (404, Some("not_found_error")));
}

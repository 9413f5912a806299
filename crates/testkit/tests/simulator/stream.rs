//! What is said when nothing goes wrong.

use claude_code_api_testkit::{
    Caller, Simulator,
    simulator::{KEY, Script},
    until,
};
use http::Method;
use serde_json::{Value, json};

use crate::socket::{Answer, Socket, answer, asking};

/// What the deltas of a stream come to, by the field that they carry.
fn said(answer: &Answer, field: &str) -> String {
    let events = answer.events();
    events.iter().filter_map(|event| event["delta"][field].as_str()).collect()
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_format_in_their_order() {
    let simulator = Simulator::start();
    let script = json!({"input": 20, "output": 3, "cache_read": 5, "cache_write": 4, "cache_write_1h": 2});
    let streamed = answer(&simulator, &script, true).await;
    assert_eq!((streamed.status, streamed.headers["content-type"].as_str()), (200, "text/event-stream; charset=utf-8"));
    assert!(streamed.is_complete && streamed.headers["request-id"].starts_with("req_"), "{streamed:?}");
    for header in
        ["organization-id", "ratelimit-requests-remaining", "ratelimit-tokens-limit", "ratelimit-tokens-reset"]
    {
        assert!(streamed.headers.contains_key(&format!("anthropic-{header}")), "{header}: {streamed:?}");
    }
    let (delta, names) = ("content_block_delta", streamed.names());
    let around =
        (["message_start", "content_block_start", "ping"], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(names, [&around.0[..], &[delta; 3], &around.1].concat());
    let events = streamed.events();
    let usage = json!({
        "input_tokens": 9, "output_tokens": 1, "service_tier": "standard",
        "cache_creation_input_tokens": 6, "cache_read_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 2},
    });
    assert_eq!((&events[0]["message"]["usage"], &events[0]["message"]["content"]), (&usage, &json!([])));
    assert_eq!(events[1]["content_block"], json!({"type": "text", "text": ""}));
    assert_eq!(events[7]["delta"], json!({"stop_reason": "end_turn", "stop_sequence": null}));
    assert_eq!((&events[7]["usage"]["input_tokens"], &events[7]["usage"]["output_tokens"]), (&json!(9), &json!(3)));
    assert_eq!(simulator.bill()[0].input_tokens, 20);
}

#[tokio::test]
async fn what_is_streamed_is_what_is_said_at_once() {
    let simulator = Simulator::start();
    let thinking = |display: &str| json!({"tokens": 57, "display": display});
    let scripts = [
        json!({"output": 100}),
        json!({"output": 7, "tokens_per_delta": 3}),
        json!({"output": 4_321, "beyond": true, "unknown_events": true, "comments": true, "crlf": true}),
        json!({"output": 2, "bytes_per_delta": 100_000}),
        json!({"output": 9, "chunk_bytes": 7}),
        json!({"output": 90, "thinking": thinking("summarized")}),
        json!({"output": 60, "thinking": thinking("omitted")}),
    ];
    for script in scripts {
        let (streamed, whole) =
            (answer(&simulator, &script, true).await, answer(&simulator, &script, false).await.json());
        let of_kind = |kind: &str| {
            let blocks = whole["content"].as_array().expect("blocks").iter();
            blocks.filter_map(|block| block[kind].as_str()).collect::<String>()
        };
        assert_eq!(said(&streamed, "text"), of_kind("text"), "{script}");
        assert_eq!(said(&streamed, "thinking"), of_kind("thinking"), "{script}");
        assert_eq!(said(&streamed, "signature"), of_kind("signature"), "{script}");
        let events = streamed.events();
        let end = events.iter().find(|event| event["type"] == "message_delta").expect("an end");
        assert_eq!(end["usage"]["output_tokens"], whole["usage"]["output_tokens"], "{script}");
        assert_eq!(end["delta"]["stop_reason"], whole["stop_reason"], "{script}");
        let bill = simulator.bill();
        let [.., one, other] = bill.as_slice() else { panic!("no bill") };
        assert_eq!((one, &json!(one.output_tokens)), (other, &whole["usage"]["output_tokens"]), "{script}");
    }
}

#[tokio::test]
async fn the_input_of_a_tool_comes_in_pieces_that_say_nothing_alone() {
    let simulator = Simulator::start();
    let input = json!({"path": "/tmp/ä 𝄞\n\"x\"", "nested": {"list": [1, -2.5e3, {"deep": [null, true]}]}});
    let script = json!({"output": 50, "tool": {"name": "Write", "input": input}});
    let streamed = answer(&simulator, &script, true).await;
    let pieces: Vec<Value> = streamed.events().iter().map(|event| event["delta"]["partial_json"].clone()).collect();
    let pieces: Vec<&str> = pieces.iter().filter_map(Value::as_str).collect();
    assert!(pieces.len() > 10 && pieces.iter().any(|piece| piece.ends_with('\\')), "{pieces:?}");
    assert_eq!(serde_json::from_str::<Value>(&pieces.concat()).expect("JSON"), input);
    let whole = answer(&simulator, &script, false).await.json();
    assert_eq!((&whole["content"][0]["input"], &whole["stop_reason"]), (&input, &json!("tool_use")));
    assert_eq!(streamed.events()[1]["content_block"]["input"], json!({}));
    assert_eq!(simulator.bill()[0].output_tokens, 50);
}

#[tokio::test]
async fn a_script_is_read_from_wherever_the_user_s_last_message_has_it() {
    let simulator = Simulator::start();
    let text = |text: &str| json!({"type": "text", "text": text});
    let contents = [
        json!("a sim: is no script, sim:{\"output\": 7} and {\"more\": text}"),
        json!([text("sim:{\"output\": 5}"), text("then sim: {\"output\": 7}\nmore"), text("no script")]),
        json!([{"type": "tool_result", "tool_use_id": "t", "content": "sim:{\"output\": 7}"}]),
        json!([{"type": "tool_result", "tool_use_id": "t", "content": [text("sim:{\"output\": 7}")]}]),
    ];
    for content in contents {
        let mut asked = asking(&json!({"output": 3}), false);
        asked["messages"].as_array_mut().expect("messages").extend([
            json!({"role": "assistant", "content": "sim:{\"output\": 4}"}),
            json!({"role": "user", "content": content}),
        ]);
        let said = Socket::ask(&simulator, &asked).await.answer().await.json();
        assert_eq!(said["usage"]["output_tokens"], 7, "{content}");
    }
}

#[tokio::test]
async fn requests_without_a_script_take_the_next_steps_in_turn() {
    let simulator = Simulator::start();
    let call = r#"{"tool": {"name": "Bash", "input": {"command": "true"}}}"#;
    simulator.answer_next(vec![Script::read(call), Script { output: Some(3), ..Script::default() }]);
    let mut asked = asking(&json!({}), false);
    asked["messages"][0]["content"] = json!([{"type": "text", "text": "Hello"}]);
    asked["tools"] = json!([{"name": "Bash", "input_schema": {"type": "object"}}]);
    let mut reasons = Vec::new();
    for _ in 0..3 {
        let said = Socket::ask(&simulator, &asked).await.answer().await.json();
        reasons.push((said["stop_reason"].clone(), said["usage"]["output_tokens"].clone()));
        answer(&simulator, &json!({"output": 9}), false).await;
    }
    let expected =
        [("tool_use", 16), ("end_turn", 3), ("end_turn", 16)].map(|(why, tokens)| (json!(why), json!(tokens)));
    assert_eq!(reasons, expected);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let simulator = Simulator::start();
    let caller = Caller::new(simulator.base_url());
    let scripts = [
        json!({}),
        json!({"status": 529, "error_body": "html"}),
        json!({"error_event": {"type": "overloaded_error", "after": 3}}),
        json!({"end_after_events": 2}),
        json!({"fault": "empty"}),
        json!({"output": 50}),
    ];
    for script in &scripts {
        for stream in [true, false] {
            let request = caller.request(Method::POST, "/v1/messages").header("x-api-key", KEY);
            let request = request.header("anthropic-version", "2023-06-01").body(asking(script, stream).to_string());
            request.send().await.expect("an answer").bytes().await.expect("a whole body");
        }
    }
    assert_eq!((simulator.connections(), simulator.requests().len()), (1, scripts.len() * 2));
    until("no stream is open", || simulator.open_streams() == 0).await;
    assert_eq!(simulator.headers()[3]["anthropic-version"], "2023-06-01");
}

#[tokio::test]
async fn models_are_listed_and_a_key_can_be_one_that_is_always_refused() {
    let simulator = Simulator::start();
    let models = Socket::send(&simulator, "GET /v1/models", "sk-ant-simulated-other", "").await.answer().await.json();
    assert!(models["data"].as_array().is_some_and(|models| models.len() == 3), "{models}");
    let head = Socket::send(&simulator, "HEAD /", "", "").await.answer().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let cases = [("-401", 401), ("-429", 429), ("-500", 500), ("-529", 529), ("-530", 200), ("x", 401)];
    for (key, status) in cases {
        let body = asking(&json!({}), true).to_string();
        let said = Socket::send(&simulator, "POST /v1/messages", &format!("{KEY}{key}"), &body).await.answer().await;
        assert_eq!(said.status, status, "{key}");
        assert_eq!(said.headers.get("retry-after").map(String::as_str), (status == 429).then_some("1"));
    }
    assert_eq!((simulator.bill().len(), simulator.headers().len()), (1, 5));
}

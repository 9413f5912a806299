//! Bodies that are none, in every dialect: each is refused in the dialect's own envelope, which names the place.

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Answer, Simulator, TestServer};
use serde_json::{Value, json};

/// A path, and where its envelope has the message, and a word of what kind the error is.
const DIALECTS: [(&str, [&str; 3]); 4] = [
    ("/v1/complete", ["/error/message", "/error/code", "invalid_request"]),
    ("/v1/messages", ["/error/message", "/error/type", "invalid_request_error"]),
    ("/v1/messages/count_tokens", ["/error/message", "/error/type", "invalid_request_error"]),
    ("/v1/chat/completions", ["/error/message", "/error/type", "invalid_request_error"]),
];

fn at<'a>(body: &'a Value, pointer: &str) -> &'a str {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {body}"))
}

fn assert_refused(answer: &Answer, [message, kind, word]: [&str; 3], says: &str) {
    let body: Value = answer.json();
    assert_eq!((answer.status, at(&body, kind)), (400, word), "{body}");
    assert!(at(&body, message).contains(says), "{says:?} is not in {body}");
}

async fn on_claude() -> (Simulator, TestServer) {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    (simulator, server)
}

#[tokio::test]
async fn what_is_no_json_object_is_refused() {
    let (simulator, server) = on_claude().await;
    let deep = |open: &str, close: &str| format!("{{\"messages\": {}{}}}", open.repeat(5_000), close.repeat(5_000));
    let bodies: [(Vec<u8>, &str); 10] = [
        (b"".to_vec(), "is empty"),
        (b" \n ".to_vec(), "is empty"),
        (b"null".to_vec(), "body"),
        (b"[]".to_vec(), "array"),
        (b"{\"model\": \"son".to_vec(), "line 1"),
        (b"{\"model\": \"\xff\xfe\"}".to_vec(), "line 1"),
        (b"{\"messages\": [\"\xc3\x28\"]}".to_vec(), "line 1"),
        (deep("[", "]").into_bytes(), "nested deeper than 100"),
        (deep("{\"a\":", "}").into_bytes(), "nested deeper than 100"),
        (b"[".repeat(1 << 20), "array"),
    ];
    for (path, envelope) in DIALECTS {
        for (body, says) in &bodies {
            println!("{path} {}", String::from_utf8_lossy(&body[..body.len().min(40)]));
            assert_refused(&server.caller().post(path, body.clone()).await, envelope, says);
        }
    }
    assert!(simulator.requests().is_empty());
}

#[tokio::test]
async fn a_wrong_type_is_refused_with_its_place() {
    let (simulator, server) = on_claude().await;
    let message = |content: Value| json!([{"role": "user", "content": content}]);
    let asked = |name: &str, value: Value| {
        let mut body = json!({"model": "sonnet", "max_tokens": 5, "messages": message(json!("Hi"))});
        body[name] = value;
        body
    };
    let native =
        [(json!({"prompt": ["x"]}), "prompt"), (json!({"messages": message(json!(5))}), "messages[0].content")];
    let anthropic = [
        (asked("model", json!(5)), "model: invalid type: integer `5`"),
        (asked("model", Value::Null), "model: invalid type: null"),
        (asked("max_tokens", json!("5")), "max_tokens: invalid type: string \"5\""),
        (asked("max_tokens", json!(-1)), "max_tokens: invalid value: integer `-1`"),
        (asked("max_tokens", json!(0)), "max_tokens: takes 1 to 1000000"),
        (asked("stream", json!("yes")), "stream: invalid type: string \"yes\""),
        (asked("messages", message(json!(5))), "messages[0].content: "),
        (asked("messages", message(json!([{"type": "text"}]))), "messages[0].content[0]: "),
        (
            asked("messages", message(json!([{"type": "image", "source": {"type": "url", "url": "x"}}]))),
            "messages[0].content[0]",
        ),
        (asked("tools", json!([{"type": "web_search_20250305", "name": "web_search"}])), "tools[0].type: "),
        (asked("mcp_servers", json!([])), "mcp_servers: cannot be bounded under a limit"),
    ];
    let openai = [
        (asked("messages", json!("x")), "messages"),
        (asked("messages", message(json!(5))), "messages[0].content"),
        (asked("temperature", json!("warm")), "temperature"),
        (asked("n", json!(2)), "n: "),
        (asked("logprobs", json!(true)), "logprobs"),
        (asked("no_such_thing", json!(1)), "no_such_thing"),
    ];
    let of = |place: usize| DIALECTS[place];
    let cases = (native.iter().map(|case| (of(0), case)))
        .chain(anthropic.iter().map(|case| (of(1), case)))
        .chain(openai.iter().map(|case| (of(3), case)));
    for ((path, envelope), (body, says)) in cases {
        println!("{path} {body}");
        assert_refused(&server.caller().post(path, body.to_string()).await, envelope, says);
    }
    assert!(simulator.requests().is_empty(), "nothing of this reached Claude");
}

#[tokio::test]
async fn a_body_of_a_hundred_megabytes_is_refused_in_every_dialect() {
    let (_simulator, server) = on_claude().await;
    let kinds = ["request_too_large", "request_too_large", "request_too_large", "invalid_request_error"];
    for ((path, [_, kind, _]), expected) in DIALECTS.into_iter().zip(kinds) {
        let answer = server.caller().post(path, vec![b'x'; 100 << 20]).await;
        let body: Value = answer.json();
        assert_eq!((answer.status, at(&body, kind)), (413, expected), "{body}");
    }
}

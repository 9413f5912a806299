//! Whatever is sent, the answer says what was wrong, where, and what to send instead; and the service goes on.

use claude_code_api_testkit::{Answer, Caller, TestServer, json_of, send};
use http::Method;
use serde_json::{Value, json};

/// A body, the field that is wrong with it, and what the message has to say.
type Case = (String, &'static str, &'static [&'static str]);

/// The text of a body, or the JSON that becomes one.
struct Body(String);

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<Value> for Body {
    fn from(json: Value) -> Self {
        Self(json.to_string())
    }
}

fn case(body: impl Into<Body>, field: &'static str, says: &'static [&'static str]) -> Case {
    (body.into().0, field, says)
}

fn malformed() -> Vec<Case> {
    vec![
        case("", "body", &["is empty", "JSON object"]),
        case("  \n", "body", &["is empty"]),
        case("{\"prompt\": \"x\",\n  oops}", "body", &["line 2 column 3"]),
        case("{\"prompt\": \"x\"", "body", &["line 1 column 14"]),
        case("{\"prompt\": \"x\"} trailing", "body", &["line 1 column 17"]),
        case("{\"prompt\": \"\\ud800\"}", "body", &["line 1"]),
        case("[\"x\"]", "body", &["array", "object"]),
        case("[]", "body", &["array", "object"]),
        case("\"x\"", "body", &["invalid type"]),
        case("null", "body", &["invalid type"]),
        case("{\"prompt\": \"a\", \"prompt\": \"b\"}", "body", &["duplicate field `prompt`"]),
    ]
}

fn wrong_types() -> Vec<Case> {
    vec![
        case(json!({"prompt": 5}), "prompt", &["integer `5`", "string"]),
        case(json!({"prompt": "x", "stream": "yes"}), "stream", &["boolean"]),
        case(json!({"prompt": "x", "max_tokens": "many"}), "max_tokens", &["u32"]),
        case(json!({"prompt": "x", "max_tokens": 1.5}), "max_tokens", &["1.5"]),
        case(json!({"prompt": "x", "max_tokens": -1}), "max_tokens", &["-1"]),
        case(json!({"prompt": "x", "max_tokens": 1_u64 << 40}), "max_tokens", &["1099511627776"]),
        case(json!({"prompt": "x", "timeout": "5"}), "timeout", &["string \"5\""]),
        case(json!({"prompt": "x", "promt": "y"}), "promt", &["unknown field `promt`", "`prompt`"]),
        case(json!({"messages": "x"}), "messages", &["sequence"]),
        case(json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content", &["integer `5`"]),
        case(
            json!({"messages": [{"role": "system", "content": "x"}]}),
            "messages[0].role",
            &["`system`", "`assistant`"],
        ),
        case(json!({"messages": [{"role": "user"}]}), "messages[0]", &["missing field `content`"]),
    ]
}

fn wrong_values() -> Vec<Case> {
    let long_name = "p".repeat(129);
    vec![
        case(json!({}), "prompt", &["missing", "messages"]),
        case(json!({"prompt": "x", "messages": [{"role": "user", "content": "y"}]}), "prompt", &["one of the two"]),
        case(json!({"prompt": ""}), "prompt", &["no text"]),
        case(json!({"prompt": " \n\t"}), "prompt", &["no text"]),
        case(json!({"messages": []}), "messages", &["end with a message of the user"]),
        case(json!({"messages": [{"role": "user", "content": " "}]}), "messages", &["no text"]),
        case(
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}),
            "messages",
            &["end with a message of the user"],
        ),
        case(
            json!({"prompt": "x", "model": "gpt-4"}),
            "model",
            &["\"gpt-4\"", "auto", "sonnet", "smollm2-135m-instruct"],
        ),
        case(json!({"prompt": "x", "model": "claude-opus-4-1"}), "model", &["claude-opus-4-1", "auto"]),
        case(json!({"prompt": "x", "model": ""}), "model", &["auto"]),
        case(json!({"prompt": "x", "timeout": -1}), "timeout", &["above 0", "-1"]),
        case(json!({"prompt": "x", "timeout": 0}), "timeout", &["above 0", "86400"]),
        case(json!({"prompt": "x", "timeout": 86_401}), "timeout", &["at most 86400"]),
        case(json!({"prompt": "x", "max_tokens": 0}), "max_tokens", &["takes 1 to 1000000", "0"]),
        case(json!({"prompt": "x", "temperature": 1.5}), "temperature", &["takes 0 to 1", "1.5"]),
        case(json!({"prompt": "x", "temperature": -0.5}), "temperature", &["-0.5"]),
        case(json!({"prompt": "x", "project_id": ""}), "project_id", &["1 to 128"]),
        case(json!({"prompt": "x", "project_id": "two words"}), "project_id", &["1 to 128"]),
        case(json!({"prompt": "x", "project_id": "prøject"}), "project_id", &["ASCII"]),
        case(json!({"prompt": "x", "project_id": long_name}), "project_id", &["1 to 128"]),
        case(json!({"prompt": "x", "stop_sequences": vec!["s"; 17]}), "stop_sequences", &["at most 16"]),
        case(json!({"prompt": "x", "stop_sequences": [""]}), "stop_sequences", &["1 to 256 bytes"]),
        case(json!({"prompt": "x", "stop_sequences": ["s".repeat(257)]}), "stop_sequences", &["1 to 256 bytes"]),
        case(json!({"prompt": "word ".repeat(9_000)}), "prompt", &["has 9", "8192"]),
        case(json!({"prompt": "x".repeat(1 << 20)}), "prompt", &["at least", "8192"]),
    ]
}

fn assert_refused(answer: &Answer, field: &str, says: &[&str]) {
    let error = answer.error().error;
    assert_eq!((error.code.as_str(), error.field.as_deref()), ("invalid_request", Some(field)), "{error:?}");
    for words in says {
        assert!(error.message.contains(words), "{words:?} is not in {:?}", error.message);
    }
}

async fn assert_all_refused(cases: Vec<Case>) {
    let server = TestServer::start().await;
    let caller = server.caller();
    for (body, field, says) in cases {
        println!("{}", body.chars().take(100).collect::<String>());
        assert_refused(&caller.post("/v1/complete", body).await, field, says);
    }
}

#[tokio::test]
async fn a_malformed_body_is_refused_with_the_place() {
    assert_all_refused(malformed()).await;
}

#[tokio::test]
async fn a_wrong_type_is_refused_with_the_field() {
    assert_all_refused(wrong_types()).await;
}

#[tokio::test]
async fn a_wrong_value_is_refused_with_what_the_field_takes() {
    assert_all_refused(wrong_values()).await;
}

#[tokio::test]
async fn a_number_of_any_size_is_refused_in_words_that_can_be_read() {
    assert_all_refused(vec![
        case(json!({"prompt": "x", "timeout": 1e300}), "timeout", &["at most 86400"]),
        case(json!({"prompt": "x", "temperature": -1e-300}), "temperature", &["takes 0 to 1"]),
        case(json!({"prompt": "x", "top_p": 1.5}), "top_p", &["1.5"]),
        case(json!({"prompt": "x", "top_p": 0}), "top_p", &["above 0"]),
    ])
    .await;
}

#[tokio::test]
async fn a_request_is_refused_the_same_way_as_a_stream() {
    let server = TestServer::start().await;
    for (body, field) in [(json!({"prompt": ""}), "prompt"), (json!({"prompt": "x", "model": "gpt-4"}), "model")] {
        let Err(answer) = server.caller().try_stream(body).await else { panic!("a stream") };
        assert_refused(&answer, field, &[]);
    }
}

async fn complete_with(caller: &Caller, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"prompt": "x", "max_tokens": 1}).to_string();
    let request = json_of(caller.request(Method::POST, "/v1/complete"), body);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    send(request).await.expect("an answer")
}

#[tokio::test]
async fn what_a_page_in_a_browser_could_send_is_refused() {
    let server = TestServer::start().await;
    let port = server.address().port();
    let (other_port, https) = (format!("http://localhost:{}", port ^ 1), format!("https://localhost:{port}"));
    let lookalike = format!("http://localhost.example.com:{port}");
    let cases = [
        ("host", "example.com", "Host"),
        ("host", "localhost.example.com", "Host"),
        ("host", "169.254.169.254", "Host"),
        ("host", "", "Host"),
        ("origin", "http://example.com", "Origin"),
        ("origin", lookalike.as_str(), "Origin"),
        ("origin", other_port.as_str(), "Origin"),
        ("origin", https.as_str(), "Origin"),
        ("origin", "null", "Origin"),
        ("origin", "", "Origin"),
        ("sec-fetch-site", "cross-site", "Sec-Fetch-Site"),
        ("sec-fetch-site", "same-site", "Sec-Fetch-Site"),
        ("x-forwarded-for", "192.0.2.1", "x-forwarded-for"),
        ("x-forwarded-host", "localhost", "x-forwarded-host"),
        ("forwarded", "for=192.0.2.1", "forwarded"),
    ];
    for (name, value, field) in cases {
        println!("{name}: {value}");
        let answer = complete_with(&server.caller(), &[(name, value)]).await;
        assert_refused(&answer, field, &[]);
        // Reading is refused as well: a page may learn nothing either.
        let request = server.caller().request(Method::GET, "/health").header(name, value);
        assert_refused(&send(request).await.expect("an answer"), field, &[]);
    }
}

#[tokio::test]
async fn what_a_program_or_the_own_page_sends_is_taken() {
    let server = TestServer::start().await;
    let port = server.address().port();
    let (localhost, address) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));
    let (own, own_address) = (format!("http://{localhost}"), format!("http://{address}"));
    let v6 = format!("[::1]:{port}");
    let cases = [
        ("host", localhost.as_str()),
        ("host", "LOCALHOST"),
        ("host", v6.as_str()),
        ("origin", own.as_str()),
        ("origin", own_address.as_str()),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("content-type", "application/json; charset=utf-8"),
    ];
    for (name, value) in cases {
        println!("{name}: {value}");
        complete_with(&server.caller(), &[(name, value)]).await.done();
    }
}

#[tokio::test]
async fn a_post_that_does_not_say_json_is_refused_with_the_flag_for_curl() {
    let server = TestServer::start().await;
    let post = || server.caller().request(Method::POST, "/v1/complete").body(json!({"prompt": "x"}).to_string());
    let form = post().header("content-type", "application/x-www-form-urlencoded");
    for request in [post(), form, post().header("content-type", "text/plain")] {
        let answer = send(request).await.expect("an answer");
        assert_refused(&answer, "Content-Type", &["curl", "-H 'content-type: application/json'"]);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_not_found() {
    let server = TestServer::start().await;
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let cases = [
        (get.clone(), "/"),
        (get.clone(), "/metrics"),
        (get.clone(), "/v1/complete/"),
        (post.clone(), "/v1/nothing"),
        (get, "/v1/complete"),
        (delete, "/v1/complete"),
        (post, "/health"),
    ];
    for (method, path) in cases {
        let answer = send(json_of(server.caller().request(method.clone(), path), "{}")).await.expect("an answer");
        let error = answer.error().error;
        assert_eq!((error.code.as_str(), answer.status), ("not_found", 404));
        assert!(error.message.contains(&format!("{method} {path}")) && error.message.contains("/docs"), "{error:?}");
    }
}

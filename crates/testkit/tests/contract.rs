//! What the service says of itself: health, the OpenAPI document and the page that shows it; and the id on every
//! response.

use claude_code_api_testkit::{Answer, Raw, TestServer, json_of, send, until};
use claude_code_api_wire::{ErrorCode, ErrorEnvelope, Health, HealthStatus, ServiceStatus};
use http::Method;
use serde_json::{Value, json};

const PATHS: [&str; 20] = [
    "/v1/batch",
    "/v1/batches",
    "/v1/batches/{id}",
    "/v1/batches/{id}/cancel",
    "/v1/batches/{id}/results",
    "/v1/complete",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/chat/completions",
    "/v1/models",
    "/v1/models/{id}",
    "/v1/usage",
    "/v1/projects",
    "/v1/projects/{id}",
    "/v1/route",
    "/v1/keys",
    "/v1/keys/{id}",
    "/health",
    "/health/live",
    "/health/ready",
];

#[tokio::test]
async fn health_says_how_every_part_is() {
    let server = TestServer::start().await;
    for path in ["/health", "/health/ready"] {
        let answer = server.caller().get(path).await;
        let health: Health = answer.json();
        assert_eq!((answer.status, health.status), (200, HealthStatus::Ok));
        assert_eq!(health.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(health.services["local"].status, ServiceStatus::Ok);
    }
    assert_eq!(server.caller().get("/health/live").await.status, 200);
}

#[tokio::test]
async fn the_document_describes_every_path_and_every_response() {
    let server = TestServer::start().await;
    let answer = server.caller().get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let document: Value = answer.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{document}");
    let paths = document["paths"].as_object().expect("paths");
    let mut described: Vec<&str> = paths.keys().map(String::as_str).collect();
    described.sort_unstable();
    let mut expected = PATHS;
    expected.sort_unstable();
    assert_eq!(described, expected);
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().expect("operations") {
            let responses = operation["responses"].as_object().expect("responses");
            assert!(!responses.is_empty(), "{method} {path} has no response");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}: no summary");
        }
    }
}

/// Every `$ref` below `value`.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(values) => values.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn the_document_refers_to_nothing_that_is_not_in_it() {
    let server = TestServer::start().await;
    let document: Value = server.caller().get("/openapi.json").await.json();
    let references = references(&document);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is outside"));
        assert!(document.pointer(pointer).is_some(), "{reference} is not there");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_outside() {
    let server = TestServer::start().await;
    let answer = server.caller().get("/docs").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
    for outside in ["http://", "https://", "src=", "url(", "@import", "\"//", "'//"] {
        assert!(!answer.body.contains(outside), "{outside} in the page");
    }
}

#[tokio::test]
async fn every_response_carries_an_id_of_its_own() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let (get, post) = (Method::GET, Method::POST);
    let complete = json!({"prompt": "Hello", "max_tokens": 1}).to_string();
    let requests = [
        (get.clone(), "/health", ""),
        (get.clone(), "/health/live", ""),
        (get.clone(), "/health/ready", ""),
        (get.clone(), "/openapi.json", ""),
        (get.clone(), "/docs", ""),
        (get.clone(), "/nothing", ""),
        (Method::HEAD, "/health", ""),
        (Method::OPTIONS, "/v1/complete", "{}"),
        (post.clone(), "/v1/complete", ""),
        (post, "/v1/complete", complete.as_str()),
    ];
    let mut ids = Vec::new();
    for (method, path, body) in requests {
        let request = json_of(caller.request(method, path), body.to_owned());
        // What a caller sends under this name is not taken over: an id names one request.
        let answer: Answer = send(request.header("request-id", "req_forged")).await.expect("an answer");
        assert!(answer.header("request-id").starts_with("req_") && answer.header("request-id") != "req_forged");
        ids.push(answer.header("request-id").to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10);
}

#[tokio::test]
async fn a_call_that_arrives_while_draining_is_told_to_come_back() {
    let mut server = TestServer::start().await;
    let body = json!({"prompt": "Hello", "max_tokens": 1}).to_string();
    let length = format!("Content-Length: {}", body.len());
    let mut raw = Raw::head(server.address(), &[&length, "Expect: 100-continue"]).await;
    // The service asks for the body: it has begun with this request, so that shutdown leaves the connection open.
    assert!(raw.read_until("\r\n\r\n").await.contains("100 Continue"));
    server.begin_shutdown();
    until("the service drains", || server.app().is_draining()).await;
    assert_eq!(server.app().health().status, HealthStatus::Draining);
    raw.write(&body).await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let envelope: ErrorEnvelope = serde_json::from_str(body).expect("an envelope");
    assert_eq!((envelope.error.code, envelope.error.retryable), (ErrorCode::Overloaded, true));
}

#[tokio::test]
async fn health_says_draining_and_is_not_ready() {
    for (path, status) in [("/health", 200), ("/health/ready", 503), ("/health/live", 200)] {
        let mut server = TestServer::start().await;
        let mut raw = Raw::connect(server.address()).await;
        raw.write(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n")).await;
        // Whole exchanges after it: by then the service has read the half request too, and shutdown waits for the rest.
        for _ in 0..10 {
            server.caller().get("/health/live").await;
        }
        server.begin_shutdown();
        until("the service drains", || server.app().is_draining()).await;
        raw.write("\r\n").await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer:?}");
        assert_eq!(answer.contains("\"draining\""), path != "/health/live", "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_read_is_an_envelope_like_any_other_error() {
    let server = TestServer::start().await;
    for (path, field) in [("/v1/models/%FF", "/error/param"), ("/v1/batches/%FF", "/error/field")] {
        let answer = server.caller().get(path).await;
        let body: Value = answer.json();
        assert_eq!((answer.status, &body["error"]["code"]), (400, &json!("invalid_request")), "{path}");
        assert_eq!(body.pointer(field), Some(&json!("id")), "{path}: {body}");
    }
}

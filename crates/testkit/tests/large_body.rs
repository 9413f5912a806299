//! A body above the limit is refused with 413, however it is sent, and its sender gets to read the answer.

use claude_code_api_testkit::{Answer, Raw, TestServer};
use futures_util::stream;
use serde_json::json;

const LARGE_BYTES: usize = 20 << 20;

fn assert_too_large(answer: &Answer) {
    let error = answer.error().error;
    assert_eq!((answer.status, error.code.as_str()), (413, "request_too_large"));
    assert!(error.message.contains("16777216"), "{error:?}");
}

#[tokio::test]
async fn a_body_of_declared_length() {
    let server = TestServer::start().await;
    assert_too_large(&server.caller().post("/v1/complete", "x".repeat(LARGE_BYTES)).await);
}

#[tokio::test]
async fn a_body_in_chunks_of_undeclared_length() {
    let server = TestServer::start().await;
    let chunks = std::iter::repeat_n(Ok::<_, std::convert::Infallible>("x".repeat(1 << 16)), LARGE_BYTES >> 16);
    let body = reqwest::Body::wrap_stream(stream::iter(chunks));
    assert_too_large(&server.caller().post("/v1/complete", body).await);
}

#[tokio::test]
async fn a_body_whose_sender_waits_for_our_word_is_never_sent() {
    let server = TestServer::start().await;
    let length = format!("Content-Length: {LARGE_BYTES}");
    let mut raw = Raw::head(server.address(), &[&length, "Expect: 100-continue"]).await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("request_too_large") && answer.contains("\r\nrequest-id: req_"), "{answer}");
}

#[tokio::test]
async fn a_small_body_whose_sender_waits_for_our_word_gets_it() {
    let server = TestServer::start().await;
    let body = json!({"prompt": "x", "max_tokens": 1}).to_string();
    let length = format!("Content-Length: {}", body.len());
    let mut raw = Raw::head(server.address(), &[&length, "Expect: 100-continue", "Connection: close"]).await;
    assert_eq!(raw.read_until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.write(&body).await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"usage\""), "{answer}");
}

#[tokio::test]
async fn a_body_below_the_limit_is_read() {
    let server = TestServer::start().await;
    // Far beyond the model's context: read, understood, and refused for its meaning and not for its size.
    let answer = server.caller().complete(json!({"prompt": "x".repeat(15 << 20)})).await;
    assert_eq!(answer.error().error.code.as_str(), "invalid_request");
}

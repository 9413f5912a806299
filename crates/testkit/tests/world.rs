//! The test server itself: what it is there to notice, it notices. This file's warnings are made on purpose.

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Raw, TestServer, until};
use serde_json::json;

#[tokio::test]
#[should_panic(expected = "the server left behind")]
async fn a_warning_that_nobody_expects_fails_the_test() {
    let server = TestServer::start().await;
    tracing::warn!(made = "on purpose", "something is off");
    server.shutdown();
}

#[tokio::test]
async fn a_warning_that_is_expected_does_not() {
    let mut server = TestServer::start().await;
    server.expect_logged("something is off");
    tracing::warn!("something is off");
    tracing::info!("and what is below a warning is never one");
    server.shutdown();
}

#[tokio::test]
async fn a_call_that_is_cut_off_by_shutdown_leaves_nothing_behind() {
    let mut server = TestServer::start_with(Settings { drain_timeout: Some(0.1), ..Settings::default() }).await;
    server.expect_logged("the time to drain is over");
    let request = json!({"prompt": "Tell a long story.", "max_tokens": 4_000});
    let mut raw = Raw::complete(server.address(), &request.to_string()).await;
    until("the call runs", || server.local().calls_running() == 1).await;
    server.begin_shutdown();
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("shutting down"), "{answer}");
    server.shutdown();
}

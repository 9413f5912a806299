//! What goes wrong, by its name.

use claude_code_api_testkit::Simulator;
use serde_json::{Value, json};

use crate::socket::{Answer, Socket, answer, asking};

#[tokio::test]
async fn an_error_status_has_its_type_and_says_when_to_come_again() {
    let simulator = Simulator::start();
    let cases = [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ];
    let waits = ["7", "0.5", "Wed, 21 Oct 2026 07:28:00 GMT", "soon", "-3"];
    for ((status, kind), wait) in cases.into_iter().zip(waits.into_iter().cycle()) {
        let script = json!({"status": status, "retry_after": wait, "retry_after_ms": "12", "should_retry": false});
        for stream in [false, true] {
            let refused = answer(&simulator, &script, stream).await;
            assert_eq!((refused.status, &refused.json()["error"]["type"]), (status, &json!(kind)));
            let hints = ["retry-after", "retry-after-ms", "x-should-retry"].map(|name| refused.headers[name].as_str());
            assert_eq!(hints, [wait, "12", "false"]);
            assert_eq!(refused.json()["request_id"], refused.headers["request-id"]);
        }
    }
    for (body, is_it) in [("html", "<html>"), ("empty", ""), ("garbage", "{\"type\":\"err")] {
        let refused = answer(&simulator, &json!({"status": 500, "error_body": body}), false).await;
        assert!(refused.text().starts_with(is_it) && refused.body.is_empty() == (body == "empty"), "{refused:?}");
        assert!(serde_json::from_slice::<Value>(&refused.body).is_err(), "{body}");
    }
    assert!(simulator.bill().is_empty());
}

/// How an answer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In good order.
    Whole,
    /// With the connection, before the body's end.
    Closed,
    /// With a reset.
    Reset,
}

fn end(answer: &Answer) -> End {
    match (answer.is_reset, answer.is_complete) {
        (true, _) => End::Reset,
        (false, true) => End::Whole,
        (false, false) => End::Closed,
    }
}

#[tokio::test]
async fn a_stream_breaks_off_where_it_is_told_to() {
    let simulator = Simulator::start();
    // What goes wrong; how many events come whole; how it ends; how many tokens are charged.
    let cases = [
        (json!({}), 22, End::Whole, 16),
        (json!({"reset_after_events": 0}), 0, End::Reset, 1),
        (json!({"reset_after_events": 5}), 5, End::Reset, 2),
        (json!({"close_after_events": 5}), 5, End::Closed, 2),
        (json!({"end_after_events": 5}), 5, End::Whole, 2),
        (json!({"half_event_after": 0}), 0, End::Closed, 1),
        (json!({"half_event_after": 5, "unknown_events": false}), 5, End::Closed, 3),
        (json!({"garbage_after": 4}), 21, End::Whole, 16),
        (json!({"error_event": {"type": "overloaded_error"}}), 1, End::Whole, 1),
        (json!({"error_event": {"type": "api_error", "after": 1}}), 2, End::Whole, 1),
        (json!({"error_event": {"type": "new_error", "after": 5}}), 6, End::Whole, 2),
        (json!({"no_stop": true}), 21, End::Whole, 16),
        (json!({"stall_after": 2, "stall_ms": 20}), 22, End::Whole, 16),
        (json!({"stall_after": 0, "stall_ms": 25, "stall_ping_ms": 10}), 24, End::Whole, 16),
        (json!({"unknown_fields": true}), 22, End::Whole, 16),
    ];
    for (script, events, ending, tokens) in cases {
        let streamed = answer(&simulator, &script, true).await;
        let billed = simulator.bill().pop().expect("a line").output_tokens;
        assert_eq!(
            (streamed.events().len(), end(&streamed), billed),
            (events, ending, tokens),
            "{script} {streamed:?}"
        );
        if let Some(kind) = script["error_event"]["type"].as_str() {
            let events = streamed.events();
            let last = events.last().expect("the error");
            assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!(kind)));
        }
    }
}

#[tokio::test]
async fn an_answer_breaks_as_a_whole() {
    let simulator = Simulator::start();
    // What goes wrong; the status, if any; how it ends; how many tokens are charged, if any.
    let cases = [
        ("reset_before", 0, End::Reset, None),
        ("reset_after", 0, End::Reset, Some(16)),
        ("garbage", 200, End::Whole, Some(16)),
        ("html", 200, End::Whole, Some(16)),
        ("empty", 200, End::Whole, Some(16)),
        ("half_body", 200, End::Closed, Some(16)),
    ];
    for stream in [false, true] {
        for (fault, status, ending, tokens) in cases {
            let lines = simulator.bill().len();
            let broken = answer(&simulator, &json!({"fault": fault}), stream).await;
            assert_eq!((broken.status, end(&broken)), (status, ending), "{fault} {broken:?}");
            let billed: Vec<u64> = simulator.bill()[lines..].iter().map(|billed| billed.output_tokens).collect();
            assert_eq!(billed.first().copied(), tokens, "{fault}");
            assert!(serde_json::from_slice::<Value>(&broken.body).is_err(), "{fault}");
        }
    }
    let whole = answer(&simulator, &json!({"fault": "whole"}), true).await;
    assert_eq!(
        (whole.headers["content-type"].as_str(), &whole.json()["type"]),
        ("application/json", &json!("message"))
    );
    let page = answer(&simulator, &json!({"fault": "html"}), true).await;
    assert!(page.headers["content-type"].starts_with("text/html") && page.body.starts_with(b"<html>"), "{page:?}");
}

#[tokio::test]
async fn what_goes_wrong_goes_wrong_as_often_as_it_is_to() {
    let simulator = Simulator::start();
    let faults = [
        json!({"status": 529, "retry_after": "1"}),
        json!({"fault": "reset_after"}),
        json!({"reset_after_events": 3}),
        json!({"close_after_events": 3}),
        json!({"end_after_events": 3}),
        json!({"half_event_after": 3}),
        json!({"garbage_after": 3}),
        json!({"error_event": {"type": "api_error"}}),
        json!({"stall_after": 3, "stall_ms": 20, "stall_ping_ms": 5}),
        json!({"no_stop": true}),
        json!({"unknown_events": true}),
        json!({"comments": true, "crlf": true}),
        json!({"content_type": "text/plain"}),
    ];
    let usual = answer(&simulator, &json!({"faults": 0, "stop_reason": "end_turn"}), true).await;
    for mut script in faults {
        (script["faults"], script["stop_reason"]) = (json!(2), json!("end_turn"));
        let mut went_wrong = Vec::new();
        for _ in 0..3 {
            let streamed = answer(&simulator, &script, true).await;
            let lines = streamed.text().lines().count();
            let is_usual = lines == usual.text().lines().count() && streamed.names() == usual.names();
            went_wrong.push(!is_usual || streamed.headers["content-type"] != usual.headers["content-type"]);
        }
        assert_eq!(went_wrong, [true, true, false], "{script}");
    }
    for output in [150, 100] {
        answer(&simulator, &json!({"beyond": true, "output": 150, "faults": 1}), true).await;
        assert_eq!(simulator.bill().last().map(|billed| billed.output_tokens), Some(output), "of 100 at most");
    }
}

#[tokio::test]
async fn a_text_without_an_end_is_sent_and_charged_until_nobody_reads_it() {
    let simulator = Simulator::start();
    for stream in [true, false] {
        let script = json!({"endless": true, "tokens_per_delta": 50, "bytes_per_delta": 5_000});
        let mut socket = Socket::ask(&simulator, &asking(&script, stream)).await;
        let word = if stream { "word word" } else { "xxxxxxxx" };
        socket.read_until(word, 10_000).await;
        drop(socket);
        let charged = || simulator.bill().last().map_or(0, |billed| billed.output_tokens);
        assert!(charged() > 100, "{}", charged());
        claude_code_api_testkit::until("nothing is open", || simulator.open_streams() == 0).await;
    }
}

#[tokio::test]
async fn what_the_api_does_not_take_is_refused() {
    let simulator = Simulator::start();
    let whole = asking(&json!({}), false);
    for field in ["model", "max_tokens", "messages"] {
        let mut less = whole.clone();
        less.as_object_mut().expect("an object").remove(field);
        let refused = Socket::ask(&simulator, &less).await.answer().await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["type"]),
            (400, &json!("invalid_request_error")),
            "{field}"
        );
    }
    let mut long = whole;
    long["system"] = "x".repeat(33 << 20).into();
    let refused = Socket::ask(&simulator, &long).await.answer().await;
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (413, &json!("request_too_large")));
    assert!(simulator.bill().is_empty() && simulator.requests().is_empty());
}

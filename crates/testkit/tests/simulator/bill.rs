//! What is charged, above all where a client goes away.

use std::time::Duration;

use claude_code_api_testkit::{Simulator, simulator::Billed, until};
use serde_json::json;

use crate::socket::{Socket, asking};

const DELTA: &str = "content_block_delta\"";

/// How many tokens more than were read may have been on the way.
const IN_FLIGHT_MAX: usize = 10;

fn output(simulator: &Simulator) -> usize {
    let billed = simulator.bill().pop().expect("a line").output_tokens;
    usize::try_from(billed).expect("few")
}

/// Waits until the bill does not grow any more.
async fn settled(simulator: &Simulator) -> usize {
    until("no stream is open", || simulator.open_streams() == 0).await;
    let mut before = usize::MAX;
    while before != output(simulator) {
        before = output(simulator);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    before
}

#[tokio::test]
async fn a_stream_that_its_client_cuts_off_is_charged_as_far_as_it_was_generated() {
    let simulator = Simulator::start();
    for (lag, output) in [(0, 100), (30, 100), (500, 40)] {
        let script = json!({"output": output, "token_ms": 5, "lag_tokens": lag, "input": 77});
        let mut socket = Socket::ask(&simulator, &asking(&script, true)).await;
        socket.read_until(DELTA, 8).await;
        assert_eq!(simulator.open_streams(), 1);
        let read = socket.so_far().text().matches(DELTA).count();
        drop(socket);
        let charged = settled(&simulator).await;
        let range = (read + lag).min(output)..=(read + lag + IN_FLIGHT_MAX).min(output);
        println!("{read} read, {lag} of lag, {charged} charged");
        assert!(range.contains(&charged), "{charged} is not in {range:?}");
        assert_eq!(simulator.bill().last().expect("a line").input_tokens, 77);
    }
}

#[tokio::test]
async fn who_goes_away_from_a_silent_stream_is_noticed_at_once() {
    let simulator = Simulator::start();
    let cases = [
        (json!({"stall_after": 3}), 3),
        (json!({"stall_after": 0, "stall_ping_ms": 60_000}), 0),
        (json!({"token_ms": 60_000}), 0),
        (json!({"output": 90, "thinking": {"tokens": 90, "display": "omitted"}, "token_ms": 60_000}), 0),
    ];
    for (script, deltas) in cases {
        let mut socket = Socket::ask(&simulator, &asking(&script, true)).await;
        socket.read_until("\"ping\"", 1).await;
        socket.read_until(DELTA, deltas).await;
        until("it is open", || simulator.open_streams() == 1).await;
        drop(socket);
        let noticed = until("it is noticed", || simulator.open_streams() == 0).await;
        assert!(noticed < Duration::from_secs(1), "{script}: {noticed:?}");
        assert_eq!(output(&simulator), deltas.max(1), "{script}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_event_pays_for_the_input_and_before_the_work_for_nothing() {
    let simulator = Simulator::start();
    let (late, waiting) = (json!({"first_ms": 60_000}), json!({"delay_ms": 60_000}));
    let mut socket = Socket::ask(&simulator, &asking(&late, true)).await;
    socket.read_until("\r\n\r\n", 1).await;
    drop(socket);
    until("it is noticed", || simulator.open_streams() == 0).await;
    assert_eq!(output(&simulator), 0);
    let socket = Socket::ask(&simulator, &asking(&waiting, true)).await;
    until("it has come", || simulator.requests().len() == 2).await;
    drop(socket);
    assert_eq!(simulator.bill().len(), 1);
}

#[tokio::test]
async fn a_whole_answer_is_charged_as_it_is_generated_too() {
    let simulator = Simulator::start();
    let script = json!({"output": 100, "token_ms": 20});
    let socket = Socket::ask(&simulator, &asking(&script, false)).await;
    until("five tokens are there", || simulator.bill().last().is_some_and(|billed| billed.output_tokens >= 5)).await;
    drop(socket);
    let charged = settled(&simulator).await;
    assert!((5..100).contains(&charged), "{charged}");
}

#[tokio::test]
async fn caches_tiers_and_what_is_beyond_every_bound_are_reported_and_charged() {
    let simulator = Simulator::start();
    let script = json!({
        "input": 5_000_000_000_u64, "output": 150, "beyond": true, "cache_write": 10, "cache_write_1h": 20, "cache_read": 30,
        "service_tier": "priority", "model": "claude-tomorrow-9",
    });
    let said = Socket::ask(&simulator, &asking(&script, false)).await.answer().await.json();
    assert_eq!((&said["usage"]["service_tier"], &said["model"]), (&json!("priority"), &json!("claude-tomorrow-9")));
    assert_eq!(
        (&said["usage"]["input_tokens"], &said["usage"]["output_tokens"]),
        (&json!(4_999_999_940_u64), &json!(150))
    );
    let billed = Billed {
        model: "claude-tomorrow-9".to_owned(),
        input_tokens: 5_000_000_000,
        output_tokens: 150,
        cache_write_5m_tokens: 10,
        cache_write_1h_tokens: 20,
        cache_read_tokens: 30,
        batch: false,
    };
    assert_eq!(simulator.bill(), [billed]);
}

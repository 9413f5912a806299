//! What is charged, above all where a client goes away.

use std::time::Duration;

use claude_code_api_testkit::{
    Simulator,
    simulator::{Billed, KEY},
    until,
};
use serde_json::{Value, json};

use crate::socket::{Answer, Socket, asking};

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

async fn batches(simulator: &Simulator, what: &str, body: &Value) -> Answer {
    let (method, path) = what.split_once(' ').expect("a method");
    Socket::send(simulator, &format!("{method} /v1/messages/batches{path}"), KEY, &body.to_string())
        .await
        .answer()
        .await
}

#[tokio::test]
async fn the_items_of_a_batch_end_each_by_its_script() {
    let simulator = Simulator::start();
    let scripts =
        [json!({"output": 5}), json!({"status": 400}), json!({"item": "expired"}), json!({"item": "canceled"})];
    let item = |(index, script)| json!({"custom_id": format!("item-{index}"), "params": asking(script, false)});
    let items: Vec<Value> = scripts.iter().enumerate().map(item).collect();
    simulator.delay_batches(1_000);
    let canceled = batches(&simulator, "POST ", &json!({"requests": items})).await.json();
    let canceled = canceled["id"].as_str().expect("an id").to_owned();
    simulator.delay_batches(20);
    let made = batches(&simulator, "POST ", &json!({"requests": items})).await.json();
    assert_eq!((&made["processing_status"], &made["request_counts"]["processing"]), (&json!("in_progress"), &json!(4)));
    let id = made["id"].as_str().expect("an id");
    let canceling = batches(&simulator, &format!("POST /{canceled}/cancel"), &json!({})).await.json();
    assert_eq!(canceling["processing_status"], "canceling");
    assert_eq!(batches(&simulator, &format!("GET /{canceled}/results"), &Value::Null).await.status, 404);
    let ended = async |id: &str| loop {
        let told = batches(&simulator, &format!("GET /{id}"), &Value::Null).await.json();
        if told["processing_status"] == "ended" {
            return told;
        }
    };
    let counts = json!({"processing": 0, "succeeded": 1, "errored": 1, "canceled": 1, "expired": 1});
    assert_eq!(ended(id).await["request_counts"], counts);
    let results = batches(&simulator, &format!("GET /{id}/results"), &Value::Null).await.text();
    let results: Vec<Value> = results.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&results[3]["custom_id"], &results[3]["result"]["type"]), (&json!("item-0"), &json!("succeeded")));
    assert_eq!(results[3]["result"]["message"]["usage"]["service_tier"], "batch");
    assert_eq!(results[2]["result"]["error"]["error"]["type"], "invalid_request_error");
    assert_eq!(ended(&canceled).await["request_counts"]["canceled"], 4);
    let all = batches(&simulator, "GET ", &Value::Null).await.json();
    assert_eq!(all["data"].as_array().map(Vec::len), Some(2));
    let bill = simulator.bill();
    assert!(bill.len() == 1 && bill[0].batch && bill[0].output_tokens == 5, "{bill:?}");
}

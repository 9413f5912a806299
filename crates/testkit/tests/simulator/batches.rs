//! Message Batches: what is taken, how they go on and end, and what goes wrong with them.

use std::collections::BTreeMap;

use claude_code_api_testkit::{
    Simulator,
    simulator::{Batch, BatchFault, KEY},
    until,
};
use serde_json::{Value, json};

use crate::socket::{Answer, Socket, asking};

async fn ask(simulator: &Simulator, what: &str, body: &Value) -> Answer {
    let (method, path) = what.split_once(' ').expect("a method");
    let what = format!("{method} /v1/messages/batches{path}");
    Socket::send(simulator, &what, KEY, &body.to_string()).await.answer().await
}

/// A batch with an item of each script.
fn scripted(scripts: &[Value]) -> Value {
    let item = |(place, script)| json!({"custom_id": format!("item-{place}"), "params": asking(script, false)});
    json!({"requests": scripts.iter().enumerate().map(item).collect::<Vec<_>>()})
}

async fn make(simulator: &Simulator, scripts: &[Value]) -> String {
    let made = ask(simulator, "POST ", &scripted(scripts)).await.json();
    made["id"].as_str().expect("an id").to_owned()
}

async fn get(simulator: &Simulator, path: &str) -> Answer {
    ask(simulator, &format!("GET {path}"), &Value::Null).await
}

async fn ended(simulator: &Simulator, id: &str) -> Value {
    until("it has ended", || simulator.batches().iter().any(|batch| batch.id == id && batch.ended_at.is_some())).await;
    get(simulator, &format!("/{id}")).await.json()
}

/// The results, by custom id.
async fn results(simulator: &Simulator, id: &str) -> BTreeMap<String, Value> {
    let told = get(simulator, &format!("/{id}/results")).await;
    assert_eq!((told.status, told.headers["content-type"].as_str()), (200, "application/x-jsonl"));
    let line = |line| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        (line["custom_id"].as_str().expect("an id").to_owned(), line["result"].take())
    };
    told.text().lines().map(line).collect()
}

#[tokio::test]
async fn the_items_of_a_batch_end_each_by_its_script() {
    let simulator = Simulator::start();
    let scripts = [
        json!({"output": 5}),
        json!({"status": 400}),
        json!({"item": "errored"}),
        json!({"status": 529}),
        json!({"item": "expired"}),
        json!({"item": "canceled"}),
    ];
    let mut batch = scripted(&scripts);
    batch["requests"][5]["params"]["stream"] = json!(true);
    batch["requests"].as_array_mut().expect("items").push(json!({"custom_id": "item-6", "params": {"model": "m"}}));
    let made = ask(&simulator, "POST ", &batch).await.json();
    assert_eq!((&made["processing_status"], &made["request_counts"]["processing"]), (&json!("in_progress"), &json!(7)));
    assert_eq!((&made["ended_at"], &made["results_url"]), (&Value::Null, &Value::Null));
    let id = made["id"].as_str().expect("an id");
    let told = ended(&simulator, id).await;
    let counts = json!({"processing": 0, "succeeded": 1, "errored": 5, "canceled": 0, "expired": 1});
    assert_eq!((&told["processing_status"], &told["request_counts"]), (&json!("ended"), &counts));
    let results = results(&simulator, id).await;
    let of_item = |place: usize| &results[&format!("item-{place}")];
    assert_eq!((&of_item(0)["type"], &of_item(4)["type"]), (&json!("succeeded"), &json!("expired")));
    assert_eq!(of_item(0)["message"]["usage"]["service_tier"], "batch");
    for (place, kind) in [
        (1, "invalid_request_error"),
        (2, "api_error"),
        (3, "overloaded_error"),
        (5, "invalid_request_error"),
        (6, "invalid_request_error"),
    ] {
        let error = &of_item(place)["error"];
        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!(kind)), "{error}");
    }
    let bill = simulator.bill();
    assert!(bill.len() == 1 && bill[0].batch && bill[0].output_tokens == 5, "{bill:?}");
}

#[tokio::test]
async fn an_item_that_fails_for_a_while_succeeds_when_it_is_sent_again() {
    let simulator = Simulator::start();
    let script = [json!({"item": "errored", "status": 529, "faults": 2})];
    let mut ends = Vec::new();
    for _ in 0..3 {
        let id = make(&simulator, &script).await;
        ended(&simulator, &id).await;
        ends.push(results(&simulator, &id).await["item-0"]["type"].clone());
    }
    assert_eq!(ends, ["errored", "errored", "succeeded"]);
}

#[tokio::test]
async fn a_cancel_leaves_what_had_its_turn_and_lets_the_item_end_that_has_it() {
    let simulator = Simulator::start();
    let scripts: Vec<Value> = (1..=50).map(|output| json!({"output": output, "delay_ms": 20})).collect();
    simulator.delay_batches(0);
    let id = make(&simulator, &scripts).await;
    until("three are done", || simulator.bill().len() >= 3).await;
    let told = get(&simulator, &format!("/{id}")).await.json();
    assert_eq!(simulator.batches()[0].polls, 1);
    assert_eq!(told["request_counts"]["processing"], 50, "it counts no item before the end of all");
    assert_eq!(get(&simulator, &format!("/{id}/results")).await.status, 404);
    let canceling = ask(&simulator, &format!("POST /{id}/cancel"), &json!({})).await.json();
    assert_eq!(canceling["processing_status"], "canceling");
    let counts = ended(&simulator, &id).await["request_counts"].clone();
    let succeeded = counts["succeeded"].as_u64().expect("a count");
    assert_eq!((succeeded, counts["canceled"].as_u64()), (simulator.bill().len() as u64, Some(50 - succeeded)));
    assert!((3..50).contains(&succeeded), "{counts}");
    let again = ask(&simulator, &format!("POST /{id}/cancel"), &json!({})).await;
    assert_eq!((again.status, &again.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    assert!(simulator.batches()[0].cancel_initiated_at.is_some());
}

#[tokio::test]
async fn a_cancel_ends_the_wait_for_a_turn() {
    let simulator = Simulator::start();
    simulator.delay_batches(86_400_000);
    let id = make(&simulator, &[json!({}), json!({})]).await;
    ask(&simulator, &format!("POST /{id}/cancel"), &json!({})).await;
    assert_eq!(ended(&simulator, &id).await["request_counts"]["canceled"], 2);
    assert!(simulator.bill().is_empty());
}

#[tokio::test]
async fn what_is_no_batch_is_refused_by_name() {
    let simulator = Simulator::start();
    let item = |id: Value| json!({"custom_id": id, "params": asking(&json!({}), false)});
    for (requests, field) in [
        (json!(null), "requests: "),
        (json!([]), "requests: "),
        (json!([item(json!("a")), item(json!(7))]), "requests.1.custom_id"),
        (json!([item(json!(""))]), "requests.0.custom_id"),
        (json!([item(json!("a".repeat(65)))]), "requests.0.custom_id"),
        (json!([item(json!("a.b"))]), "requests.0.custom_id"),
        (json!([item(json!("a")), item(json!("b")), item(json!("a"))]), "requests.2.custom_id"),
        (json!([{"custom_id": "a"}]), "requests.0.params"),
    ] {
        let refused = ask(&simulator, "POST ", &json!({"requests": requests})).await;
        let error = refused.json()["error"].clone();
        assert_eq!((refused.status, &error["type"]), (400, &json!("invalid_request_error")), "{requests}");
        assert!(error["message"].as_str().expect("text").starts_with(field), "{error}");
    }
    let taken = ask(&simulator, "POST ", &json!({"requests": [item(json!("a_-Z9".repeat(12)))]})).await;
    assert_eq!((taken.status, simulator.batches().len()), (200, 1));
}

#[tokio::test]
async fn the_list_comes_in_pages_the_newest_first() {
    let simulator = Simulator::start();
    assert_eq!(get(&simulator, "").await.json()["first_id"], Value::Null);
    let mut ids = Vec::new();
    for _ in 0..25 {
        ids.insert(0, make(&simulator, &[json!({})]).await);
    }
    assert!(!ids.is_sorted() && !ids.iter().rev().is_sorted(), "ids tell nothing of time: {ids:?}");
    let (third, last) = (&ids[2], &ids[24]);
    // What is asked for; which of all come; whether there is more.
    for (query, page, has_more) in [
        (String::new(), 0..20, true),
        ("?limit=25".to_owned(), 0..25, false),
        (format!("?after_id={third}&limit=4"), 3..7, true),
        (format!("?limit=1000&after_id={third}"), 3..25, false),
        (format!("?after_id={last}"), 25..25, false),
        (format!("?before_id={last}&limit=4"), 20..24, true),
        (format!("?before_id={third}&limit=4"), 0..2, false),
    ] {
        let told = get(&simulator, &query).await.json();
        let listed: Vec<&str> =
            told["data"].as_array().expect("a list").iter().filter_map(|batch| batch["id"].as_str()).collect();
        let page = &ids[page];
        assert_eq!(
            (listed, &told["has_more"]),
            (page.iter().map(String::as_str).collect(), &json!(has_more)),
            "{query}"
        );
        assert_eq!((&told["first_id"], &told["last_id"]), (&json!(page.first()), &json!(page.last())), "{query}");
    }
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?after_id=msgbatch_0", "?after_id=a&before_id=b"] {
        assert_eq!(get(&simulator, query).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn a_batch_can_be_listed_later_than_it_is_there() {
    let simulator = Simulator::start();
    simulator.delay_listing_batches(200);
    let id = make(&simulator, &[json!({})]).await;
    let begun = std::time::Instant::now();
    assert_eq!(get(&simulator, "").await.json()["data"], json!([]));
    assert_eq!(get(&simulator, &format!("/{id}")).await.status, 200);
    while get(&simulator, "").await.json()["data"] == json!([]) {
        assert!(begun.elapsed() < claude_code_api_testkit::BOUND, "it is listed");
    }
    assert!(begun.elapsed().as_millis() >= 150, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_batch_can_be_dated_by_a_clock_that_is_behind() {
    let simulator = Simulator::start();
    make(&simulator, &[json!({})]).await;
    simulator.date_batches_back(60_000);
    make(&simulator, &[json!({})]).await;
    let listed = get(&simulator, "").await.json();
    let created_at = |place: usize| listed["data"][place]["created_at"].as_str().expect("a moment");
    assert!(created_at(0) < created_at(1), "the newest comes first nevertheless: {listed}");
}

#[tokio::test]
async fn making_a_batch_goes_wrong_before_it_is_made_or_after() {
    let simulator = Simulator::start();
    // What goes wrong; the status, if any; whether it is reset; whether it is made.
    let cases = [
        (BatchFault::StatusBefore(429), 429, false, false),
        (BatchFault::StatusBefore(400), 400, false, false),
        (BatchFault::StatusAfter(500), 500, false, true),
        (BatchFault::ResetBefore, 0, true, false),
        (BatchFault::ResetAfter, 0, true, true),
    ];
    simulator.fail_batches(cases.map(|(fault, ..)| fault).into());
    assert_eq!(ask(&simulator, "POST ", &json!({"requests": []})).await.status, 400, "which takes no fault");
    for (fault, status, is_reset, is_made) in cases {
        let before = simulator.batches().len();
        let answer = ask(&simulator, "POST ", &scripted(&[json!({})])).await;
        assert_eq!((answer.status, answer.is_reset), (status, is_reset), "{fault:?}");
        assert_eq!(answer.headers.contains_key("retry-after"), status == 429, "{fault:?}");
        assert_eq!(simulator.batches().len() - before, usize::from(is_made), "{fault:?}");
    }
    make(&simulator, &[json!({})]).await;
    let made: Vec<Batch> = simulator.batches();
    assert!(made.len() == 3 && made.iter().all(|batch| batch.items[0].custom_id == "item-0"), "{made:?}");
    until("all have ended", || simulator.batches().iter().all(|batch| batch.ended_at.is_some())).await;
    assert_eq!(simulator.bill().len(), 3, "whoever did not hear of it pays too");
}

#[tokio::test]
async fn a_batch_is_made_in_the_middle_of_the_time_that_it_takes() {
    let simulator = Simulator::start();
    simulator.delay_making_batches(200);
    let body = scripted(&[json!({})]).to_string();
    let leave = async |made: usize| {
        let socket = Socket::send(&simulator, "POST /v1/messages/batches", KEY, &body).await;
        until("it is made", || simulator.batches().len() == made).await;
        drop(socket);
    };
    leave(0).await;
    leave(1).await;
    assert_eq!(ask(&simulator, "POST ", &scripted(&[json!({})])).await.status, 200);
    assert_eq!(simulator.batches().len(), 2, "who leaves before has none made");
}

#[tokio::test]
async fn polls_are_refused_and_results_break_as_often_as_they_are_to() {
    let simulator = Simulator::start();
    let id = make(&simulator, &[json!({}), json!({})]).await;
    ended(&simulator, &id).await;
    simulator.refuse_polls(vec![500, 429, 529]);
    let paths = [String::new(), format!("/{id}"), format!("/{id}/results")];
    for (path, status) in paths.iter().zip([500, 429, 529]) {
        let refused = get(&simulator, path).await;
        assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (status, status == 429));
    }
    simulator.break_results(2);
    let mut is_whole = Vec::new();
    for _ in 0..3 {
        assert_eq!(get(&simulator, &paths[1]).await.status, 200, "a state does not break");
        is_whole.push(get(&simulator, &paths[2]).await.is_complete);
    }
    assert_eq!(is_whole, [false, false, true]);
    assert_eq!(results(&simulator, &id).await.len(), 2);
}

#[tokio::test]
async fn an_item_is_charged_half_of_what_a_message_is() {
    let simulator = Simulator::start();
    let script = json!({"input": 101, "output": 7, "cache_write": 10, "cache_read": 30});
    Socket::ask(&simulator, &asking(&script, false)).await.answer().await;
    let message = simulator.billed_nanos();
    // 61 tokens in at 2 USD for a million, 10 written to the cache at 2.5, 30 read from it at 0.1, and 7 out at 10.
    assert_eq!(message, 122_000 + 25_000 + 3_000 + 70_000);
    let id = make(&simulator, &[script]).await;
    ended(&simulator, &id).await;
    assert_eq!(simulator.billed_nanos(), message + message / 2);
}

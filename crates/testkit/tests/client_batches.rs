//! Stored batches of the Rust client: against the real service on a simulated Claude, and against answers that the test writes out.

use std::{collections::BTreeSet, time::Duration};

use claude_code_api_client::{
    Batch, BatchEvent, BatchJobStatus, BatchPrompt, BatchResults, Client, Error, ErrorCode, ErrorKind, blocking,
};
use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{
    BOUND, Simulator, TestServer, answering_in_turn, in_time, json_answer, stored_batch, until,
};
use serde_json::{Value, json};

fn client(url: &str) -> Client {
    Client::builder().base_url(url).retry_delay(Duration::from_millis(1)).build().expect("a client")
}

async fn all(mut results: BatchResults) -> (Vec<usize>, Option<Error>) {
    let mut places = Vec::new();
    loop {
        match in_time("a result, or the end", BOUND, results.next()).await {
            None => return (places, None),
            Some(Ok(event)) => places.push(event.index),
            Some(Err(error)) => return (places, Some(error)),
        }
    }
}

#[tokio::test]
async fn a_batch_is_stored_waited_for_and_read() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batches = Client::builder().base_url(server.base_url()).project_id("ours").build().expect("a client").batches();
    let prompts = [BatchPrompt::with_id("row-1", "one sim:{\"delay_ms\": 300}"), "two".into(), "three".into()];
    let job = batches.create(Batch::new(prompts).model("haiku").max_tokens(50)).await.expect("stored");
    assert_eq!((job.status, job.total, &*job.project_id), (BatchJobStatus::Running, 3, "ours"));
    let mut seen = Vec::new();
    let ended = batches.wait(&job.id, None, |job| seen.push(job.completed)).await.expect("it ends");
    assert_eq!((ended.status, ended.completed, seen.last()), (BatchJobStatus::Ended, 3, Some(&3)));
    assert!(seen.len() > 1 && seen.is_sorted(), "{seen:?}");
    let (places, error) = all(batches.results(&job.id)).await;
    assert!(error.is_none() && places.last() == Some(&0), "in the order in which they came: {places:?} {error:?}");
    assert_eq!(all(batches.results_after(&job.id, 2)).await, (vec![0], None));
    assert_eq!(batches.get(&job.id).await.expect("still there"), ended);
    let listed = batches.list(None, None).await.expect("listed");
    assert_eq!((listed.batches, listed.next_before), (vec![ended], None));
    assert!(batches.list(Some("theirs"), None).await.expect("listed").batches.is_empty());
}

#[tokio::test]
async fn an_economy_batch_costs_half_of_what_another_does() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batches = client(&server.base_url()).batches();
    let cost = async |economy| {
        let prompts = ["one sim:{\"input\": 100, \"output\": 20}", "two sim:{\"input\": 50, \"output\": 10}"];
        let batch = Batch::new(prompts).model("haiku").max_tokens(50).economy(economy);
        let job = batches.create(batch).await.expect("stored");
        let ended = batches.wait(&job.id, None, |_| {}).await.expect("it ends");
        assert_eq!((ended.economy, ended.status, ended.completed), (economy, BatchJobStatus::Ended, 2));
        ended.total_cost_nanos
    };
    // Haiku, at 0.10 and 0.50 USD for a million tokens.
    assert_eq!((cost(false).await, cost(true).await), (15_000 + 15_000, 7_500 + 7_500));
}

#[tokio::test]
async fn a_batch_outlives_who_waits_for_it_until_it_is_cancelled() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batches = client(&server.base_url()).batches();
    let endless = "sim:{\"endless\": true, \"token_ms\": 50}";
    let job = batches.create(Batch::new(["one", endless]).model("haiku")).await.expect("stored");
    let error = batches.wait(&job.id, Some(Duration::from_secs(1)), |_| {}).await.expect_err("it does not end");
    assert!(error.is_timeout() && error.message().contains("1 s, and goes on"), "{error}");
    assert_eq!((simulator.open_streams(), batches.get(&job.id).await.expect("there").completed), (1, 1));
    batches.cancel(&job.id).await.expect("cancelled");
    let ended = batches.wait(&job.id, None, |_| {}).await.expect("it ends");
    assert_eq!((ended.status, ended.completed, ended.failed), (BatchJobStatus::Cancelled, 1, 0));
    until("nothing runs any more", || simulator.open_streams() == 0).await;
}

#[tokio::test]
async fn what_is_no_batch_is_said_so() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batches = client(&server.base_url()).batches();
    let unknown = "batch_01a21378be8f7744b64a5b978ca924f3";
    let code = |error: Error| (error.code(), error.attempts());
    let not_found = (Some(ErrorCode::NotFound), 1);
    assert_eq!(code(batches.get(unknown).await.expect_err("unknown")), not_found);
    assert_eq!(code(batches.cancel(unknown).await.expect_err("unknown")), not_found);
    assert_eq!(code(batches.wait(unknown, None, |_| {}).await.expect_err("unknown")), not_found);
    assert_eq!(code(all(batches.results(unknown)).await.1.expect("unknown")), not_found);
    for id in ["", "..", "../projects", "a/b", "a?b", "bätch"] {
        let error = batches.get(id).await.expect_err("no id");
        assert!(error.kind() == ErrorKind::Configuration && error.message().starts_with("id: "), "{error}");
        assert_eq!(all(batches.results(id)).await.1.map(|error| error.kind()), Some(ErrorKind::Configuration));
    }
    let refused = batches.create(Batch::new(["Hi"]).model("gpt-4")).await.expect_err("no such model");
    assert!(refused.is_invalid_request(), "{refused}");
    batches.create(Batch::new(["Hi"]).timeout(Duration::ZERO)).await.expect_err("no time");
}

#[tokio::test]
async fn the_blocking_client_has_stored_batches_too() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batches = blocking::Client::from(client(&server.base_url())).batches();
    let run = move || -> Result<(), Error> {
        let batch = Batch::new(["a", "b", "c"]).model("haiku").idempotency_key("mine");
        let job = batches.create(batch.clone())?;
        assert_eq!(batches.create(batch)?.id, job.id, "the same batch, sent again");
        assert_eq!(batches.wait(&job.id, None, |_| {})?.completed, 3);
        let places = batches.results(&job.id)?.map(|event| event.map(|event| event.index));
        assert_eq!(places.collect::<Result<BTreeSet<_>, Error>>()?, BTreeSet::from([0, 1, 2]));
        assert_eq!(batches.results_after(&job.id, 1)?.count(), 2);
        assert_eq!(batches.cancel(&job.id)?, batches.get(&job.id)?, "it has ended");
        assert_eq!(batches.list(None, Some(&job.id))?.batches.len(), 0);
        Ok(())
    };
    tokio::task::spawn_blocking(run).await.expect("no panic").expect("no error");
    assert_eq!(simulator.bill().len(), 3);
}

// Answers that the test writes out.

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
const LAST: &str = "0\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn line(index: usize) -> String {
    let event = json!({"index": index, "id": null, "prompt": "p", "status": "completed", "content": "c"});
    serde_json::from_value::<BatchEvent>(event.clone()).expect("a result");
    format!("{event}\n")
}

fn overloaded() -> String {
    "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
}

fn asked_after(requests: &[String]) -> Vec<String> {
    let path = |request: &String| request.split(' ').nth(1).map(str::to_owned);
    requests.iter().filter_map(path).filter_map(|path| Some(path.split_once("after=")?.1.to_owned())).collect()
}

#[tokio::test]
async fn a_lost_connection_goes_on_after_what_came_and_tells_no_result_twice() {
    let cut = &line(3)[..20];
    let answers = vec![
        overloaded(),
        CHUNKED.to_owned() + &chunk(&(line(7) + &line(0))),
        CHUNKED.to_owned() + &chunk(&line(2)) + &chunk(cut),
        // The end of the body is one, and yet the line is none.
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{cut}"),
        CHUNKED.to_owned() + &chunk(cut) + &chunk(&line(3)[20..]) + LAST,
    ];
    let (url, requests) = answering_in_turn(answers).await;
    assert_eq!(all(client(&url).batches().results("batch_1")).await, (vec![7, 0, 2, 3], None));
    let requests = requests.lock().expect("no panic").clone();
    assert_eq!(asked_after(&requests), ["0", "0", "2", "3", "3"]);
}

#[tokio::test]
async fn results_that_break_off_again_and_again_are_an_error_and_never_the_end() {
    let broken = CHUNKED.to_owned() + &chunk(&line(0));
    let nothing = CHUNKED.to_owned();
    let (url, requests) = answering_in_turn(vec![broken, nothing.clone(), nothing]).await;
    let (places, error) = all(client(&url).batches().results_after("batch_1", 4)).await;
    let error = error.expect("attempts end");
    assert!(error.is_connection() && error.attempts() == 3 && places == [0], "{error} {places:?}");
    assert_eq!(asked_after(&requests.lock().expect("no panic").clone()), ["4", "5", "5"]);
    let (url, _) = answering_in_turn(vec![CHUNKED.to_owned() + &chunk("nonsense\n") + LAST]).await;
    let (_, error) = all(client(&url).batches().results("batch_1")).await;
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::UnexpectedResponse));
}

#[tokio::test]
async fn every_attempt_to_store_a_batch_has_the_same_key() {
    let refused = "HTTP/1.1 400 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    let (url, requests) = answering_in_turn(vec![overloaded(), String::new(), refused]).await;
    client(&url).batches().create(["a", "b"]).await.expect_err("refused in the end");
    let requests = requests.lock().expect("no panic").clone();
    let key = |request: &String| request.lines().find(|line| line.starts_with("idempotency-key: ")).map(str::to_owned);
    assert!(requests.len() == 3 && key(&requests[0]).is_some(), "{requests:?}");
    assert!(requests.iter().all(|request| key(request) == key(&requests[0])), "{requests:?}");
}

#[tokio::test]
async fn economy_is_sent_where_it_is_asked_for_and_no_default_beside_it() {
    // The second answer is that of a service that knows nothing of it.
    let jobs = [json!({"economy": true}), json!({})];
    let (url, requests) = answering_in_turn(jobs.map(|job| json_answer(202, &stored_batch(&job))).to_vec()).await;
    let batches = client(&url).batches();
    let cheap = batches.create(Batch::new(["a"]).economy(true)).await.expect("stored");
    let plain = batches.create(["a"]).await.expect("stored");
    assert_eq!((cheap.economy, plain.economy), (true, false));
    let requests = requests.lock().expect("no panic").clone();
    let body = |request: &String| serde_json::from_str(request.split("\r\n\r\n").nth(1)?).ok();
    let bodies: Vec<Option<Value>> = requests.iter().map(body).collect();
    let prompts = json!([{"prompt": "a"}]);
    assert_eq!(bodies, [Some(json!({"prompts": prompts, "economy": true})), Some(json!({"prompts": prompts}))]);
}

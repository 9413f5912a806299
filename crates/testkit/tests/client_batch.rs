//! Batches of the Rust client: against the real service on a simulated Claude, and against answers that the test writes out.

#![expect(clippy::disallowed_methods, reason = "a test has tasks of its own")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use claude_code_api_client::{Batch, BatchPrompt, BatchStatus, BatchStream, Client, Error, ErrorCode, blocking};
use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Simulator, TestServer, in_time, read_request, until};
use claude_code_api_wire::{BatchEvent, sse};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const BOUND: Duration = Duration::from_secs(10);

fn client(url: &str) -> Client {
    Client::builder().base_url(url).retry_delay(Duration::from_millis(1)).build().expect("a client")
}

fn slow(count: usize) -> Batch {
    Batch::new(vec!["sim:{\"token_ms\": 500, \"output\": 50}"; count]).model("haiku").max_concurrency(8)
}

async fn nothing_runs(server: &TestServer, simulator: &Simulator, claim: &str) {
    until(claim, || simulator.open_streams() == 0 && server.app().open_reservations().count() == 0).await;
}

#[tokio::test]
async fn every_prompt_has_its_result_in_its_place_and_one_that_failed_says_why() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts: Vec<BatchPrompt> = (0..30)
        .map(|number| match number % 3 {
            0 => format!("{number} sim:{{\"delay_ms\": {}}}", 60 - number).into(),
            1 => BatchPrompt::with_id(format!("item-{number}"), format!("{number}")),
            _ => BatchPrompt::with_id(format!("item-{number}"), format!("{number} sim:{{\"status\": 400}}")),
        })
        .collect();
    let batch = Batch::new(prompts.clone()).model("haiku").system("Be brief.").max_tokens(100).project_id("many");
    let answer = client(&server.base_url()).batch(batch).await.expect("prompts that fail fail no batch");
    assert_eq!((answer.totals.total, answer.totals.completed, answer.totals.failed), (30, 20, 10));
    for (number, (result, prompt)) in answer.results.iter().zip(&prompts).enumerate() {
        assert_eq!((&result.prompt, &result.id), (&prompt.prompt, &prompt.id));
        let failed = number % 3 == 2;
        assert_eq!(result.status == BatchStatus::Failed, failed, "{result:?}");
        assert_eq!((result.error_code == Some(ErrorCode::InvalidRequest), result.error.is_some()), (failed, failed));
        assert_eq!((result.content.is_none(), result.cost_nanos.is_none()), (failed, failed));
    }
    let costs: i64 = answer.results.iter().filter_map(|result| result.cost_nanos).sum();
    assert!(costs > 0 && answer.totals.total_cost_nanos == costs && answer.totals.total_tokens > 0);
    assert!(simulator.requests().iter().all(|asked| asked["system"] == "Be brief." && asked["max_tokens"] == 100));
    let usage = client(&server.base_url()).usage(Some("many"), claude_code_api_client::Period::Day).await;
    assert_eq!(usage.expect("usage").total_cost_nanos, costs);
}

#[tokio::test]
async fn results_come_as_they_complete_and_the_totals_after_them() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts: Vec<String> =
        (0..10).map(|number| format!("{number} sim:{{\"delay_ms\": {}}}", 500 - 50 * number)).collect();
    let stream = client(&server.base_url()).batch_stream(Batch::new(prompts.clone()).model("haiku")).await;
    let mut stream = stream.expect("the service takes it");
    let mut places = Vec::new();
    while let Some(event) = stream.next().await {
        let BatchEvent { index, result } = event.expect("no error");
        assert_eq!(result.prompt, prompts[index]);
        places.push(index);
        assert_eq!(stream.totals().completed, places.len());
    }
    assert!(places[0] > places[9] && places.iter().collect::<BTreeSet<_>>().len() == 10, "{places:?}");
    assert!(stream.next().await.is_none() && stream.totals().total_cost_nanos > 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_batch_is_an_error_before_its_first_result() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let client = client(&server.base_url());
    let refused = client.batch_stream(Batch::new(["Hi"]).model("gpt-4")).await.expect_err("no such model");
    assert!(refused.is_invalid_request() && refused.attempts() == 1, "{refused}");
    let refused = client.batch(Batch::new(["Hi", " "])).await.expect_err("an empty prompt");
    assert_eq!(refused.body().and_then(|body| body.field.as_deref()), Some("prompts[1]"));
    client.batch(Batch::new(["Hi"]).timeout(Duration::ZERO)).await.expect_err("no time");
    let nothing = client.batch(Batch::new(Vec::<String>::new())).await.expect("of no prompt, no result");
    assert_eq!((nothing.totals.total, nothing.results.len()), (0, 0));
}

#[tokio::test]
async fn dropping_a_batch_cancels_what_runs_and_what_waits() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let stream = client(&server.base_url()).batch_stream(slow(100)).await.expect("a stream");
    until("as many run as may", || simulator.open_streams() == 8).await;
    drop(stream);
    nothing_runs(&server, &simulator, "nothing runs after the stream was dropped").await;
    let asked = simulator.requests().len();
    let client = blocking::Client::from(client(&server.base_url()));
    let dropping = tokio::task::spawn_blocking(move || {
        let mut stream = client.batch_stream(slow(100)).expect("a stream");
        stream.next_unless(Some(&mut || true)).expect("not the end").expect_err("told to stop");
        stream.close();
        client
    });
    let client = dropping.await.expect("no panic");
    nothing_runs(&server, &simulator, "nothing runs after the blocking stream was closed").await;
    assert!(simulator.requests().len() <= asked + 8, "what waited was not begun");
    tokio::task::spawn_blocking(|| drop(client)).await.expect("no panic");
}

#[tokio::test]
async fn the_blocking_client_has_batches_too() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let client = blocking::Client::from(client(&server.base_url()));
    let run = move || -> Result<(), Error> {
        let batch = Batch::new(["a", "b", "c"]).model("haiku").parallel(false);
        let answer = client.batch(batch.clone())?;
        assert_eq!((answer.totals.completed, answer.results[2].prompt.as_str()), (3, "c"));
        let events = client.batch_stream(batch)?.collect::<Result<Vec<_>, Error>>()?;
        assert_eq!(events.iter().map(|event| event.index).collect::<Vec<_>>(), [0, 1, 2], "one after the other");
        Ok(())
    };
    tokio::task::spawn_blocking(run).await.expect("no panic").expect("no error");
}

// Answers that the test writes out.

/// What is said on one connection, and how it ends.
struct Script {
    said: String,
    then: Then,
}

enum Then {
    Close,
    Hold,
    /// Signs of life for half a second, and then this.
    Live(String),
}

fn said(results: &[usize]) -> String {
    let result = |index: &usize| {
        let result = serde_json::json!({"index": index, "id": null, "prompt": "p", "status": "completed", "content": "c",
            "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}, "cost": 1e-6, "cost_nanos": 1000});
        sse::event("result", &result)
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n".to_owned();
    head + &results.iter().map(result).collect::<String>()
}

fn done() -> String {
    let totals = serde_json::json!({"total": 3, "completed": 3, "failed": 0, "total_cost": 0.0, "total_cost_nanos": 0, "total_tokens": 0});
    sse::event("done", &totals)
}

fn broken(said: String) -> Script {
    Script { said, then: Then::Close }
}

fn overloaded() -> Script {
    broken("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned())
}

/// Serves the scripts, one a connection; its URL, and the requests that came.
async fn scripted(scripts: Vec<Script>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&requests);
    tokio::spawn(async move {
        for script in scripts {
            let (mut peer, _) = listener.accept().await.expect("a connection");
            let request = read_request(&mut peer).await;
            noted.lock().expect("no panic").push(request);
            peer.write_all(script.said.as_bytes()).await.expect("the client reads");
            match script.then {
                Then::Close => {}
                Then::Hold => drop(tokio::spawn(async move { peer.read_u8().await })),
                Then::Live(said) => live(peer, &said).await,
            }
        }
    });
    (url, requests)
}

async fn live(mut peer: TcpStream, said: &str) {
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        peer.write_all(sse::comment("heartbeat").as_bytes()).await.expect("the client reads");
    }
    peer.write_all(said.as_bytes()).await.expect("the client reads");
}

fn key(request: &str) -> &str {
    request.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).expect("a key")
}

async fn places(stream: &mut BatchStream) -> (Vec<usize>, Option<Error>) {
    let mut places = Vec::new();
    loop {
        match in_time("a result, or the end", BOUND, stream.next()).await {
            None => return (places, None),
            Some(Ok(event)) => places.push(event.index),
            Some(Err(error)) => return (places, Some(error)),
        }
    }
}

#[tokio::test]
async fn a_lost_connection_is_another_attempt_with_the_same_key_and_tells_no_result_twice() {
    let scripts = vec![overloaded(), broken(said(&[2, 0])), overloaded(), broken(said(&[0, 1, 2]) + &done())];
    let (url, requests) = scripted(scripts).await;
    let mut stream = client(&url).batch_stream(Batch::new(["a", "b", "c"])).await.expect("at the second attempt");
    let (places, error) = places(&mut stream).await;
    assert_eq!((places, error), (vec![2, 0, 1], None));
    assert_eq!(
        (stream.totals().completed, stream.totals().total_cost_nanos, stream.totals().total_tokens),
        (3, 3_000, 6)
    );
    let requests = requests.lock().expect("no panic").clone();
    assert_eq!(requests.len(), 4, "what was new since the second began the count of attempts anew");
    assert!(requests.iter().all(|request| key(request) == key(&requests[0])), "{requests:?}");
    let body = |request: &str| request.split_once("\r\n\r\n").expect("a body").1.to_owned();
    assert!(requests.iter().all(|request| body(request) == body(&requests[0])), "{requests:?}");
}

#[tokio::test]
async fn a_connection_that_is_lost_again_and_again_is_an_error_with_what_came_told() {
    let (url, requests) = scripted(vec![broken(said(&[1])), broken(said(&[1])), broken(said(&[1]))]).await;
    let mut stream = client(&url).batch_stream(Batch::new(["a", "b", "c"])).await.expect("a stream");
    let (places, error) = places(&mut stream).await;
    let error = error.expect("attempts end");
    assert!(error.is_connection() && error.is_retryable() && error.attempts() == 3, "{error}");
    assert_eq!((places, requests.lock().expect("no panic").len()), (vec![1], 3));
    assert!(stream.next().await.is_none(), "one error is the end");
}

#[tokio::test]
async fn silence_is_a_time_out_and_is_not_tried_again() {
    for start in [String::new(), said(&[0])] {
        let (url, requests) = scripted(vec![Script { said: start, then: Then::Hold }]).await;
        let batch = Batch::new(["a", "b", "c"]).silence_timeout(Duration::from_millis(200));
        let error = in_time("the time-out", BOUND, client(&url).batch(batch)).await.expect_err("nothing comes");
        assert!(error.is_timeout() && error.attempts() == 1 && error.message().contains("0.2 s"), "{error}");
        assert_eq!(requests.lock().expect("no panic").len(), 1);
    }
}

#[tokio::test]
async fn a_sign_of_life_is_no_silence() {
    let script = Script { said: said(&[0, 1, 2]), then: Then::Live(done()) };
    let (url, _) = scripted(vec![script]).await;
    let batch = Batch::new(["a", "b", "c"]).silence_timeout(Duration::from_millis(300));
    assert_eq!(client(&url).batch(batch).await.expect("it lives").totals.completed, 3);
}

#[tokio::test]
async fn an_end_before_every_prompt_has_its_result_is_none() {
    let (url, _) = scripted(vec![broken(said(&[0]) + &sse::comment("heartbeat") + &done())]).await;
    let error = client(&url).batch(Batch::new(["a", "b", "c"])).await.expect_err("two are missing");
    assert_eq!(error.kind(), claude_code_api_client::ErrorKind::UnexpectedResponse, "{error}");
    assert!(!error.is_retryable() && error.message().contains("before every prompt"), "{error}");
}

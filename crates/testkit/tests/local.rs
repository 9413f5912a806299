//! The embedded model under load: calls progress together, a call that nobody waits for gives up its place, and a full
//! queue says when to come back.

use std::time::{Duration, Instant};

use claude_code_api_service::{backend::conformance, config::Settings};
use claude_code_api_testkit::{Event, Events, Raw, TestServer, until};
use claude_code_api_wire::ErrorCode;
use futures_util::future::join_all;
use serde_json::{Value, json};

/// A call that goes on until somebody ends it: more than a minute.
fn endless() -> Value {
    json!({"prompt": "Tell a long story about the sea.", "max_tokens": 4_000, "temperature": 0, "seed": 1})
}

/// A call that is over soon.
fn short() -> Value {
    json!({"prompt": "Hello", "max_tokens": 4})
}

/// One call at a time, and one that waits.
async fn narrow() -> TestServer {
    TestServer::start_with(Settings {
        local_slots: Some(1),
        local_queue_max: Some(1),
        local_cache_tokens: Some(8_192),
        ..Settings::default()
    })
    .await
}

#[tokio::test]
async fn the_embedded_model_keeps_the_contract_of_a_backend() {
    let server = TestServer::start().await;
    conformance::passes(&**server.local()).await;
}

#[tokio::test]
async fn sixteen_streams_progress_together() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let begun = Instant::now();
    let streams = (0..16_u32).map(async |seed| {
        let request = json!({"prompt": "Tell a long story about the sea.", "max_tokens": 64, "seed": seed});
        let mut events = caller.stream(request).await;
        events.first_delta().await;
        let first_delta_at = begun.elapsed();
        events.find(|event| matches!(event, Event::Done(_))).await;
        (first_delta_at, begun.elapsed())
    });
    let times = join_all(streams).await;
    let last_begins = times.iter().map(|(first_delta_at, _)| first_delta_at).max().expect("sixteen");
    let first_ends = times.iter().map(|(_, done_at)| done_at).min().expect("sixteen");
    println!("the last of 16 streams begins after {last_begins:?}, the first ends after {first_ends:?}");
    assert!(last_begins < first_ends, "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_frees_its_slot() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let mut streams = join_all((0..4).map(|_| caller.stream(endless()))).await;
    join_all(streams.iter_mut().map(Events::first_delta)).await;
    assert_eq!(server.local().calls_running(), 4);
    drop(streams.pop());
    until("a dropped stream's slot is free", || server.local().calls_running() == 3).await;
    for events in &mut streams {
        events.first_delta().await;
    }
    drop(streams);
    until("three more slots are free", || server.local().calls_running() == 0).await;
}

#[tokio::test]
async fn a_whole_answer_that_nobody_waits_for_is_cancelled() {
    let server = TestServer::start().await;
    let raw = Raw::complete(server.address(), &endless().to_string()).await;
    until("the call runs", || server.local().calls_running() == 1).await;
    drop(raw);
    until("an abandoned call's slot is free", || server.local().calls_running() == 0).await;
    until("it is settled", || server.app().open_reservations().count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_when_to_come_back() {
    let server = narrow().await;
    let caller = server.caller();
    let mut running = caller.stream(endless()).await;
    running.first_delta().await;
    let waiting = Raw::complete(server.address(), &endless().to_string()).await;
    until("a call waits", || server.calls_waiting() == 1).await;
    let whole = caller.complete(short()).await;
    let Err(streamed) = caller.try_stream(short()).await else { panic!("a stream, with a full queue") };
    for answer in [whole, streamed] {
        let error = answer.error().error;
        assert_eq!((answer.status, error.code, error.retryable), (503, ErrorCode::Overloaded, true));
        assert!(error.retry_after.is_some_and(|seconds| seconds >= 1.0), "{error:?}");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{answer:?}");
    }
    drop(waiting);
    until("the abandoned call is settled", || server.app().open_reservations().count() == 1).await;
    // It has given up its place in the queue, though the slot is as busy as before.
    let mut late = caller.stream(short()).await;
    assert_eq!(late.next().await, Some(Event::Comment("queued".to_owned())));
    drop((running, late));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_waits_says_so_and_starts_when_there_is_room() {
    let server = narrow().await;
    let caller = server.caller();
    let mut running = caller.stream(endless()).await;
    running.first_delta().await;
    let mut waiting = caller.stream(short()).await;
    for _ in 0..2 {
        assert_eq!(waiting.next().await, Some(Event::Comment("queued".to_owned())));
    }
    drop(running);
    let start = waiting.find(|event| !matches!(event, Event::Comment(_))).await;
    assert!(matches!(start, Event::Start(_)), "{start:?}");
    waiting.find(|event| matches!(event, Event::Done(_))).await;
}

#[tokio::test]
async fn a_call_past_its_deadline_is_ended_and_frees_its_slot() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let mut request = endless();
    // Long enough for the first text on a busy machine, and far too short for the last.
    request["timeout"] = json!(2.5);
    let whole = caller.complete(request.clone()).await;
    let streamed = caller.stream(request).await.to_the_end().await;
    assert!(streamed.start.is_some(), "the deadline cut off a call that had not even begun");
    for error in [whole.error().error, streamed.error().error] {
        assert_eq!((error.code, error.retryable), (ErrorCode::Timeout, false));
        assert!(error.message.contains("2.5 s"), "{error:?}");
    }
    until("the slots are free", || server.local().calls_running() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_counts_the_time_in_the_queue() {
    let server = narrow().await;
    let caller = server.caller();
    let mut running = caller.stream(endless()).await;
    running.first_delta().await;
    let begun = Instant::now();
    for (timeout, streams) in [(0.3, false), (1.5, true)] {
        let mut request = short();
        request["timeout"] = json!(timeout);
        let ended = caller.try_stream(request).await;
        assert_eq!(ended.is_ok(), streams, "a call that fails within a second is answered with its status");
        let error = match ended {
            Ok(events) => events.to_the_end().await.error(),
            Err(answer) => answer.error(),
        };
        assert_eq!(error.error.code, ErrorCode::Timeout);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(server.local().calls_running(), 1);
    drop(running);
}

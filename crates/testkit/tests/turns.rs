//! Turns at a backend: who is asked for first, who waits for how long, and that no turn is lost. The backend is a simulated Claude
//! that is sent few calls at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

use claude_code_api_service::{config::Settings, store::EntriesWanted};
use claude_code_api_testkit::{Answer, BOUND, Caller, Event, Raw, Simulator, TestServer, in_time, until};
use claude_code_api_wire::{BatchResponse, ErrorCode};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// A server that sends so many calls at a time, and lets so many wait.
async fn server(simulator: &Simulator, concurrency_max: usize, queue_max: usize) -> TestServer {
    let settings = Settings {
        anthropic_concurrency_max: Some(concurrency_max),
        anthropic_queue_max: Some(queue_max),
        ..Settings::default()
    };
    TestServer::start_on(simulator, settings).await
}

fn call(project: &str, script: &Value) -> Value {
    json!({"prompt": format!("{project} sim:{script}"), "project_id": project, "model": "haiku", "max_tokens": 100})
}

/// A call that goes on until somebody ends it.
fn endless() -> Value {
    call("running", &json!({"stall_after": 1}))
}

/// A call that is over soon.
fn short(project: &str) -> Value {
    call(project, &json!({"first_ms": 30}))
}

/// The places of a project's calls among all that Claude was sent.
fn places(simulator: &Simulator, project: &str) -> Vec<usize> {
    let begins = |asked: &Value| {
        asked["messages"][0]["content"].as_str().is_some_and(|text| text.starts_with(&format!("{project} ")))
    };
    simulator.requests().iter().enumerate().filter(|(_, asked)| begins(asked)).map(|(place, _)| place).collect()
}

async fn all(caller: &Caller, request: Value, count: usize) -> Vec<Answer> {
    join_all((0..count).map(|_| caller.complete(request.clone()))).await
}

fn done(answers: &[Answer]) {
    for answer in answers {
        answer.done();
    }
}

#[tokio::test]
async fn a_call_that_somebody_waits_for_overtakes_a_batch() {
    let simulator = Simulator::start();
    let server = server(&simulator, 4, 1_000).await;
    let caller = server.caller();
    let prompts = vec!["batch sim:{\"first_ms\": 30}"; 80];
    let body = json!({"prompts": prompts, "project_id": "chat", "model": "haiku", "max_concurrency": 80});
    let batch = caller.post("/v1/batch", body.to_string());
    let overtaking = async {
        until("the batch waits", || server.calls_waiting() > 60).await;
        let sent = simulator.requests().len();
        // More than there are turns: a batch of the same project gives way, and not only the turn that it leaves.
        done(&all(&caller, short("chat"), 8).await);
        let places = places(&simulator, "chat");
        println!("after {sent} calls had been sent, these came in the places {places:?}");
        assert!(places.len() == 8 && places[7] < sent + 8 + 12, "{places:?}");
        assert!(server.calls_waiting() > 20, "the batch is far from its end");
    };
    let (batch, ()) = tokio::join!(batch, overtaking);
    assert_eq!(batch.json::<BatchResponse>().completed, 80);
}

#[tokio::test]
async fn a_batch_leaves_one_turn_to_others() {
    let simulator = Simulator::start();
    let server = server(&simulator, 4, 1_000).await;
    let caller = server.caller();
    let body = json!({"prompts": vec!["sim:{\"stall_after\": 1}"; 20], "model": "haiku", "max_concurrency": 20});
    let beside = async {
        until("the others of the batch wait", || simulator.open_streams() == 3 && server.calls_waiting() == 17).await;
        in_time("a call of another", BOUND, caller.complete(short("chat"))).await.done();
        // The simulator may be about to see the end of that call.
        until("the batch has no more turns", || simulator.open_streams() == 3).await;
        assert_eq!(server.calls_waiting(), 17);
    };
    tokio::select! {
        _ = caller.post("/v1/batch", body.to_string()) => panic!("it cannot be over"),
        () = beside => {}
    }
    until("all of it is over", || server.app().open_reservations().count() == 0).await;
}

#[tokio::test]
async fn projects_share_a_backend_evenly_however_many_calls_each_sends() {
    let simulator = Simulator::start();
    let server = server(&simulator, 4, 1_000).await;
    let caller = server.caller();
    let many = all(&caller, short("many"), 80);
    let few = async {
        until("one project's calls wait", || server.calls_waiting() > 60).await;
        let sent = simulator.requests().len();
        done(&all(&caller, short("few"), 10).await);
        let places = places(&simulator, "few");
        println!("after {sent} calls had been sent, those of the other project came in the places {places:?}");
        assert!(places.len() == 10 && places[9] < sent + 2 * 10 + 8, "{places:?}");
    };
    let (many, ()) = tokio::join!(many, few);
    done(&many);
}

#[tokio::test]
async fn whatever_ends_a_call_gives_its_turn_back() {
    let simulator = Simulator::start();
    let mut server = server(&simulator, 1, 10).await;
    server.expect_logged("the attempt broke off");
    let caller = server.caller();
    let scripts = [
        json!({"status": 400}),
        json!({"status": 500}),
        json!({"fault": "reset_before"}),
        json!({"reset_after_events": 4}),
        json!({"error_event": {"type": "api_error", "after": 1}}),
        json!({"garbage_after": 3}),
        json!({}),
    ];
    for script in scripts {
        caller.complete(call("failing", &script)).await;
        in_time("the next has its turn", BOUND, caller.complete(short("next"))).await.done();
    }
    let mut late = endless();
    late["timeout"] = json!(0.5);
    assert_eq!(caller.complete(late).await.error().error.code, ErrorCode::Timeout);
    in_time("after a deadline", BOUND, caller.complete(short("next"))).await.done();
    let mut left = caller.stream(endless()).await;
    left.first_delta().await;
    drop(left);
    in_time("after a reader that left", BOUND, caller.complete(short("next"))).await.done();
}

#[tokio::test]
async fn whoever_leaves_while_it_waits_gives_up_its_place_and_has_spent_nothing() {
    let simulator = Simulator::start();
    let server = server(&simulator, 1, 3).await;
    let caller = server.caller();
    let mut running = caller.stream(endless()).await;
    running.first_delta().await;
    let body = short("left").to_string();
    let waiting = join_all((0..2).map(|_| Raw::complete(server.address(), &body))).await;
    until("two wait", || server.calls_waiting() == 2).await;
    let mut late = short("left");
    late["timeout"] = json!(0.2);
    assert_eq!(caller.complete(late).await.error().error.code, ErrorCode::Timeout);
    assert_eq!(server.calls_waiting(), 2, "a deadline ends the waiting");
    drop(waiting);
    until("nobody waits", || server.calls_waiting() == 0).await;
    until("nothing is held for them", || server.app().open_reservations().count() == 1).await;
    drop(running);
    let used: Value = caller.get("/v1/usage?project_id=left").await.json();
    assert_eq!((&used["total_tokens"], &used["total_cost_nanos"]), (&json!(0), &json!(0)), "{used}");
    assert_eq!(places(&simulator, "left").len(), 0);
}

#[tokio::test]
async fn of_callers_who_leave_all_at_once_none_that_waits_is_sent() {
    let simulator = Simulator::start();
    let server = server(&simulator, 2, 100).await;
    let callers = async |request: Value, count| {
        let body = request.to_string();
        join_all((0..count).map(|_| Raw::complete(server.address(), &body))).await
    };
    let running = callers(endless(), 2).await;
    until("two run", || simulator.open_streams() == 2).await;
    let waiting = callers(endless(), 50).await;
    until("fifty wait", || server.calls_waiting() == 50).await;
    // Each that runs passes its turn on to one that waits, whose caller leaves too.
    drop((running, waiting));
    until("nothing is held", || server.app().open_reservations().count() == 0).await;
    assert_eq!(simulator.requests().len(), 2);
    let entries = server.app().store().entries(EntriesWanted { count_max: 99, ..EntriesWanted::default() }).await;
    assert_eq!(entries.expect("the store works").len(), 2);
}

#[tokio::test]
async fn of_calls_with_one_deadline_none_that_waits_is_sent() {
    let simulator = Simulator::start();
    let server = server(&simulator, 2, 100).await;
    let mut late = endless();
    late["timeout"] = json!(1);
    for answer in all(&server.caller(), late, 52).await {
        assert_eq!(answer.error().error.code, ErrorCode::Timeout);
    }
    assert_eq!(simulator.requests().len(), 2);
}

#[tokio::test]
async fn a_stream_that_waits_for_its_turn_says_so() {
    let simulator = Simulator::start();
    let server = server(&simulator, 1, 10).await;
    let caller = server.caller();
    let mut running = caller.stream(endless()).await;
    running.first_delta().await;
    let mut waiting = caller.stream(short("waiting")).await;
    for _ in 0..2 {
        assert_eq!(waiting.next().await, Some(Event::Comment("queued".to_owned())));
    }
    drop(running);
    let start = waiting.find(|event| !matches!(event, Event::Comment(_))).await;
    assert!(matches!(start, Event::Start(_)), "{start:?}");
    waiting.find(|event| matches!(event, Event::Done(_))).await;
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back_and_is_not_one_project_s() {
    let simulator = Simulator::start();
    let server = server(&simulator, 1, 4).await;
    let caller = server.caller();
    let mut running = caller.stream(endless()).await;
    running.first_delta().await;
    let refused = AtomicUsize::new(0);
    let mut request = short("many");
    // Which has a second best, at the same backend.
    request["model"] = json!("auto");
    let many = join_all((0..6).map(async |_| {
        let answer = caller.complete(request.clone()).await;
        refused.fetch_add(usize::from(answer.status == 503), Ordering::SeqCst);
        answer
    }));
    let beside = async {
        until("as many wait as may", || server.calls_waiting() == 4 && refused.load(Ordering::SeqCst) == 2).await;
        let few = all(&caller, short("few"), 2);
        let make_room = async {
            until("two made room for others", || refused.load(Ordering::SeqCst) == 4).await;
            drop(running);
        };
        tokio::join!(few, make_room).0
    };
    let (many, few) = tokio::join!(many, beside);
    done(&few);
    let (answered, refused): (Vec<_>, Vec<_>) = many.iter().partition(|answer| answer.status == 200);
    assert_eq!((answered.len(), refused.len()), (2, 4), "half of the queue was left to it");
    for answer in refused {
        let error = answer.error().error;
        assert_eq!((answer.status, error.code, error.retryable), (503, ErrorCode::Overloaded, true));
        assert!(error.retry_after.is_some_and(|seconds| seconds >= 1.0), "{error:?}");
    }
}

#[tokio::test]
async fn what_waits_at_shutdown_has_its_turn_or_a_well_formed_error() {
    let simulator = Simulator::start();
    let settings = Settings { anthropic_concurrency_max: Some(1), drain_timeout: Some(0.3), ..Settings::default() };
    let mut server = TestServer::start_on(&simulator, settings).await;
    server.expect_logged("the time to drain is over");
    let caller = server.caller();
    let mut running = caller.stream(endless()).await;
    running.first_delta().await;
    let waiting = caller.complete(short("waiting"));
    let stop = async {
        until("a call waits", || server.calls_waiting() == 1).await;
        server.begin_shutdown();
    };
    let (waiting, ()) = tokio::join!(waiting, stop);
    let error = waiting.error().error;
    assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true), "{error:?}");
    assert!(error.message.contains("shutting down"), "{error:?}");
    assert_eq!(places(&simulator, "waiting").len(), 0);
}

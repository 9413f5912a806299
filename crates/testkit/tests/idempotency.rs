//! Exactly once: a call that is sent again under its `Idempotency-Key` is joined where it runs, or answered again from the
//! ledger, and never paid for twice.

use std::time::{Duration, Instant};

use claude_code_api_service::{config::Settings, ledger::Entry, project::ProjectId, store::EntriesWanted};
use claude_code_api_testkit::{Answer, Caller, Program, Simulator, TestServer, in_time, until};
use claude_code_api_wire::{CompleteResponse, ErrorCode, UsageReport};
use futures_util::future::join_all;
use serde_json::{Value, json};

fn call(script: &Value) -> Value {
    json!({"prompt": format!("Hello sim:{script}"), "model": "sonnet", "max_tokens": 100})
}

fn story(seed: u32) -> Value {
    json!({"prompt": "Tell a long story.", "max_tokens": 60, "seed": seed})
}

async fn entries(server: &TestServer) -> Vec<Entry> {
    let project = Some(ProjectId::default_project());
    let wanted = EntriesWanted { project, count_max: 100, ..EntriesWanted::default() };
    server.app().store().entries(wanted).await.expect("the store works")
}

async fn spent(caller: &Caller) -> i64 {
    let usage: UsageReport = caller.get("/v1/usage").await.json();
    usage.total_cost_nanos + usage.total_tokens
}

/// The answer, as it was the first time.
fn first(replayed: CompleteResponse) -> CompleteResponse {
    CompleteResponse { replayed: false, ..replayed }
}

#[tokio::test]
async fn a_call_that_is_done_is_answered_again_and_not_paid_for_again() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller().once("k");
    let request = call(&json!({"input": 10, "output": 5}));
    let done = caller.complete(request.clone()).await.done();
    let paid = spent(&caller).await;
    assert_eq!(first(caller.complete(request.clone()).await.replayed()), done);
    let streamed = caller.stream(request.clone()).await.to_the_end().await.done();
    assert!(streamed.replayed);
    assert_eq!(first(streamed), done);
    let mut patient = request.clone();
    patient["timeout"] = json!(7);
    assert_eq!(caller.complete(patient).await.replayed().id, done.id, "how long to wait is no part of the request");
    assert_eq!((simulator.bill().len(), spent(&caller).await, entries(&server).await.len()), (1, paid, 1));
    let another = server.caller().once("another").complete(request).await.done();
    assert_ne!(another.id, done.id);
    assert_eq!(simulator.bill().len(), 2);
}

#[tokio::test]
async fn callers_with_one_key_share_one_call() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller().once("k");
    let request = call(&json!({"delay_ms": 300, "output": 7}));
    let answers = join_all((0..20).map(|_| caller.complete(request.clone()))).await;
    let answers: Vec<CompleteResponse> = answers.iter().map(Answer::json).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.id == answers[0].id && answer.cost_nanos == answers[0].cost_nanos));
    assert_eq!((simulator.bill().len(), entries(&server).await.len()), (1, 1));
}

#[tokio::test]
async fn who_comes_back_to_a_running_stream_hears_all_of_it() {
    let server = TestServer::start().await;
    let caller = server.caller().once("k");
    let mut left = caller.stream(story(1)).await;
    left.first_delta().await;
    drop(left);
    let back = caller.stream(story(1)).await.to_the_end().await;
    let pieces = back.deltas.len();
    let done = back.done();
    assert!(done.replayed && pieces > 1, "{pieces} pieces of {done:?}");
    let all = entries(&server).await;
    assert_eq!((all.len(), all[0].spent.exact), (1, true), "the call was not cut off");
    assert_eq!(all[0].call.to_string(), done.id);
}

#[tokio::test]
async fn who_does_not_come_back_has_the_call_cancelled_and_may_send_it_again() {
    let server = TestServer::start().await;
    let caller = server.caller().once("k");
    let mut left = caller.stream(json!({"prompt": "Tell a long story.", "max_tokens": 250, "seed": 2})).await;
    left.first_delta().await;
    drop(left);
    let begun = Instant::now();
    until("the call is given up", || server.app().open_reservations().count() == 0).await;
    println!("given up after {:?}", begun.elapsed());
    let aborted = entries(&server).await;
    let again = caller.complete(json!({"prompt": "Tell a long story.", "max_tokens": 250, "seed": 2})).await;
    if aborted.iter().all(|entry| entry.spent.exact) {
        // The model was done within the grace.
        assert!(again.replayed().usage.output_tokens > 0);
        return;
    }
    let done = again.done();
    let all = entries(&server).await;
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|entry| entry.call.to_string() == done.id), "attempts of one call");
    assert_eq!(all.iter().filter(|entry| entry.spent.exact).count(), 1);
}

#[tokio::test]
async fn a_key_is_for_one_request_in_one_project() {
    let server = TestServer::start().await;
    let caller = server.caller().once("k");
    let request = json!({"prompt": "Hello", "max_tokens": 2});
    caller.complete(request.clone()).await.done();
    for (field, value) in
        [("prompt", json!("Hi")), ("max_tokens", json!(3)), ("system", json!("Be brief.")), ("seed", json!(1))]
    {
        let mut other = request.clone();
        other[field] = value;
        let error = caller.complete(other).await.error().error;
        assert_eq!(error.code, ErrorCode::Conflict, "{field}");
        assert!(error.message.starts_with("Idempotency-Key: was used for another request"), "{}", error.message);
    }
    let mut elsewhere = request.clone();
    elsewhere["project_id"] = json!("elsewhere");
    caller.complete(elsewhere).await.done();
    let same = json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, "model": "auto"});
    caller.complete(same).await.replayed();
    let long = "k".repeat(255);
    server.caller().once(long.clone()).complete(request.clone()).await.done();
    for wrong in [String::new(), format!("{long}k")] {
        let error = server.caller().once(wrong).complete(request.clone()).await.error().error;
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidRequest, Some("Idempotency-Key")));
    }
}

#[tokio::test]
async fn a_call_that_failed_runs_again() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller().once("k");
    let request = call(&json!({"status": 500}));
    for _ in 0..2 {
        assert_eq!(caller.complete(request.clone()).await.error().error.code, ErrorCode::BackendError);
    }
    assert_eq!(simulator.requests().len(), 2 * 3, "each call reached the servers, and was tried again there");
    let mut cannot = request.clone();
    cannot["max_cost"] = json!(0.000_000_1);
    let refused = server.caller().once("poor");
    for _ in 0..2 {
        assert_eq!(refused.complete(cannot.clone()).await.error().error.code, ErrorCode::BudgetExceeded);
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_and_not_longer() {
    let settings = Settings { idempotency_ttl: Some(1.0), ..Settings::default() };
    let server = TestServer::start_with(settings).await;
    let caller = server.caller().once("k");
    let request = json!({"prompt": "Hello", "max_tokens": 2});
    let done = caller.complete(request.clone()).await.done();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_ne!(caller.complete(request).await.done().id, done.id, "it is a new call");
}

#[tokio::test]
async fn without_a_time_to_keep_answers_keys_mean_nothing() {
    let settings = Settings { idempotency_ttl: Some(0.0), ..Settings::default() };
    let server = TestServer::start_with(settings).await;
    let caller = server.caller().once("k");
    for prompt in ["Hello", "Hello", "Hi"] {
        caller.complete(json!({"prompt": prompt, "max_tokens": 2})).await.done();
    }
}

#[tokio::test]
async fn answers_survive_the_death_of_the_process() {
    let program = Program::serve(&[]).await;
    let request = json!({"prompt": "Hello", "max_tokens": 5});
    let done = program.caller().once("k").complete(request.clone()).await.done();
    // One more, which dies with the process.
    let mut half = program.caller().once("half").stream(story(3)).await;
    half.first_delta().await;
    let program = Program::serve_in(program.kill().await, &[]).await;
    let caller = program.caller();
    assert_eq!(first(caller.once("k").complete(request).await.replayed()), done);
    let half = caller.once("half");
    in_time("what died runs again", Duration::from_secs(30), half.complete(story(3))).await.done();
}

//! Budgets and usage, over a socket: what was answered is counted, and no limit is passed.

use std::time::Instant;

use claude_code_api_service::{
    config::{Allowance, Settings},
    ledger::{Clamp, Limit, Limits, Project},
    project::ProjectId,
};
use claude_code_api_testkit::{BOUND, Caller, Raw, Simulator, TestServer, until};
use claude_code_api_wire::{BudgetUnit, ErrorCode, Period, UsageReport};
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn usage(caller: &Caller, query: &str) -> UsageReport {
    let answer = caller.get(&format!("/v1/usage{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn limit(server: &TestServer, name: &str, tokens_per_month: i64, clamp: Clamp) {
    let month = Limit { tokens: Some(tokens_per_month), nanos: None };
    let limits = Limits { windows: [Limit::default(), Limit::default(), month], clamp, ..Limits::default() };
    let id = ProjectId::parse(name).expect("a name");
    let project = Project { id, limits, created_by_use: false };
    server.app().store().set_project(project).await.expect("the store works");
}

fn call(project: &str, max_tokens: u32) -> Value {
    json!({"prompt": "Hello", "project_id": project, "max_tokens": max_tokens})
}

#[tokio::test]
async fn what_was_answered_is_counted_in_every_window() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let unused = usage(&caller, "").await;
    assert_eq!((unused.project_id.as_str(), unused.period), ("default", Period::Month));
    assert_eq!((unused.total_tokens, unused.limit, unused.remaining), (0, Some(100_000_000), Some(100_000_000)));
    assert!(server.app().store().projects().await.expect("projects").is_empty(), "asking has made a project");
    let whole = caller.complete(json!({"prompt": "Hello", "max_tokens": 4})).await.done();
    let streamed = caller.stream(json!({"prompt": "Hello", "max_tokens": 4})).await.to_the_end().await.done();
    let tokens = (whole.usage.total_tokens + streamed.usage.total_tokens).cast_signed();
    for period in ["day", "week", "month"] {
        let used = usage(&caller, &format!("?period={period}&project_id=default")).await;
        assert_eq!((used.total_tokens, used.held_tokens, used.total_cost_nanos), (tokens, 0, 0), "{period}");
        let model = &used.by_model["smollm2-135m-instruct"];
        assert_eq!((model.requests, model.tokens, model.output_tokens), (2, tokens, 8));
        assert!(used.period_start < used.period_end && used.period_end.ends_with("T00:00:00Z"), "{used:?}");
    }
    assert_eq!(usage(&caller, "").await.remaining, Some(100_000_000 - tokens));
    assert_eq!(usage(&caller, "?project_id=another").await.total_tokens, 0);
}

#[tokio::test]
async fn what_usage_is_asked_for_is_checked() {
    let server = TestServer::start().await;
    for (query, field) in [
        ("?period=year", "period"),
        ("?period=", "period"),
        ("?project_id=a%20b", "project_id"),
        ("?projekt=x", "query"),
        ("?period=day&period=week", "query"),
    ] {
        let error = server.caller().get(&format!("/v1/usage{query}")).await.error().error;
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidRequest, Some(field)), "{query}");
    }
}

#[tokio::test]
async fn a_call_that_the_budget_does_not_cover_is_refused_with_the_figures() {
    let server = TestServer::start().await;
    // Its input is some 20 tokens: what it may be at most without being counted, and 100 tokens of output, would be too much.
    limit(&server, "small", 200, Clamp::Never).await;
    let answer = server.caller().complete(call("small", 200)).await;
    let error = answer.error().error;
    assert_eq!((answer.status, error.code, error.retryable), (429, ErrorCode::BudgetExceeded, false));
    assert!(error.message.starts_with("Budget exceeded: project small has used 0 tokens of its 200 tokens a month"));
    let budget = error.budget().expect("the figures");
    assert_eq!((budget.unit, budget.period), (BudgetUnit::Tokens, Some(Period::Month)));
    assert_eq!(json!([budget.limit, budget.used, budget.held, budget.remaining]), json!([200.0, 0.0, 0.0, 200.0]));
    assert!(budget.resets_at.is_some_and(|at| at.ends_with("-01T00:00:00Z")));
    assert_eq!(server.caller().complete(call("small", 100)).await.done().project_id, "small");
}

#[tokio::test]
async fn an_answer_is_shortened_to_what_is_left_where_the_caller_set_no_length() {
    let server =
        TestServer::start_with(Settings { local_max_tokens_default: Some(4_000), ..Settings::default() }).await;
    limit(&server, "short", 500, Clamp::Unset).await;
    let ask = json!({"prompt": "Hello", "project_id": "short", "stop_sequences": ["e"]});
    let answer = server.caller().complete(ask).await.done();
    let clamped = answer.clamped_max_tokens.expect("it says so");
    assert!((256..500).contains(&clamped), "{clamped}");
}

#[tokio::test]
async fn what_is_merely_held_is_waited_for_in_turn() {
    let server = TestServer::start().await;
    // Room for one worst case at a time, and for the true cost of all of them.
    limit(&server, "narrow", 1_500, Clamp::Never).await;
    let caller = server.caller();
    let begun = Instant::now();
    let answers = join_all((0..8).map(|_| caller.complete(call("narrow", 1_000)))).await;
    let done: u64 =
        answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.done().usage.total_tokens).sum();
    let used = usage(&caller, "?project_id=narrow").await;
    println!(
        "{} of 8 answered, {} tokens, in {:?}",
        answers.iter().filter(|a| a.status == 200).count(),
        done,
        begun.elapsed()
    );
    assert_eq!(used.total_tokens.cast_unsigned(), done);
    assert!(used.total_tokens <= 1_500 && done > 0);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert!(matches!(refused.error().error.code, ErrorCode::BudgetExceeded | ErrorCode::Overloaded));
    }
}

#[tokio::test]
async fn who_waits_too_long_for_what_is_held_is_told_to_come_back() {
    let settings = Settings { budget_wait: Some(0.2), ..Settings::default() };
    let server = TestServer::start_with(settings).await;
    limit(&server, "held", 5_000, Clamp::Never).await;
    let body = json!({"prompt": "Tell a long story.", "project_id": "held", "max_tokens": 4_000, "stream": true});
    let raw = Raw::complete(server.address(), &body.to_string()).await;
    until("the call runs", || server.local().calls_running() == 1).await;
    let error = server.caller().complete(call("held", 3_000)).await.error().error;
    assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true));
    drop(raw);
    until("its hold has ended", || server.app().open_reservations().count() == 0).await;
    let used = usage(&server.caller(), "?project_id=held").await;
    assert!(used.held_tokens == 0 && used.total_tokens > 0, "an answer that was cut off is settled: {used:?}");
}

#[tokio::test]
async fn use_makes_projects_with_the_default_limit_or_none() {
    let none = Settings { default_tokens_per_month: Some(Allowance(None)), ..Settings::default() };
    let server = TestServer::start_with(none).await;
    server.caller().complete(call("new", 1)).await.done();
    let used = usage(&server.caller(), "?project_id=new").await;
    assert_eq!((used.limit, used.remaining), (None, None));
    let projects = server.app().store().projects().await.expect("projects");
    assert_eq!(
        projects.iter().map(|project| (project.id.as_str(), project.created_by_use)).collect::<Vec<_>>(),
        [("new", true)]
    );
}

#[tokio::test]
async fn a_call_can_lower_what_it_may_cost() {
    let server = TestServer::start().await;
    let mut request = call("default", 1);
    request["max_cost"] = json!(0.000_001);
    server.caller().complete(request.clone()).await.done();
    for wrong in [json!(0), json!(-1), json!(1e9)] {
        request["max_cost"] = wrong;
        let error = server.caller().complete(request.clone()).await.error().error;
        assert_eq!(error.field.as_deref(), Some("max_cost"));
    }
}

#[tokio::test]
async fn whoever_leaves_at_once_leaves_nothing_held() {
    let server = TestServer::start().await;
    for calls in 0..200 {
        let body = json!({"prompt": "Tell a long story.", "project_id": "fleeting", "max_tokens": 1_000 + calls});
        drop(Raw::complete(server.address(), &body.to_string()).await);
    }
    until("every call has ended", || server.app().open_reservations().count() == 0).await;
    let begun = Instant::now();
    while usage(&server.caller(), "?project_id=fleeting").await.held_tokens > 0 {
        assert!(begun.elapsed() < BOUND, "something stays held");
    }
}

#[tokio::test]
async fn calls_that_come_too_fast_are_told_exactly_when_to_come() {
    let server = TestServer::start().await;
    let id = ProjectId::parse("paced").expect("a name");
    let limits = Limits { requests_per_minute: Some(30), ..Limits::default() };
    let project = Project { id: id.clone(), limits, created_by_use: false };
    server.app().store().set_project(project).await.expect("the store works");
    until("the limit is known", || server.app().directory().project(&id).is_some()).await;
    // The embedded model may take the better part of a minute for thirty calls: what is refused is not asked for an answer.
    let unknown = json!({"prompt": "Hello", "project_id": "paced", "model": "claude-none"});
    let mut refused = None;
    for _ in 0..40 {
        let answer = server.caller().complete(unknown.clone()).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let answer = refused.expect("a call was one too many");
    let error = answer.error().error;
    assert_eq!((error.code, error.retryable), (ErrorCode::RateLimited, true));
    let wait = error.retry_after.expect("when to come");
    assert!(wait > 0.0 && wait <= 2.0, "30 a minute is one in two seconds: {wait}");
    tokio::time::sleep(std::time::Duration::from_secs_f64(wait)).await;
    assert_ne!(server.caller().complete(unknown).await.status, 429, "who obeys is let in");
    assert_eq!(server.caller().complete(call("another", 2)).await.status, 200);
}

#[tokio::test]
async fn more_calls_than_may_run_wait_a_little_and_are_then_turned_away() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings { budget_wait: Some(0.3), ..Settings::default() }).await;
    let id = ProjectId::parse("narrow").expect("a name");
    let limits = Limits { calls_max: Some(1), ..Limits::default() };
    let project = Project { id, limits, created_by_use: false };
    server.app().store().set_project(project).await.expect("the store works");
    // It takes until its caller leaves.
    let slow = json!({"prompt": r#"sim:{"delay_ms": 60000}"#, "project_id": "narrow"});
    let running = Raw::complete(server.address(), &slow.to_string()).await;
    until("the call runs", || simulator.requests().len() == 1).await;
    let begun = Instant::now();
    let error = server.caller().complete(call("narrow", 2)).await.error().error;
    assert_eq!((error.code, error.retry_after), (ErrorCode::Overloaded, Some(1.0)));
    assert!(error.message.contains("1 calls running at a time"), "{}", error.message);
    assert!(begun.elapsed().as_millis() >= 300, "it has waited for its turn");
    drop(running);
    until("the call has ended", || server.app().open_reservations().count() == 0).await;
    assert_eq!(server.caller().complete(call("narrow", 2)).await.status, 200);
}

async fn one_at_a_time(server: &TestServer, name: &str) {
    let id = ProjectId::parse(name).expect("a name");
    let limits = Limits { calls_max: Some(1), ..Limits::default() };
    let project = Project { id, limits, created_by_use: false };
    server.app().store().set_project(project).await.expect("the store works");
}

fn scripted(script: &Value) -> Value {
    json!({"prompt": format!("sim:{script}"), "project_id": "single", "max_tokens": 100})
}

#[tokio::test]
async fn who_sends_again_what_is_done_does_not_stand_in_line() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    one_at_a_time(&server, "single").await;
    let done = server.caller().once("k").complete(scripted(&json!({"output": 3}))).await.done();
    let running = Raw::complete(server.address(), &scripted(&json!({"delay_ms": 60_000})).to_string()).await;
    until("a call runs", || simulator.requests().len() == 2).await;
    let waiting = Raw::complete(server.address(), &scripted(&json!({"output": 4})).to_string()).await;
    until("another waits", || server.app().open_reservations().count() == 2).await;
    let begun = Instant::now();
    let again = server.caller().once("k").complete(scripted(&json!({"output": 3}))).await.replayed();
    assert_eq!(again.id, done.id);
    assert!(begun.elapsed() < BOUND, "it has waited for its turn");
    drop((running, waiting));
}

#[tokio::test]
async fn an_attempt_goes_on_in_its_own_place_and_not_at_the_end_of_the_line() {
    let simulator = Simulator::start();
    let mut server = TestServer::start_on(&simulator, Settings::default()).await;
    server.expect_logged("broke off and is charged");
    one_at_a_time(&server, "single").await;
    let begun = Instant::now();
    let (first, caller) = (json!({"delay_ms": 300, "fault": "reset_after", "faults": 1}), server.caller());
    let first = caller.complete(scripted(&first));
    let second = async {
        until("the first runs", || simulator.requests().len() == 1).await;
        caller.complete(scripted(&json!({"output": 2}))).await
    };
    let (first, second) = tokio::join!(first, second);
    first.done();
    second.done();
    assert!(begun.elapsed() < BOUND, "each has waited for the other");
}

//! Several keys, and an upstream that does not take all of them: calls are answered for as long as one is taken, a key that is
//! not is left alone for its time, and retries are a part of what an upstream has to carry.

use std::time::Duration;

use claude_code_api_service::{config::Settings, project::ProjectId, store::EntriesWanted};
use claude_code_api_testkit::{
    Answer, Simulator, TestServer,
    simulator::{KEY, Script},
    until,
};
use claude_code_api_wire::{CompleteResponse, ErrorCode};
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn server(simulator: &Simulator, kinds: &[impl AsRef<str>]) -> TestServer {
    let keys = kinds.iter().map(|kind| format!("{KEY}-{}", kind.as_ref()).into()).collect();
    TestServer::start_on(simulator, Settings { anthropic_api_keys: Some(keys), ..Settings::default() }).await
}

fn call(script: &Value) -> Value {
    json!({"prompt": format!("Hello sim:{script}"), "model": "sonnet", "max_tokens": 100, "timeout": 20})
}

/// How often a key of this kind was used.
fn uses(simulator: &Simulator, kind: &str) -> usize {
    let key = format!("{KEY}-{kind}");
    simulator.headers().iter().filter(|headers| headers["x-api-key"] == key).count()
}

async fn entries(server: &TestServer) -> usize {
    let wanted =
        EntriesWanted { project: Some(ProjectId::default_project()), count_max: 100, ..EntriesWanted::default() };
    server.app().store().entries(wanted).await.expect("the store works").len()
}

/// How many keys may not be asked now, as health says.
fn resting(server: &TestServer) -> String {
    let detail = server.app().health().services["anthropic"].detail.clone().expect("it says how its keys are");
    let (_, resting) = detail.split_once("; ").expect("the count of those that rest");
    resting.split(' ').next().expect("a count").to_owned()
}

#[tokio::test]
async fn a_call_is_answered_where_one_key_is_taken_and_the_others_are_left_alone() {
    for bad in ["429", "529", "500", "401"] {
        let simulator = Simulator::start();
        let server = server(&simulator, &[bad, "good"]).await;
        for _ in 0..5 {
            server.caller().complete(call(&json!({}))).await.done();
        }
        assert_eq!((uses(&simulator, bad), uses(&simulator, "good")), (1, 5), "{bad}");
        let streamed = server.caller().stream(call(&json!({}))).await.to_the_end().await.done();
        assert!(streamed.cost_nanos > 0, "{bad}");
        assert_eq!((uses(&simulator, bad), entries(&server).await), (1, 6), "{bad}: only what was answered is charged");
    }
}

#[tokio::test]
async fn a_key_that_has_rested_is_asked_again() {
    let simulator = Simulator::start();
    let server = server(&simulator, &["429", "good"]).await;
    server.caller().complete(call(&json!({}))).await.done();
    until("the key has rested", || resting(&server) == "0").await;
    server.caller().complete(call(&json!({}))).await.done();
    assert_eq!((uses(&simulator, "429"), uses(&simulator, "good")), (2, 2));
}

#[tokio::test]
async fn where_no_key_is_taken_the_error_says_why_and_when_to_come_back() {
    use ErrorCode::{BackendError, Overloaded, RateLimited};
    let cases: [(&[&str], ErrorCode, bool, bool); 6] = [
        (&["429", "429"], RateLimited, true, true),
        (&["529", "529"], Overloaded, true, true),
        (&["500", "500"], BackendError, true, false),
        (&["401", "401"], BackendError, false, false),
        (&["401", "429"], RateLimited, true, true),
        (&["401"], BackendError, false, false),
    ];
    for (kinds, code, retryable, has_time) in cases {
        let simulator = Simulator::start();
        let server = server(&simulator, kinds).await;
        // The second finds the keys as the first has left them.
        for time in ["first", "second"] {
            let error = server.caller().complete(call(&json!({}))).await.error().error;
            assert_eq!((error.code, error.retryable), (code, retryable), "{kinds:?}, {time}: {error:?}");
            assert_eq!(error.retry_after.is_some(), has_time, "{kinds:?}, {time}: {error:?}");
            assert!(error.retry_after.is_none_or(|wait| (0.0..=1.0).contains(&wait)), "{kinds:?}, {time}: {error:?}");
        }
        if kinds.contains(&"401") {
            assert_eq!(uses(&simulator, "401"), kinds.iter().filter(|kind| **kind == "401").count(), "{kinds:?}");
        }
        assert_eq!((entries(&server).await, simulator.bill().len()), (0, 0), "{kinds:?}");
    }
}

#[tokio::test]
async fn what_the_upstream_forbids_one_call_rests_no_key() {
    let simulator = Simulator::start();
    let server = server(&simulator, &["one", "other"]).await;
    let error = server.caller().complete(call(&json!({"status": 403}))).await.error().error;
    assert_eq!((error.code, error.retryable), (ErrorCode::BackendError, false), "{error:?}");
    server.caller().complete(call(&json!({}))).await.done();
    assert_eq!(
        (uses(&simulator, "one"), uses(&simulator, "other")),
        (2, 0),
        "who is forbidden a model is not to stop others"
    );
}

#[tokio::test]
async fn attempts_of_every_kind_in_one_call_are_charged_as_what_each_was() {
    let step = |script: Value| serde_json::from_value::<Script>(script).expect("a script");
    let (refused, broken) = (json!({"status": 500}), json!({"fault": "reset_after", "output": 90}));
    let (late, good) = (json!({"output": 20, "reset_after_events": 8}), json!({"output": 20}));
    let limited = json!({"status": 429, "retry_after": "60"});
    let cases = [
        ("refused, then broken, then whole", vec![&refused, &broken, &good], None, 2),
        ("broken, then refused, then whole", vec![&broken, &refused, &good], None, 2),
        ("refused, broken, refused, whole", vec![&refused, &broken, &refused, &good], None, 2),
        ("broken twice", vec![&broken, &broken, &good], Some(ErrorCode::BackendError), 2),
        ("broken, then limited", vec![&broken, &limited, &good], Some(ErrorCode::RateLimited), 1),
        ("broken, then cut off", vec![&broken, &late, &good], Some(ErrorCode::BackendError), 2),
        ("cut off", vec![&late, &good], Some(ErrorCode::BackendError), 1),
    ];
    for (name, steps, error, charged) in cases {
        let simulator = Simulator::start();
        let mut server = server(&simulator, &["only"]).await;
        server.expect_logged("broke off and is charged");
        simulator.answer_next(steps.into_iter().cloned().map(step).collect());
        let request = json!({"prompt": "Hello", "model": "sonnet", "max_tokens": 100, "timeout": 20});
        let answer = server.caller().complete(request).await;
        match error {
            None => drop(answer.done()),
            Some(code) => assert_eq!(answer.error().error.code, code, "{name}"),
        }
        let (entries, billed) = (entries(&server).await, simulator.bill().len());
        assert_eq!((entries, billed), (charged, charged), "{name}");
    }
}

#[tokio::test]
async fn an_upstream_that_says_whether_to_come_back_is_obeyed() {
    for (status, should_retry, requests) in [(500, false, 1), (500, true, 3), (409, true, 3), (409, false, 1)] {
        let simulator = Simulator::start();
        let server = server(&simulator, &["only"]).await;
        let script = json!({"status": status, "should_retry": should_retry});
        let error = server.caller().complete(call(&script)).await.error().error;
        assert_eq!((error.code, error.retryable), (ErrorCode::BackendError, should_retry), "{script}: {error:?}");
        assert_eq!(simulator.requests().len(), requests, "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_a_part_of_what_an_upstream_has_to_carry() {
    const CALLS: usize = 40;
    let simulator = Simulator::start();
    // More keys than attempts: none of them waits for a key that rests.
    let keys: Vec<String> = (0..3 * CALLS).map(|number| format!("key{number}")).collect();
    let server = server(&simulator, &keys).await;
    let caller = server.caller();
    let refused = join_all((0..CALLS).map(|_| caller.complete(call(&json!({"status": 529}))))).await;
    assert!(refused.iter().all(|answer| answer.error().error.code == ErrorCode::Overloaded));
    let retries = simulator.requests().len() - CALLS;
    println!("{retries} retries of {CALLS} calls");
    assert!((10..=10 + CALLS / 5).contains(&retries), "{retries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_calls_fail_is_left_alone_then_asked_by_one_call_then_by_all() {
    let simulator = Simulator::start();
    let server = server(&simulator, &["only"]).await;
    let caller = server.caller();
    let failing = call(&json!({"status": 500}));
    // Three attempts each: the fifth failure makes it rest, and the sixth finds that nothing is better.
    for _ in 0..2 {
        assert_eq!(caller.complete(failing.clone()).await.error().error.code, ErrorCode::BackendError);
    }
    assert_eq!(resting(&server), "1", "after so many failures it rests");
    let before = simulator.requests().len();
    let good = call(&json!({"delay_ms": 400}));
    let answers = join_all((0..3).map(|_| caller.complete(good.clone())));
    let watched = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(simulator.requests().len(), before, "it was asked while it rests");
        until("one call finds out", || simulator.requests().len() > before).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(simulator.requests().len(), before + 1, "one call is enough to find out");
    };
    let (answers, ()) = tokio::join!(answers, watched);
    let answers: Vec<CompleteResponse> = answers.iter().map(Answer::done).collect();
    assert_eq!((answers.len(), simulator.requests().len() - before), (3, 3));
    assert_eq!(resting(&server), "0");
}

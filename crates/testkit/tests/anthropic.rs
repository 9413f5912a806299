//! Claude over the Messages API, against the simulator: what is answered, what it costs, and what every failure is charged.

use std::{sync::Arc, time::Instant};

use claude_code_api_service::{
    backend::{Asked, Backend, Prompt, Reason, Spend, anthropic::Anthropic, conformance},
    config::{Config, Settings},
    ledger::{Clamp, Ended, Entry, Limit, Limits, Project},
    project::ProjectId,
    store::EntriesWanted,
    window::Period,
};
use claude_code_api_testkit::{Answer, Simulator, TestServer, simulator::KEY};
use claude_code_api_wire::{ErrorCode, Fields, Message, Role, UsageReport};
use futures_util::StreamExt;
use serde_json::{Value, json};

fn backend(simulator: &Simulator) -> Anthropic {
    let settings = Settings {
        anthropic_api_key: Some(KEY.to_owned().into()),
        anthropic_base_url: Some(simulator.base_url()),
        ..Settings::default()
    };
    let config = Config::from_settings(&settings).expect("in range");
    Anthropic::new(&config.anthropic).expect("a backend")
}

fn call(script: &Value, max_tokens: u32) -> Value {
    json!({"prompt": format!("Hello sim:{script}"), "model": "sonnet", "max_tokens": max_tokens})
}

async fn used(server: &TestServer, project: &str) -> UsageReport {
    server.caller().get(&format!("/v1/usage?project_id={project}")).await.json()
}

#[tokio::test]
async fn the_backend_passes() {
    conformance::passes(&backend(&Simulator::start())).await;
}

#[tokio::test]
async fn an_answer_is_charged_to_the_nano_dollar() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let answer = server.caller().complete(call(&json!({"input": 101, "output": 77}), 500)).await.done();
    assert_eq!((answer.model.as_str(), answer.model_id.as_str()), ("sonnet", "claude-sonnet-5-5"));
    assert_eq!((answer.usage.input_tokens, answer.usage.output_tokens), (101, 77));
    assert_eq!(answer.cost_nanos, 101 * 2_000 + 77 * 10_000);
    let streamed = call(&json!({"input": 10, "output": 5}), 500);
    let streamed = server.caller().stream(streamed).await.to_the_end().await.done();
    assert_eq!(streamed.cost_nanos, 10 * 2_000 + 5 * 10_000);
    let usage = used(&server, "default").await;
    assert_eq!(usage.total_cost_nanos, answer.cost_nanos + streamed.cost_nanos);
    assert_eq!((usage.total_cost_nanos, usage.by_model["sonnet"].requests), (simulator.billed_nanos(), 2));
}

#[tokio::test]
async fn an_answer_of_a_model_without_price_is_charged_at_the_dearest() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let script = json!({"input": 100, "output": 10, "model": "claude-tomorrow-9"});
    // The excess over what was held is told, as nobody could have bounded it.
    let mut server = server;
    server.expect_logged("came to more than was held");
    let answer = server.caller().complete(call(&script, 10)).await.done();
    assert_eq!((answer.cost_nanos, answer.model_id.as_str()), (100 * 10_000 + 10 * 50_000, "claude-tomorrow-9"));
    let verified = server.app().store().verify().await.expect("verified");
    assert_eq!((verified.entries, verified.estimated, verified.overruns), (1, 0, 1));
    let error = server.caller().complete(json!({"prompt": "Hello", "model": "claude-tomorrow-9"})).await.error().error;
    assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidRequest, Some("model")));
    assert!(error.message.contains("no known price"), "{}", error.message);
}

#[tokio::test]
async fn every_failure_is_charged_as_what_it_was() {
    let simulator = Simulator::start();
    let cases = [
        (json!({"status": 400}), Spend::Unspent, "refused 400"),
        (json!({"status": 404}), Spend::Unspent, "refused 404"),
        (json!({"status": 413}), Spend::Unspent, "refused 413"),
        (json!({"status": 401}), Spend::Unspent, "broken for good"),
        (json!({"status": 402}), Spend::Unspent, "broken for good"),
        (json!({"status": 500}), Spend::Unspent, "broken"),
        (json!({"status": 504}), Spend::Unspent, "broken"),
        (json!({"status": 429, "retry_after": "7"}), Spend::Unspent, "limited for 7"),
        (json!({"status": 529}), Spend::Unspent, "overloaded for 1"),
        (json!({"fault": "reset_before"}), Spend::Unknown, "broken"),
        (json!({"fault": "reset_after"}), Spend::Unknown, "broken"),
        (json!({"fault": "garbage"}), Spend::Unknown, "broken"),
        (json!({"fault": "html"}), Spend::Unknown, "broken"),
        (json!({"fault": "whole"}), Spend::Unknown, "broken"),
    ];
    for (script, spend, reason) in cases {
        let message = Message { role: Role::User, content: format!("sim:{script}") };
        let mut fields = Fields::default();
        fields.set("messages", &[message]);
        let prompt =
            Prompt { request: Arc::new(Asked { fields, ..Asked::default() }), max_tokens: 5, ..Prompt::default() };
        // A key of its own, as some of these are for the key to answer for.
        let Err(failure) = backend(&simulator).call("claude-sonnet-5-5", prompt).await else {
            panic!("{script}: an answer")
        };
        let found = match failure.reason {
            Reason::Broken { retryable, .. } => if retryable { "broken" } else { "broken for good" }.to_owned(),
            Reason::Refused { status, .. } => format!("refused {status}"),
            Reason::RateLimited { retry_after, .. } => format!("limited for {}", retry_after.as_secs()),
            Reason::Overloaded { retry_after } => format!("overloaded for {}", retry_after.as_secs()),
            Reason::Invalid { .. } => panic!("{script}: the caller did nothing wrong"),
        };
        assert_eq!((failure.spend, found.as_str()), (spend, reason), "{script}");
    }
}

#[tokio::test]
async fn an_attempt_of_which_nothing_is_known_is_charged_at_its_worst_case() {
    let simulator = Simulator::start();
    let mut server = TestServer::start_on(&simulator, Settings::default()).await;
    server.expect_logged("broke off and is charged");
    let refused = call(&json!({"status": 500}), 1_000);
    assert_eq!(server.caller().complete(refused).await.error().error.code, ErrorCode::BackendError);
    assert_eq!(used(&server, "default").await.total_cost_nanos, 0, "an error status costs nothing");
    let lost = call(&json!({"fault": "reset_after", "input": 20, "output": 900}), 1_000);
    assert_eq!(server.caller().complete(lost).await.error().error.code, ErrorCode::BackendError);
    let usage = used(&server, "default").await;
    assert!(usage.total_cost_nanos >= 1_000 * 10_000 && usage.total_cost_nanos > simulator.billed_nanos(), "{usage:?}");
    // A server of its own, as the key is left alone after so many failures.
    drop(server);
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let mut late = call(&json!({"delay_ms": 5_000}), 1_000);
    late["timeout"] = json!(0.2);
    assert_eq!(server.caller().complete(late).await.error().error.code, ErrorCode::Timeout);
    assert!(used(&server, "default").await.total_cost_nanos >= 1_000 * 10_000);
}

async fn entries(server: &TestServer, project: &str) -> Vec<Entry> {
    let project = Some(ProjectId::parse(project).expect("a name"));
    let wanted = EntriesWanted { project, count_max: 100, ..EntriesWanted::default() };
    server.app().store().entries(wanted).await.expect("the store works")
}

/// A project that may spend this much a day, in nano-dollars.
fn of(project: &str, mut request: Value) -> Value {
    request["project_id"] = json!(project);
    request
}

#[tokio::test]
async fn an_attempt_that_broke_off_is_charged_and_tried_again_under_a_hold_of_its_own() {
    let simulator = Simulator::start();
    let mut server = TestServer::start_on(&simulator, Settings::default()).await;
    server.expect_logged("broke off and is charged");
    let flaky = call(&json!({"fault": "reset_after", "faults": 1, "input": 20, "output": 90}), 100);
    let answer = server.caller().once("k").complete(flaky).await.done();
    let found = entries(&server, "default").await;
    let [whole, broken] = found.as_slice() else { panic!("not two attempts: {found:?}") };
    assert!(found.iter().all(|entry| entry.call.to_string() == answer.id), "{found:?}");
    assert_eq!((whole.spent.ended, whole.spent.exact, whole.spent.cost.0), (Ended::Complete, true, answer.cost_nanos));
    assert_eq!((broken.spent.ended, broken.spent.exact), (Ended::Failed, false));
    assert!(broken.spent.cost.0 >= 100 * 10_000, "charged at its worst case: {broken:?}");
    let used = used(&server, "default").await.total_cost_nanos;
    assert!(used == broken.spent.cost.0 + answer.cost_nanos && used >= simulator.billed_nanos(), "{used}");
}

#[tokio::test]
async fn no_attempt_is_made_that_the_budget_or_the_call_s_own_limit_does_not_cover() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    // Room for one attempt of at most 100 tokens out at 10,000 each, and not for two.
    server.limit_money("once", 2_000_000).await;
    let flaky = |output: u32| call(&json!({"fault": "reset_after", "faults": 1, "output": output}), 100);
    let mut frugal = of("frugal", flaky(6));
    frugal["max_cost"] = json!(0.002);
    for (project, request) in [("once", of("once", flaky(5))), ("frugal", frugal)] {
        let requests = simulator.requests().len();
        let error = server.caller().complete(request).await.error().error;
        assert_eq!((error.code, error.retryable), (ErrorCode::BackendError, true), "{project}: {error:?}");
        assert_eq!(simulator.requests().len() - requests, 1, "{project}");
        let found = entries(&server, project).await;
        assert_eq!(found.len(), 1, "{project}: {found:?}");
        assert!(used(&server, project).await.total_cost_nanos <= 2_000_000, "{project}");
    }
}

#[tokio::test]
async fn an_input_that_is_too_long_by_its_bytes_is_counted() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    server.limit_money("tight", 10_000_000).await;
    // 20,000 bytes at 2,000 nano-dollars each are more than is left; the 1,000 tokens that they are, are not.
    let long = |script: Value| {
        let text = "word ".repeat(4_000);
        json!({"prompt": format!("{text} sim:{script}"), "model": "sonnet", "max_tokens": 100, "project_id": "tight"})
    };
    let answer = server.caller().complete(long(json!({"count": 1_000, "input": 1_020, "output": 5}))).await.done();
    assert_eq!(answer.cost_nanos, 1_020 * 2_000 + 5 * 10_000);
    assert_eq!(simulator.counted().len(), 1);
    let body = &simulator.counted()[0];
    assert!(body.get("max_tokens").is_none() && body["model"] == "claude-sonnet-5-5", "{body}");
    // Where counting fails, or says that it is too much, the refusal stands.
    for count in [0, 5_000] {
        let error = server.caller().complete(long(json!({"count": count}))).await.error().error;
        assert_eq!(error.code, ErrorCode::BudgetExceeded, "{count}");
    }
    assert_eq!((simulator.counted().len(), simulator.requests().len()), (3, 1));
    // `auto` is not haiku, and an answer is not cut short, where only the bytes are too many.
    let mut auto = long(json!({"count": 1_000, "input": 900}));
    (auto["model"], auto["max_tokens"], auto["routing"]) = (json!("auto"), Value::Null, json!(0));
    server.limit_money("tight", 50_000_000).await;
    let answer = server.caller().complete(auto).await.done();
    assert!(answer.model != "haiku" && answer.clamped_max_tokens.is_none(), "{answer:?}");
    // What fits is not counted, as that takes time.
    let counted = simulator.counted().len();
    server.caller().complete(of("tight", call(&json!({}), 5))).await.done();
    assert_eq!(simulator.counted().len(), counted);
}

#[tokio::test]
async fn an_input_that_may_be_priced_at_a_dearer_band_is_counted_where_money_is_limited() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    // 150,000 bytes in the upper band could cost 75 million, which is there; 40,000 tokens in the lower one are 4 million.
    server.limit_money("ample", 200_000_000).await;
    let script = json!({"count": 40_000, "input": 40_000, "output": 5, "delay_ms": 500});
    let prompt = format!("{} sim:{script}", "x".repeat(150_000));
    let request = json!({"prompt": prompt, "model": "haiku", "max_tokens": 100});
    let (caller, held) = (server.caller(), async {
        loop {
            let held = server.app().store().usage(ProjectId::parse("ample").expect("a name"), Period::Day).await;
            let held = held.expect("the store works").held.nanos;
            if held > 0 {
                return held;
            }
        }
    });
    let (answer, held) = tokio::join!(caller.complete(of("ample", request.clone())), held);
    assert_eq!(answer.done().cost_nanos, 40_000 * 100 + 5 * 500);
    assert!(held < 5_000_000, "held at the dearer band: {held}");
    assert_eq!(simulator.counted().len(), 1);
    caller.complete(of("unlimited", request)).await.done();
    assert_eq!(simulator.counted().len(), 1, "who has no limit need not wait for a count");
}

#[tokio::test]
async fn auto_is_haiku_where_what_is_left_does_not_cover_the_default() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    server.limit_money("poor", 5_000_000).await;
    let request = json!({"prompt": "Hello", "max_tokens": 1_000});
    let rich = server.caller().complete(request.clone()).await.done();
    assert_eq!(
        (rich.model.as_str(), rich.route.expect("chosen").reason.as_str()),
        ("sonnet", "too little of it is like what the router knows: the default tier")
    );
    let poor = server.caller().complete(of("poor", request.clone())).await.done();
    assert_eq!((poor.model.as_str(), poor.clamped_max_tokens), ("haiku", None));
    let route = poor.route.expect("chosen");
    assert_eq!((route.tier.as_str(), route.reason.contains("does not cover sonnet")), ("haiku", true), "{route:?}");
    let mut asked = of("poor", request);
    asked["model"] = json!("sonnet");
    let error = server.caller().complete(asked).await.error().error;
    assert_eq!(error.code, ErrorCode::BudgetExceeded, "who asks for a model does not get another one");
}

#[tokio::test]
async fn what_claude_does_not_take_is_refused() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let error = server.caller().complete(json!({"prompt": "Hello", "seed": 7})).await.error().error;
    assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidRequest, Some("seed")));
    assert!(simulator.requests().is_empty());
    let asked =
        json!({"prompt": "Hi", "system": "Be brief.", "temperature": 0.5, "top_p": 0.5, "stop_sequences": ["x"]});
    server.caller().complete(asked).await.done();
    let expected = json!({
        "model": "claude-sonnet-5-5", "max_tokens": 4096, "messages": [{"role": "user", "content": "Hi"}],
        "system": "Be brief.", "temperature": 0.5, "top_p": 0.5, "stop_sequences": ["x"], "stream": true,
    });
    assert_eq!(simulator.requests(), [expected]);
}

#[tokio::test]
async fn the_key_is_shown_nowhere() {
    let simulator = Simulator::start();
    let settings = Settings { anthropic_api_key: Some("sk-ant-secret".to_owned().into()), ..Settings::default() };
    let config = Config::from_settings(&settings).expect("in range");
    assert!(!format!("{config:?}{settings:?}").contains("sk-ant-secret"));
    let server = TestServer::start_on(&simulator, settings).await;
    let answer = server.caller().complete(call(&json!({}), 5)).await;
    assert_eq!(answer.error().error.code, ErrorCode::BackendError, "the simulator knows another key");
    assert!(!answer.body.contains("sk-ant-secret") && answer.body.contains("invalid x-api-key"), "{}", answer.body);
}

/// Two thousand calls at once, whose real cost is a part of their worst case, against a quarter of what they would cost.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_used_up_and_never_passed() {
    const CALLS: u64 = 2_000;
    let simulator = Simulator::start();
    let settings = Settings { budget_wait: Some(60.0), ..Settings::default() };
    let server = TestServer::start_on(&simulator, settings).await;
    // On average 27 % of 1,000 tokens of output, at 10,000 nano-dollars each.
    let limit = i64::try_from(CALLS * 275 * 10_000 / 4).expect("small");
    let month = Limit { tokens: None, nanos: Some(limit) };
    let limits =
        Limits { windows: [Limit::default(), Limit::default(), month], clamp: Clamp::Never, ..Limits::default() };
    let id = ProjectId::parse("crowd").expect("a name");
    let project = Project { id, limits, created_by_use: false };
    server.app().store().set_project(project).await.expect("the store works");
    let caller = server.caller();
    let begun = Instant::now();
    let calls = (0..CALLS).map(|index| {
        let mut request = call(&json!({"input": 10, "output": 50 + index * 7 % 450, "delay_ms": 5}), 1_000);
        request["project_id"] = json!("crowd");
        let caller = &caller;
        async move { caller.complete(request).await }
    });
    let answers: Vec<_> = futures_util::stream::iter(calls).buffer_unordered(2_000).collect().await;
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 200).map(Answer::done).collect();
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.error().error.code, ErrorCode::BudgetExceeded);
    }
    let spent = used(&server, "crowd").await.total_cost_nanos;
    let percent = spent * 100 / limit;
    println!("{} of {CALLS} answered, {percent} % of the limit, in {:?}", done.len(), begun.elapsed());
    assert_eq!(spent, done.iter().map(|answer| answer.cost_nanos).sum::<i64>());
    assert_eq!(spent, simulator.billed_nanos(), "the ledger and the bill");
    assert!(spent <= limit && percent >= 95, "{spent} of {limit}");
}

#[tokio::test]
async fn an_answer_whose_end_does_not_say_what_was_generated_is_charged_as_an_estimate() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let asked = json!({"prompt": "x sim:{\"output\": 300, \"no_usage\": true}", "model": "haiku", "max_tokens": 5_000});
    let answer = server.caller().complete(asked).await.done();
    let [entry] = entries(&server, "default").await.try_into().expect("one entry");
    assert!(!entry.spent.exact && entry.spent.usage.output_tokens >= 300, "{entry:?}");
    assert_eq!((entry.spent.ended, answer.cost_nanos), (Ended::Complete, entry.spent.cost.0));
    let generated: i64 = simulator.billed_nanos();
    assert!(answer.cost_nanos >= generated, "{} of {generated}", answer.cost_nanos);
}

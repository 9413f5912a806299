//! The Rust client, async and blocking, against the real service.

#![expect(clippy::disallowed_methods, reason = "a test has tasks of its own")]

use std::time::{Duration, Instant};

use claude_code_api_client::{Client, Error, ErrorCode, HealthStatus, Message, Period, Request, Role, blocking};
use claude_code_api_service::{
    config::Settings,
    key::{Key, Scope},
    ledger::{Limit, Limits, Project},
    project::ProjectId,
    window::Moment,
};
use claude_code_api_testkit::{TestServer, until};
use secrecy::ExposeSecret;

fn client(server: &TestServer) -> Client {
    Client::builder().base_url(server.base_url()).build().expect("a client")
}

fn endless() -> Request {
    // Sampled, it may end early.
    Request::new("Tell a long story about the sea.").max_tokens(4_000).temperature(0.0).seed(1)
}

async fn slots_are_free(server: &TestServer, claim: &str) {
    until(claim, || server.local().calls_running() == 0).await;
}

#[tokio::test]
async fn a_whole_answer_has_content_usage_and_the_model_that_ran() {
    let server = TestServer::start().await;
    let answer = client(&server).complete(Request::new("Say hello").max_tokens(8)).await.expect("an answer");
    assert_eq!(answer.model_id, "smollm2-135m-instruct");
    assert_eq!(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
    assert!(!answer.content.is_empty());
}

#[tokio::test]
async fn a_conversation_is_more_than_its_last_turn() {
    let server = TestServer::start().await;
    let turn = |role, content: &str| Message { role, content: content.to_owned() };
    let last = turn(Role::User, "And now?");
    let turns = [turn(Role::User, "Hello"), turn(Role::Assistant, "Hello to you."), last.clone()];
    let whole = client(&server).complete(Request::conversation(turns).max_tokens(1)).await.expect("an answer");
    let alone = client(&server).complete(Request::conversation([last]).max_tokens(1)).await.expect("an answer");
    assert!(whole.usage.input_tokens > alone.usage.input_tokens);
}

#[tokio::test]
async fn a_stream_gives_the_text_piece_by_piece_and_the_response_at_its_end() {
    let server = TestServer::start().await;
    let mut stream = client(&server).stream(Request::new("Count to five").max_tokens(20)).await.expect("a stream");
    assert!(stream.id().is_some() && stream.response().is_none());
    let mut pieces = Vec::new();
    while let Some(text) = stream.next().await {
        pieces.push(text.expect("no error"));
    }
    assert!(pieces.len() > 1, "one piece is no stream: {pieces:?}");
    assert_eq!(stream.response().expect("the end has come").content, pieces.concat());
    assert_eq!(stream.text(), pieces.concat());
}

#[tokio::test]
async fn dropping_a_stream_or_a_call_frees_its_slot() {
    let server = TestServer::start().await;
    let client = client(&server);
    drop(client.stream(endless()).await.expect("a stream"));
    slots_are_free(&server, "the slot of a dropped stream is free").await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.complete(endless()).await }
    });
    until("the call runs", || server.local().calls_running() == 1).await;
    call.abort();
    slots_are_free(&server, "the slot of an aborted call is free").await;
}

#[tokio::test]
async fn the_deadline_of_a_call_is_a_time_out_and_is_not_tried_again() {
    let server = TestServer::start().await;
    let error = client(&server).complete(endless().timeout(Duration::from_millis(600))).await.expect_err("too long");
    assert!(error.is_timeout() && error.attempts() == 1, "{error}");
    slots_are_free(&server, "the slot of a timed-out call is free").await;
    let stream = client(&server).stream(endless().total_timeout(Duration::from_secs(3))).await;
    let mut stream = stream.expect("the first text comes sooner");
    let error = loop {
        match stream.next().await.expect("an error comes before the end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_timeout(), "{error}");
}

#[tokio::test]
async fn a_refusal_carries_the_code_the_field_and_the_request_id() {
    let server = TestServer::start().await;
    let error = client(&server).complete(Request::new("Hi").model("gpt-4")).await.expect_err("no such model");
    assert!(error.is_invalid_request() && !error.is_retryable());
    assert_eq!((error.status(), error.code(), error.attempts()), (Some(400), Some(ErrorCode::InvalidRequest), 1));
    let body = error.body().expect("the service answered");
    assert_eq!(body.field.as_deref(), Some("model"));
    assert_eq!(error.request_id(), Some(body.request_id.as_str()));
    assert!(error.to_string().contains("gpt-4") && error.to_string().contains(&body.request_id), "{error}");
}

#[tokio::test]
async fn a_full_service_is_tried_again_until_it_has_room() {
    let settings = Settings { local_slots: Some(1), local_queue_max: Some(1), ..Settings::default() };
    let server = TestServer::start_with(settings).await;
    let client = client(&server);
    let running = client.stream(endless()).await.expect("the one slot");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.complete(Request::new("Hi").max_tokens(2)).await }
    });
    until("the queue is full", || server.calls_waiting() == 1).await;
    let once = Client::builder().base_url(server.base_url()).max_retries(1).build().expect("a client");
    let refused = once.complete("Hi").await.expect_err("no room");
    assert!(refused.is_overloaded() && refused.is_retryable(), "{refused}");
    assert!(refused.retry_after().is_some_and(|wait| wait >= Duration::from_secs(1)));
    // A call under a key runs on for two seconds when nobody listens, and whoever waits in the queue comes first.
    let patient = Client::builder().base_url(server.base_url()).max_retries(10).build().expect("a client");
    let patient = patient.complete(Request::new("Hi").max_tokens(2));
    let make_room = async {
        tokio::task::yield_now().await;
        drop(running);
    };
    let (answer, ()) = tokio::join!(patient, make_room);
    answer.expect("there is room in the end");
    waiting.await.expect("no panic").expect("it had its turn");
}

#[tokio::test]
async fn a_key_has_its_project_s_budget_and_pace_and_is_told_what_is_left() {
    let server = TestServer::start().await;
    let store = server.app().store();
    let tight = |tokens, requests_per_minute| {
        let day = Limit { tokens: Some(tokens), nanos: None };
        Limits { windows: [day, Limit::default(), Limit::default()], requests_per_minute, ..Limits::default() }
    };
    let mut clients = Vec::new();
    for (name, limits) in [("tight", tight(60, None)), ("paced", tight(1_000_000, Some(1)))] {
        let id = ProjectId::parse(name).expect("a name");
        let (key, secret) = Key::new(String::new(), Scope::Project(id.clone()), Moment::of_system(), None);
        store.set_project(Project { id, limits, created_by_use: false }).await.expect("the store works");
        store.add_key(key).await.expect("the store works");
        let client = Client::builder().base_url(server.base_url()).max_retries(1).api_key(secret.expose_secret());
        clients.push(client.build().expect("a client"));
    }
    until("the keys are known", || !server.app().directory().is_open()).await;
    let refused = clients[0].complete("Hi").await.expect_err("60 tokens cover no default answer");
    assert!(refused.is_budget_exceeded() && !refused.is_retryable() && !refused.is_rate_limited(), "{refused}");
    let budget = refused.budget().expect("the figures");
    assert_eq!((budget.limit, budget.used, budget.held, budget.remaining), (60.0, 0.0, 0.0, 60.0));
    assert!(budget.resets_at.is_some(), "{budget:?}");
    let answer = clients[0].complete(Request::new("Hi").max_tokens(5)).await.expect("an answer");
    let used = clients[0].usage(None, Period::Day).await.expect("usage");
    assert_eq!((used.project_id.as_str(), answer.project_id.as_str(), used.limit), ("tight", "tight", Some(60)));
    assert_eq!(used.remaining, Some(60 - answer.usage.total_tokens.cast_signed()));
    clients[1].complete(Request::new("Hi").max_tokens(2)).await.expect("the first of a minute");
    let refused = clients[1].complete(Request::new("Hi").max_tokens(2)).await.expect_err("the second");
    assert!(refused.is_rate_limited() && refused.is_retryable(), "{refused}");
    assert!(refused.retry_after().is_some_and(|wait| wait > Duration::from_secs(30)), "{refused:?}");
    for wrong in
        [client(&server), Client::builder().base_url(server.base_url()).api_key("ccak_none").build().expect("one")]
    {
        let refused = wrong.complete("Hi").await.expect_err("no key, or none that is known");
        assert!(refused.is_authentication() && refused.status() == Some(401), "{refused}");
    }
}

#[tokio::test]
async fn health_says_ok_and_nobody_there_says_where() {
    let server = TestServer::start().await;
    assert_eq!(client(&server).health().await.expect("health").status, HealthStatus::Ok);
    let nobody = Client::builder().base_url("http://127.0.0.1:1").max_retries(2).retry_delay(Duration::ZERO);
    let error = nobody.build().expect("a client").complete("Hi").await.expect_err("nobody there");
    assert!(error.is_connection() && error.attempts() == 2, "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1/"), "{error}");
}

/// Runs blocking code beside the server's runtime.
async fn blocking<T: Send + 'static>(
    server: &TestServer,
    run: impl FnOnce(blocking::Client) -> T + Send + 'static,
) -> T {
    let client = blocking::Client::from(client(server));
    tokio::task::spawn_blocking(|| run(client)).await.expect("no panic")
}

#[tokio::test]
async fn the_blocking_client_answers_and_streams() {
    let server = TestServer::start().await;
    let run = |client: blocking::Client| -> Result<(), Error> {
        assert_eq!(client.health()?.status, HealthStatus::Ok);
        assert!(!client.complete(Request::new("Say hello").max_tokens(8))?.content.is_empty());
        let mut stream = client.stream(Request::new("Count to five").max_tokens(20))?;
        let text = stream.by_ref().collect::<Result<String, Error>>()?;
        assert_eq!(stream.response().expect("ended").content, text);
        Ok(())
    };
    blocking(&server, run).await.expect("no error");
}

#[tokio::test]
async fn closing_a_blocking_stream_frees_its_slot_though_nothing_drives_it_any_more() {
    let server = TestServer::start().await;
    let client = blocking(&server, |client| {
        let mut stream = client.stream(endless()).expect("a stream");
        stream.next().expect("text").expect("no error");
        drop(stream);
        client
    })
    .await;
    slots_are_free(&server, "the slot of a closed blocking stream is free").await;
    tokio::task::spawn_blocking(|| drop(client)).await.expect("no panic");
}

#[tokio::test]
async fn a_wait_that_is_told_to_stop_ends_soon_and_frees_its_slot() {
    let server = TestServer::start().await;
    let client = blocking(&server, |client| {
        let begun = Instant::now();
        let mut stop = || begun.elapsed() > Duration::from_millis(300);
        let error = client.wait(client.inner().complete(endless()), Some(&mut stop)).expect_err("told to stop");
        assert_eq!(error.kind(), claude_code_api_client::ErrorKind::Interrupted);
        println!("told to stop after 300 ms, stopped after {:?}", begun.elapsed());
        client
    })
    .await;
    slots_are_free(&server, "the slot of an interrupted call is free").await;
    tokio::task::spawn_blocking(|| drop(client)).await.expect("no panic");
}

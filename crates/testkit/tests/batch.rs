//! `POST /v1/batch`: many prompts, each a call of its own; together, or one by one.

use std::collections::BTreeSet;

use claude_code_api_service::{
    config::Settings,
    ledger::{Limit, Limits, Project},
    project::ProjectId,
};
use claude_code_api_testkit::{Answer, Simulator, TestServer, json_of, until};
use claude_code_api_wire::{
    BatchEvent, BatchResponse, BatchResult, BatchStatus, ErrorCode,
    sse::{Decoder, Frame},
};
use http::Method;
use serde_json::{Value, json};

fn results(response: BatchResponse) -> Vec<BatchResult> {
    response.results.expect("results")
}

/// The results of a stream, as they came, and its totals.
fn streamed(answer: &Answer) -> (Vec<BatchEvent>, BatchResponse) {
    let mut decoder = Decoder::default();
    decoder.push(answer.body.as_bytes());
    let (mut results, mut done) = (Vec::new(), None);
    while let Some(frame) = decoder.next_frame().expect("short frames") {
        match frame {
            Frame::Event { name, data } if name == "result" => {
                results.push(serde_json::from_str(&data).expect("a result"));
            }
            Frame::Event { name, data } if name == "done" => done = Some(serde_json::from_str(&data).expect("totals")),
            Frame::Comment(_) => {}
            Frame::Event { .. } => panic!("{frame:?}"),
        }
    }
    (results, done.expect("the totals at the end"))
}

async fn limited(server: &TestServer, name: &str, limits: Limits) {
    let id = ProjectId::parse(name).expect("a name");
    let project = Project { id: id.clone(), limits, created_by_use: false };
    server.app().store().set_project(project).await.expect("the store works");
    until("the limit is known", || server.app().directory().project(&id).is_some()).await;
}

#[tokio::test]
async fn every_prompt_has_its_result_in_its_place() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts: Vec<Value> = (0..40)
        .map(|number| match number % 4 {
            0 => json!(format!("plain {number} sim:{{\"output\": {}}}", number + 1)),
            3 => json!({"prompt": format!("{number} sim:{{\"status\": 400}}"), "id": format!("item-{number}")}),
            _ => json!({"prompt": format!("{number} sim:{{\"delay_ms\": {}}}", 40 - number), "id": format!("item-{number}")}),
        })
        .collect();
    let body = json!({"prompts": prompts, "model": "haiku", "max_tokens": 100, "system": "Be brief."});
    let answer: BatchResponse = server.caller().post("/v1/batch", body.to_string()).await.json();
    assert_eq!((answer.total, answer.completed, answer.failed), (40, 30, 10));
    let (cost, tokens) = (answer.total_cost_nanos, answer.total_tokens);
    for (number, result) in results(answer).into_iter().enumerate() {
        let (id, prompt) = match &prompts[number] {
            Value::String(prompt) => (None, prompt.as_str()),
            object => (object["id"].as_str(), object["prompt"].as_str().expect("a prompt")),
        };
        assert_eq!((result.id.as_deref(), result.prompt.as_str()), (id, prompt));
        let is_whole =
            result.content.is_some() && result.usage.is_some() && result.cost.is_some() && result.call_id.is_some();
        let failed = (result.status == BatchStatus::Failed, result.error.is_some(), result.error_code);
        if number % 4 == 3 {
            assert_eq!((failed, is_whole), ((true, true, Some(ErrorCode::InvalidRequest)), false), "{result:?}");
        } else {
            assert_eq!((failed, is_whole), ((false, false, None), true), "{result:?}");
            assert_eq!(result.model.as_deref(), Some("haiku"));
        }
    }
    let usage: Value = server.caller().get("/v1/usage").await.json();
    assert_eq!((usage["total_cost_nanos"].as_i64(), usage["total_tokens"].as_u64()), (Some(cost), Some(tokens)));
    assert!(simulator.requests().iter().all(|asked| asked["system"] == "Be brief." && asked["max_tokens"] == 100));
}

#[tokio::test]
async fn a_stream_tells_each_result_as_it_comes_and_the_totals_at_the_end() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts: Vec<String> =
        (0..20).map(|number| format!("{number} sim:{{\"delay_ms\": {}}}", 400 - 20 * number)).collect();
    let body = json!({"prompts": prompts, "model": "haiku", "stream": true, "max_concurrency": 20});
    let (events, done) = streamed(&server.caller().post("/v1/batch", body.to_string()).await);
    assert_eq!((done.total, done.completed, done.results), (20, 20, None));
    let places: BTreeSet<usize> = events.iter().map(|event| event.index).collect();
    assert!(places.len() == 20 && events.iter().all(|event| event.result.prompt == prompts[event.index]));
    assert!(events[0].index > events[19].index, "the shortest came first");
    let spent: i64 = events.iter().filter_map(|event| event.result.cost_nanos).sum();
    assert_eq!(spent, done.total_cost_nanos);
}

#[tokio::test]
async fn no_more_calls_run_at_a_time_than_were_asked_for() {
    for (body, most) in [(json!({"max_concurrency": 3}), 3), (json!({"parallel": false}), 1)] {
        let simulator = Simulator::start();
        let server = TestServer::start_on(&simulator, Settings::default()).await;
        let mut body = body;
        body["model"] = json!("haiku");
        body["prompts"] = json!(vec!["sim:{\"first_ms\": 60}"; 12]);
        let mut seen = 0;
        let caller = server.caller();
        let watched = async {
            loop {
                seen = seen.max(simulator.open_streams());
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let answer = tokio::select! {
            answer = caller.post("/v1/batch", body.to_string()) => answer,
            () = watched => unreachable!("it goes on"),
        };
        assert_eq!(answer.json::<BatchResponse>().completed, 12);
        assert_eq!(seen, most);
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_request_fails_all_of_it() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let cases = [
        (json!({}), "body"),
        (json!({"prompts": "x"}), "prompts"),
        (json!({"prompts": ["a", 5]}), "prompts[1]"),
        (json!({"prompts": ["a", {"id": "x"}]}), "prompts[1]"),
        (json!({"prompts": ["a", {"prompt": "b", "ident": "x"}]}), "prompts[1].ident"),
        (json!({"prompts": ["a", " "]}), "prompts[1]"),
        (json!({"prompts": ["a"], "model": "gpt-4"}), "model"),
        (json!({"prompts": ["a"], "model": "claude-unheard-of"}), "model"),
        (json!({"prompts": ["a"], "max_tokens": 0}), "max_tokens"),
        (json!({"prompts": ["a"], "max_concurrency": 0}), "max_concurrency"),
        (json!({"prompts": ["a"], "timeout": -1}), "timeout"),
        (json!({"prompts": ["a"], "promt": "b"}), "promt"),
    ];
    for (body, field) in cases {
        let error = server.caller().post("/v1/batch", body.to_string()).await.error().error;
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidRequest, Some(field)), "{body}: {error:?}");
        assert!(error.message.starts_with(field), "{error:?}");
    }
    assert!(simulator.requests().is_empty());
    let empty: BatchResponse = server.caller().post("/v1/batch", json!({"prompts": []}).to_string()).await.json();
    assert_eq!(empty, BatchResponse { results: Some(Vec::new()), ..BatchResponse::default() });
}

#[tokio::test]
async fn a_batch_waits_for_room_and_fails_what_the_budget_does_not_cover() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let slow = Limits { calls_max: Some(2), ..Limits::default() };
    limited(&server, "slow", slow).await;
    let day = Limit { tokens: Some(400), nanos: None };
    limited(&server, "poor", Limits { windows: [day, Limit::default(), Limit::default()], ..Limits::default() }).await;
    let body = |project: &str| json!({"prompts": vec!["sim:{\"delay_ms\": 20}"; 12], "project_id": project, "model": "haiku", "max_tokens": 50});
    let slow: BatchResponse = server.caller().post("/v1/batch", body("slow").to_string()).await.json();
    assert_eq!((slow.completed, slow.failed), (12, 0), "{slow:?}");
    let poor: BatchResponse = server.caller().post("/v1/batch", body("poor").to_string()).await.json();
    assert!(poor.completed > 0 && poor.total_tokens <= 400, "{poor:?}");
    let short = results(poor).into_iter().filter(|result| result.status == BatchStatus::Failed);
    let short: Vec<BatchResult> = short.collect();
    assert!(
        !short.is_empty() && short.iter().all(|result| result.error_code == Some(ErrorCode::BudgetExceeded)),
        "{short:?}"
    );
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_answered_again_and_paid_for_once() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let body = json!({"prompts": ["a", "b", "a"], "model": "haiku"}).to_string();
    let caller = server.caller().once("k");
    let first: BatchResponse = caller.post("/v1/batch", body.clone()).await.json();
    let again: BatchResponse = caller.post("/v1/batch", body).await.json();
    assert_eq!(first, again);
    assert_eq!(simulator.requests().len(), 3, "two that are alike are two");
}

#[tokio::test]
async fn whoever_leaves_ends_what_runs_and_what_waits() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    for stream in [false, true] {
        let body = json!({"prompts": vec!["sim:{\"token_ms\": 500, \"output\": 50}"; 100], "max_concurrency": 8, "stream": stream});
        let request = json_of(server.caller().request(Method::POST, "/v1/batch"), body.to_string());
        let mut call = Box::pin(async move {
            let mut response = request.send().await.expect("an answer begins");
            while response.chunk().await.expect("it goes on").is_some() {}
        });
        tokio::select! {
            () = &mut call => panic!("it cannot be over"),
            _ = until("as many run as may", || simulator.open_streams() == 8) => {}
        }
        drop(call);
        until("nothing runs any more", || {
            simulator.open_streams() == 0 && server.app().open_reservations().count() == 0
        })
        .await;
        let asked = simulator.requests().len();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(simulator.requests().len(), asked, "what waited was not begun");
    }
}

#[tokio::test]
async fn what_the_prompts_share_is_not_held_once_for_each_of_them() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    // Held for each prompt this would be 100 GB.
    let system = "word ".repeat(400_000);
    let body = json!({"prompts": vec!["Hi"; 50_000], "system": system, "max_concurrency": 2, "stream": true});
    let request = json_of(server.caller().request(Method::POST, "/v1/batch"), body.to_string());
    let mut response = request.send().await.expect("a stream");
    let mut text = String::new();
    while !text.contains("event: result") {
        let piece = response.chunk().await.expect("it goes on").expect("results come");
        text += &String::from_utf8_lossy(&piece);
    }
    assert!(simulator.requests()[0]["system"].as_str().is_some_and(|sent| sent.len() == system.len()));
}

//! `/v1/batches`: batches that are stored, and worked on whether or not anybody waits.

use std::{collections::BTreeMap, time::Duration};

use claude_code_api_service::{
    config::Settings,
    ledger::{Limit, Limits, Project},
    project::ProjectId,
};
use claude_code_api_testkit::{Answer, Simulator, TestServer, until};
use claude_code_api_wire::{BatchJob, BatchJobList, BatchJobStatus, BatchStatus, ErrorCode, ErrorEnvelope};
use serde_json::{Value, json};

fn refused(answer: &Answer) -> (u16, ErrorCode, String) {
    let error = answer.json::<ErrorEnvelope>().error;
    (answer.status, error.code, error.message)
}

#[tokio::test]
async fn a_batch_is_taken_at_once_and_its_results_are_there_in_the_end() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller();
    let prompts: Vec<Value> = (0..600)
        .map(|number| match number % 3 {
            0 => json!(format!("plain {number}")),
            1 => json!({"prompt": format!("{number} sim:{{\"delay_ms\": 5}}"), "id": format!("item-{number}")}),
            _ => json!({"prompt": format!("{number} sim:{{\"status\": 400}}"), "id": format!("item-{number}")}),
        })
        .collect();
    let body =
        json!({"prompts": prompts, "model": "haiku", "max_tokens": 100, "system": "Be brief.", "max_concurrency": 50});
    let taken = caller.store_batch(&body).await;
    assert_eq!((taken.status, taken.total, taken.ended_at.is_none()), (BatchJobStatus::Running, 600, true));
    let ended = caller.batch_over(&taken.id).await;
    assert_eq!((ended.status, ended.completed, ended.failed), (BatchJobStatus::Ended, 400, 200));
    let all = caller.batch_results(&taken.id, 0).await;
    assert_eq!(caller.batch_results(&taken.id, 595).await, all[595..], "the cursor counts results");
    let by_place: BTreeMap<usize, _> = all.into_iter().map(|event| (event.index, event.result)).collect();
    assert_eq!(by_place.len(), 600, "each prompt has one");
    for (place, result) in &by_place {
        let (id, prompt) = match &prompts[*place] {
            Value::String(prompt) => (None, prompt.as_str()),
            object => (object["id"].as_str(), object["prompt"].as_str().expect("a prompt")),
        };
        assert_eq!((result.id.as_deref(), result.prompt.as_str()), (id, prompt));
        let is_failed = (result.status == BatchStatus::Failed, result.error_code == Some(ErrorCode::InvalidRequest));
        assert_eq!(is_failed, (place % 3 == 2, place % 3 == 2), "{result:?}");
    }
    let spent: i64 = by_place.values().filter_map(|result| result.cost_nanos).sum();
    let usage: Value = caller.get("/v1/usage").await.json();
    assert_eq!((usage["total_cost_nanos"].as_i64(), ended.total_cost_nanos), (Some(spent), spent));
    assert!(simulator.requests().iter().all(|asked| asked["system"] == "Be brief." && asked["max_tokens"] == 100));
}

#[tokio::test]
async fn a_prompt_that_waits_longer_for_its_turn_than_it_may_take_is_answered_all_the_same() {
    let simulator = Simulator::start();
    let few = Settings { anthropic_concurrency_max: Some(2), ..Settings::default() };
    let server = TestServer::start_on(&simulator, few).await;
    let prompts: Vec<String> = (0..8).map(|number| format!("{number} sim:{{\"delay_ms\": 400}}")).collect();
    let body = json!({"prompts": prompts, "model": "haiku", "max_tokens": 10, "timeout": 1, "max_concurrency": 8});
    let taken = server.caller().store_batch(&body).await;
    let ended = server.caller().batch_over(&taken.id).await;
    assert_eq!((ended.completed, ended.failed), (8, 0), "{ended:?}");
    assert_eq!(simulator.requests().len(), 8, "none is asked twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_items_finish_though_one_in_twenty_meets_a_fault_and_the_sum_is_the_bill() {
    const ITEMS: usize = 10_000;
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller();
    // None of them costs anything, so that every entry is exact.
    let faults = [json!({"status": 529}), json!({"status": 500}), json!({"status": 502}), json!({"delay_ms": 300})];
    let prompts: Vec<String> = (0..ITEMS)
        .map(|number| {
            let mut script = json!({"input": 20, "output": 1 + number % 50});
            if number.is_multiple_of(20)
                && let Value::Object(fault) = &faults[number / 20 % faults.len()]
            {
                script["faults"] = json!(1);
                script.as_object_mut().expect("an object").extend(fault.clone());
            }
            format!("{number} sim:{script}")
        })
        .collect();
    let begun = std::time::Instant::now();
    let body = json!({"prompts": prompts, "model": "haiku", "max_tokens": 100, "max_concurrency": 200});
    let taken = caller.store_batch(&body).await;
    let stored = begun.elapsed();
    let ended = caller.batch_over(&taken.id).await;
    println!("{ITEMS} items: stored after {stored:?}, ended after {:?}", begun.elapsed());
    let mut all = caller.batch_results(&taken.id, 0).await;
    let failed: Vec<_> = all.iter().filter(|event| event.result.status == BatchStatus::Failed).collect();
    assert_eq!((ended.completed, ended.failed), (ITEMS as u64, 0), "{failed:?}");
    all.sort_by_key(|event| event.index);
    for (place, event) in all.iter().enumerate() {
        let output = event.result.usage.expect("it was answered").output_tokens;
        assert_eq!((event.index, output), (place, 1 + (place % 50) as u64));
    }
    let verified = server.app().store().verify().await.expect("verified");
    assert_eq!((verified.entries, verified.estimated, verified.spent.nanos), (ITEMS as u64, 0, ended.total_cost_nanos));
    let billed: u64 = simulator.bill().iter().map(|billed| billed.output_tokens).sum();
    assert_eq!((simulator.bill().len(), billed), (ITEMS, (0..ITEMS).map(|place| 1 + (place % 50) as u64).sum()));
}

#[tokio::test]
async fn no_more_items_run_at_a_time_than_were_asked_for() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller();
    let prompts = vec!["sim:{\"first_ms\": 40}"; 30];
    let taken = caller.store_batch(&json!({"prompts": prompts, "model": "haiku", "max_concurrency": 4})).await;
    let mut seen = 0;
    while caller.batch(&taken.id).await.status == BatchJobStatus::Running {
        seen = seen.max(simulator.open_streams());
    }
    assert_eq!((caller.batch(&taken.id).await.completed, seen), (30, 4));
}

#[tokio::test]
async fn a_batch_that_is_sent_again_under_its_key_is_stored_once() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller().once("night-7");
    let body = json!({"prompts": ["a", "b"], "model": "haiku"});
    let (first, second) = (caller.store_batch(&body).await, caller.store_batch(&body).await);
    assert_eq!(first.id, second.id);
    let other = caller.post("/v1/batches", json!({"prompts": ["a", "c"], "model": "haiku"}).to_string()).await;
    assert_eq!((refused(&other).0, refused(&other).1), (409, ErrorCode::Conflict));
    caller.batch_over(&first.id).await;
    assert_eq!(simulator.bill().len(), 2);
    let listed: BatchJobList = server.caller().get("/v1/batches").await.json();
    assert_eq!(listed.batches.len(), 1);
}

#[tokio::test]
async fn a_cancelled_batch_keeps_what_came_and_ends_what_runs() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller();
    let mut prompts = vec!["quick"; 3];
    prompts.extend(["sim:{\"output\": 400, \"token_ms\": 20}"; 50]);
    let taken = caller.store_batch(&json!({"prompts": prompts, "model": "haiku", "max_concurrency": 4})).await;
    until("slow ones run", || simulator.open_streams() == 4).await;
    while caller.batch(&taken.id).await.completed < 3 {}
    let cancelled: BatchJob = caller.post(&format!("/v1/batches/{}/cancel", taken.id), "{}").await.json();
    assert!(cancelled.cancelled_at.is_some(), "{cancelled:?}");
    let over = caller.batch_over(&taken.id).await;
    assert_eq!((over.status, over.completed, over.failed), (BatchJobStatus::Cancelled, 3, 0));
    assert_eq!(caller.batch_results(&taken.id, 0).await.len(), 3);
    until("what ran has been ended upstream", || simulator.open_streams() == 0).await;
    let again: BatchJob = caller.post(&format!("/v1/batches/{}/cancel", taken.id), "{}").await.json();
    assert_eq!(again, over, "it has ended");
}

#[tokio::test]
async fn items_wait_for_room_and_fail_at_once_when_the_budget_is_spent() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let id = ProjectId::parse("small").expect("a name");
    // One call at a time fits, and about three in all.
    let month = Limit { tokens: Some(1_000), nanos: None };
    let limits = Limits { windows: [Limit::default(), Limit::default(), month], ..Limits::default() };
    server.app().store().set_project(Project { id: id.clone(), limits, created_by_use: false }).await.expect("stored");
    let prompts = vec!["sim:{\"output\": 250}"; 40];
    let body =
        json!({"prompts": prompts, "model": "haiku", "max_tokens": 300, "project_id": "small", "max_concurrency": 8});
    let ended = {
        let taken = server.caller().store_batch(&body).await;
        server.caller().batch_over(&taken.id).await
    };
    assert_eq!(ended.completed + ended.failed, 40);
    assert!((2..=3).contains(&ended.completed), "{ended:?}");
    let failed = server.caller().batch_results(&ended.id, 0).await;
    let failed: Vec<_> = failed.iter().filter_map(|event| event.result.error_code).collect();
    assert!(failed.iter().all(|code| *code == ErrorCode::BudgetExceeded) && failed.len() > 30, "{failed:?}");
    assert_eq!(simulator.bill().len(), usize::try_from(ended.completed).expect("a few"), "the others were not tried");
}

#[tokio::test]
async fn what_is_wrong_with_a_batch_is_refused_by_name() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller();
    let same = |id: &str| json!({"prompt": "p", "id": id});
    for (body, field) in [
        (json!({"prompts": [same("a"), "p", same("b"), same("a")]}), "prompts[3].id: \"a\" is the id of prompts[0]"),
        (json!({"prompts": ["p", 7]}), "prompts[1]"),
        (json!({"prompts": ["p"], "stream": true}), "stream: "),
        (json!({"prompts": ["p"], "model": "no-such-model"}), "model: "),
        (json!({"prompts": ["p"], "max_concurrency": 0}), "max_concurrency: "),
        (json!({"prompts": ["p", ""]}), "prompts[1]"),
    ] {
        let (status, code, message) = refused(&caller.post("/v1/batches", body.to_string()).await);
        assert!((status, code) == (400, ErrorCode::InvalidRequest) && message.contains(field), "{message}");
    }
    for path in [
        "/v1/batches/batch_0",
        "/v1/batches/nonsense/results",
        "/v1/batches/batch_01a21378be8f7744b64a5b978ca924f3/results",
    ] {
        assert_eq!(refused(&caller.get(path).await).1, ErrorCode::NotFound, "{path}");
    }
    let listed: BatchJobList = caller.get("/v1/batches").await.json();
    assert_eq!(listed, BatchJobList::default(), "nothing of it was stored");
    let empty = caller.store_batch(&json!({"prompts": []})).await;
    assert_eq!((empty.status, empty.total), (BatchJobStatus::Ended, 0));
}

#[tokio::test]
async fn batches_are_listed_in_pages_the_newest_first() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let caller = server.caller();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, caller.store_batch(&json!({"prompts": ["p"], "model": "haiku"})).await.id);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/batches?limit=2".to_owned();
    loop {
        let page: BatchJobList = caller.get(&path).await.json();
        seen.extend(page.batches.into_iter().map(|job| job.id));
        let Some(next) = page.next_before else { break };
        path = format!("/v1/batches?limit=2&before={next}");
    }
    assert_eq!(seen, ids);
    for id in ids {
        caller.batch_over(&id).await;
    }
}

#[tokio::test]
async fn a_batch_is_deleted_with_its_results_once_its_time_is_over() {
    let simulator = Simulator::start();
    let settings = Settings { batch_ttl: Some(0.0), ..Settings::default() };
    let server = TestServer::start_on(&simulator, settings).await;
    let caller = server.caller();
    let taken = caller.store_batch(&json!({"prompts": ["p"], "model": "haiku"})).await;
    until("it has run", || simulator.bill().len() == 1).await;
    let begun = std::time::Instant::now();
    while caller.get(&format!("/v1/batches/{}", taken.id)).await.status != 404 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is deleted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(caller.get(&format!("/v1/batches/{}/results", taken.id)).await.status, 404);
}

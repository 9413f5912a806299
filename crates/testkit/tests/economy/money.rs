//! What an economy batch costs, and what it holds until then.

use std::collections::BTreeSet;

use claude_code_api_service::{config::Settings, project::ProjectId, store::WindowUsage, window::Period};
use claude_code_api_testkit::{BOUND, Simulator, TestServer};
use claude_code_api_wire::{BatchJobStatus, BatchStatus, ErrorCode};
use serde_json::{Value, json};

use crate::{assert_failed, assert_submitted_once, books::Books, by_place, economy, limit, prompt, prompts};

/// Half of what haiku costs: of 0.10 and 0.50 USD for a million tokens.
const INPUT_NANOS: i64 = 50;
const OUTPUT_NANOS: i64 = 250;

async fn used(server: &TestServer, project: &str) -> WindowUsage {
    let project = ProjectId::parse(project).expect("a name");
    server.app().store().usage(project, Period::Month).await.expect("the store works")
}

#[tokio::test]
async fn each_prompt_is_answered_upstream_in_a_batch_and_costs_half_to_the_nano_dollar() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let scripted = |place: usize| prompt(place, &json!({"input": 20 + place, "output": 1 + place}));
    let prompts: Vec<String> = (0..12).map(scripted).collect();
    let mut batch = economy(&prompts);
    batch["system"] = json!("Be brief.");
    for (place, prompt) in prompts.iter().enumerate().skip(6) {
        batch["prompts"][place] = json!({"prompt": prompt, "id": format!("item-{place}")});
    }
    let taken = server.caller().store_batch(&batch).await;
    assert!(taken.economy && taken.status == BatchJobStatus::Running, "{taken:?}");
    let ended = server.caller().batch_over(&taken.id).await;
    let summary = (ended.economy, ended.status, ended.completed, ended.failed);
    assert_eq!(summary, (true, BatchJobStatus::Ended, 12, 0));
    let results = by_place(server.caller().batch_results(&taken.id, 0).await, &prompts);
    let mut sum = 0;
    for (place, event) in &results {
        let result = &event.result;
        assert_eq!(result.id, (*place >= 6).then(|| format!("item-{place}")));
        assert_eq!((result.model.as_deref(), result.model_id.as_deref()), (Some("haiku"), Some("claude-haiku-5-5")));
        assert!(result.content.as_ref().is_some_and(|content| !content.is_empty()), "{event:?}");
        let place = i64::try_from(*place).expect("small");
        let cost = (20 + place) * INPUT_NANOS + (1 + place) * OUTPUT_NANOS;
        assert_eq!((result.status, result.cost_nanos), (BatchStatus::Completed, Some(cost)));
        sum += cost;
    }
    assert_eq!(ended.total_cost_nanos, sum);
    let books = Books::of(&**server.app().store()).await;
    books.assert_right(results.values(), &simulator);
    assert_eq!((books.spent, books.entries.len()), (sum, 12));
    assert_submitted_once(&simulator, &prompts);
    assert!(simulator.requests().is_empty(), "nothing is asked for at the full price");
}

#[tokio::test]
async fn what_goes_upstream_is_the_prompt_s_own_request_under_an_id_of_its_slice() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let mut batch = economy(&prompts(5, &json!({})));
    batch["system"] = json!("Be brief.");
    let taken = server.caller().store_batch(&batch).await;
    server.caller().batch_over(&taken.id).await;
    let made = simulator.batches();
    assert_eq!(made.len(), 1);
    let mut slices = BTreeSet::new();
    for item in &made[0].items {
        let (slice, place) = item.custom_id.split_once('_').expect("a slice and a place");
        assert!(slice.len() == 32 && slice.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", item.custom_id);
        assert!(place.parse::<usize>().is_ok_and(|place| place < 5), "{}", item.custom_id);
        slices.insert(slice);
        let params = &item.params;
        assert_eq!((&params["model"], &params["max_tokens"]), (&json!("claude-haiku-5-5"), &json!(100)));
        assert!(params["system"].to_string().contains("Be brief.") && params["stream"] != true, "{params}");
    }
    assert_eq!(slices.len(), 1);
}

#[tokio::test]
async fn the_worst_case_is_held_at_half_price_while_it_waits_and_nothing_afterwards() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts = prompts(3, &json!({"input": 10, "output": 5}));
    simulator.delay_batches(1_500);
    let taken = server.caller().store_batch(&economy(&prompts)).await;
    claude_code_api_testkit::until("it is upstream", || simulator.batches().len() == 1).await;
    let waiting = used(&server, "default").await;
    let (held, output) = (waiting.held, 3 * 100);
    assert_eq!(waiting.spent.nanos, 0);
    assert!((output + 3..output + 3 * 1_000).contains(&held.tokens), "{held:?}");
    assert_eq!(held.nanos, (held.tokens - output) * INPUT_NANOS + output * OUTPUT_NANOS);
    assert_eq!(server.caller().batch(&taken.id).await.completed, 0);
    server.caller().batch_over(&taken.id).await;
    let after = used(&server, "default").await;
    assert_eq!((after.held.tokens, after.held.nanos), (0, 0));
    assert_eq!(after.spent.nanos, 3 * (10 * INPUT_NANOS + 5 * OUTPUT_NANOS));
}

#[tokio::test]
async fn what_a_prompt_may_cost_at_most_is_held_against_half_the_price() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts = prompts(2, &json!({"output": 5}));
    // A thousand tokens out come to 0.0005 USD, and to half of that in a batch.
    let mut batch = economy(&prompts);
    (batch["max_tokens"], batch["max_cost"]) = (json!(1_000), json!(0.000_4));
    let taken = server.caller().store_batch(&batch).await;
    assert_eq!(server.caller().batch_over(&taken.id).await.completed, 2);
    batch["max_cost"] = json!(0.000_2);
    let taken = server.caller().store_batch(&batch).await;
    assert_eq!(server.caller().batch_over(&taken.id).await.failed, 2);
    for event in by_place(server.caller().batch_results(&taken.id, 0).await, &prompts).values() {
        assert_failed(event, ErrorCode::BudgetExceeded);
    }
    assert_submitted_once(&simulator, &prompts);
}

#[tokio::test]
async fn a_budget_that_is_spent_fails_every_prompt_and_none_goes_upstream() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    limit(&server, "broke", 20_000).await;
    let prompts = prompts(20, &json!({}));
    let mut batch = economy(&prompts);
    batch["project_id"] = json!("broke");
    let begun = std::time::Instant::now();
    let taken = server.caller().store_batch(&batch).await;
    let ended = server.caller().batch_over(&taken.id).await;
    assert!(ended.economy, "{ended:?}");
    assert!(begun.elapsed() < BOUND, "at once, not after {:?}", begun.elapsed());
    assert_eq!((ended.completed, ended.failed, ended.total_cost_nanos), (0, 20, 0));
    for event in by_place(server.caller().batch_results(&taken.id, 0).await, &prompts).values() {
        assert_failed(event, ErrorCode::BudgetExceeded);
    }
    assert!(simulator.batches().is_empty());
}

#[tokio::test]
async fn a_batch_that_is_sent_again_under_its_key_goes_upstream_once() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let (caller, prompts) = (server.caller().once("night-7"), prompts(2, &json!({})));
    let (first, second) = (caller.store_batch(&economy(&prompts)).await, caller.store_batch(&economy(&prompts)).await);
    assert_eq!(first.id, second.id);
    let mut dear = economy(&prompts);
    dear["economy"] = json!(false);
    let other = caller.post("/v1/batches", dear.to_string()).await.error().error;
    assert_eq!(other.code, ErrorCode::Conflict, "at another price it is another batch");
    caller.batch_over(&first.id).await;
    assert_submitted_once(&simulator, &prompts);
}

#[tokio::test]
async fn a_model_can_be_chosen_for_an_economy_batch() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts = prompts(2, &json!({"output": 3}));
    let mut batch = economy(&prompts);
    batch["model"] = json!("auto");
    let taken = server.caller().store_batch(&batch).await;
    assert_eq!(server.caller().batch_over(&taken.id).await.completed, 2);
    let results = by_place(server.caller().batch_results(&taken.id, 0).await, &prompts);
    Books::of(&**server.app().store()).await.assert_right(results.values(), &simulator);
    let models: Vec<Value> = simulator.batches()[0].items.iter().map(|item| item.params["model"].clone()).collect();
    assert!(models.iter().all(|model| model.as_str().is_some_and(|model| model.starts_with("claude-"))), "{models:?}");
}

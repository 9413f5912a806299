//! Slices: how a batch is cut for the upstream.

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Simulator, TestServer};
use serde_json::json;

use crate::{assert_submitted_once, books::Books, by_place, economy, limit, prompts};

/// How many items the batches upstream have, the smallest first.
fn sizes(simulator: &Simulator) -> Vec<usize> {
    let mut sizes: Vec<usize> = simulator.batches().iter().map(|batch| batch.items.len()).collect();
    sizes.sort_unstable();
    sizes
}

#[tokio::test]
async fn twelve_hundred_prompts_go_in_slices_of_five_hundred() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts = prompts(1_200, &json!({"input": 20, "output": 5}));
    let taken = server.caller().store_batch(&economy(&prompts)).await;
    let ended = server.caller().batch_over(&taken.id).await;
    assert_eq!((ended.completed, ended.failed), (1_200, 0));
    assert_eq!(sizes(&simulator), [200, 500, 500]);
    assert_submitted_once(&simulator, &prompts);
    let results = by_place(server.caller().batch_results(&taken.id, 0).await, &prompts);
    Books::of(&**server.app().store()).await.assert_right(results.values(), &simulator);
}

#[tokio::test]
async fn where_the_budget_covers_a_hundred_prompts_at_a_time_slices_are_as_large_as_fits_and_all_end() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    // 1,000 tokens out come to 250,000 at half price, to which what the input may be comes; what they really cost is little.
    limit(&server, "tight", 28_000_000).await;
    let prompts = prompts(300, &json!({"input": 5, "output": 1}));
    let mut batch = economy(&prompts);
    (batch["max_tokens"], batch["project_id"]) = (json!(1_000), json!("tight"));
    let taken = server.caller().store_batch(&batch).await;
    let ended = server.caller().batch_over(&taken.id).await;
    assert_eq!((ended.completed, ended.failed), (300, 0));
    assert_submitted_once(&simulator, &prompts);
    let sizes = sizes(&simulator);
    println!("{sizes:?}");
    let largest = sizes.last().expect("a slice");
    assert!((60..=112).contains(largest), "as large as fits: {sizes:?}");
    assert!(sizes.len() <= 8, "not in crumbs: {sizes:?}");
    let results = by_place(server.caller().batch_results(&taken.id, 0).await, &prompts);
    Books::of(&**server.app().store()).await.assert_right(results.values(), &simulator);
}

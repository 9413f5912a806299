//! A cancel reaches the upstream: what it had answered by then is paid and told, and the rest is neither.

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Simulator, TestServer, until};
use claude_code_api_wire::{BatchJob, BatchJobStatus, BatchStatus};
use serde_json::json;

use crate::{FOREVER_MS, books::Books, economy, prompts};

async fn cancel(server: &TestServer, id: &str) -> BatchJob {
    server.caller().post(&format!("/v1/batches/{id}/cancel"), "{}").await.json()
}

/// The batch is over, has told of what was answered upstream and has paid for it, and of nothing else.
async fn assert_cancelled(server: &TestServer, simulator: &Simulator, id: &str) -> BatchJob {
    let over = server.caller().batch_over(id).await;
    let answered = simulator.bill().len() as u64;
    assert_eq!((over.status, over.completed, over.failed), (BatchJobStatus::Cancelled, answered, 0), "{over:?}");
    let results = server.caller().batch_results(id, 0).await;
    assert!(results.iter().all(|event| event.result.status == BatchStatus::Completed), "{results:?}");
    let books = Books::of(&**server.app().store()).await;
    books.assert_right(&results, simulator);
    assert_eq!((results.len() as u64, books.estimated()), (answered, 0));
    over
}

#[tokio::test]
async fn what_was_answered_before_a_cancel_is_told_and_paid() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    simulator.delay_batches(0);
    let taken = server.caller().store_batch(&economy(&prompts(100, &json!({"delay_ms": 30})))).await;
    until("some are answered", || simulator.bill().len() >= 3).await;
    let cancelled = cancel(&server, &taken.id).await;
    assert!(cancelled.cancelled_at.is_some() && cancelled.status == BatchJobStatus::Cancelling, "{cancelled:?}");
    let over = assert_cancelled(&server, &simulator, &taken.id).await;
    assert!((3..100).contains(&over.completed), "{over:?}");
    assert!(simulator.batches()[0].cancel_initiated_at.is_some());
    assert_eq!(cancel(&server, &taken.id).await, over, "it is over");
}

#[tokio::test]
async fn a_batch_that_waits_upstream_is_cancelled_there_and_costs_nothing() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    simulator.delay_batches(FOREVER_MS);
    let taken = server.caller().store_batch(&economy(&prompts(3, &json!({})))).await;
    until("it is upstream", || simulator.batches().len() == 1).await;
    cancel(&server, &taken.id).await;
    assert_eq!(assert_cancelled(&server, &simulator, &taken.id).await.completed, 0);
    assert!(simulator.batches()[0].ended_at.is_some(), "it is not over before the upstream is done");
}

#[tokio::test]
async fn a_cancel_that_comes_at_once_leaves_nothing_running_upstream() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    simulator.delay_batches(FOREVER_MS);
    simulator.delay_making_batches(100);
    for round in 0..5 {
        let taken = server.caller().store_batch(&economy(&prompts(3, &json!({})))).await;
        tokio::time::sleep(std::time::Duration::from_millis(round * 30)).await;
        cancel(&server, &taken.id).await;
        assert_cancelled(&server, &simulator, &taken.id).await;
        let left: Vec<_> = simulator.batches().into_iter().filter(|batch| batch.ended_at.is_none()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_cancel_that_the_upstream_refuses_at_first_is_sent_again() {
    let simulator = Simulator::start();
    let mut server = TestServer::start_on(&simulator, Settings::default()).await;
    simulator.delay_batches(FOREVER_MS);
    let taken = server.caller().store_batch(&economy(&prompts(3, &json!({})))).await;
    until("it is upstream", || simulator.batches().len() == 1).await;
    simulator.refuse_polls(vec![500; 3]);
    server.expect_logged("work on a batch is held up");
    cancel(&server, &taken.id).await;
    assert_cancelled(&server, &simulator, &taken.id).await;
}

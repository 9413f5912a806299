//! Where nobody can know what became of a prompt upstream, it is charged at its worst case, and not run again.

use claude_code_api_testkit::{Program, Simulator, simulator::BatchFault, until};
use claude_code_api_wire::{BatchJobStatus, ErrorCode};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    FOREVER_MS, QUIET, assert_failed, books,
    books::{Books, half},
    by_place, economy, prompts,
};

const COUNT: usize = 3;
const HOUR_MS: i64 = 3_600_000;

/// The batch has ended; each prompt of it is charged at its worst case, has failed, and says so in these words.
async fn assert_charged(program: Program, simulator: &Simulator, id: &str, prompts: &[String], words: &str) {
    let ended = program.caller().batch_over(id).await;
    assert_eq!((ended.completed, ended.failed), (0, prompts.len() as u64), "{ended:?}");
    let results = by_place(program.caller().batch_results(id, 0).await, prompts);
    for event in results.values() {
        assert_failed(event, ErrorCode::BackendError);
        assert!(event.result.error.as_ref().is_some_and(|error| error.contains(words)), "{event:?}");
    }
    let books = Books::of(&books::in_folder(&program.kill().await)).await;
    books.assert_right(results.values(), simulator);
    assert_eq!((books.entries.len(), books.estimated()), (prompts.len(), prompts.len() as u64));
    for entry in &books.entries {
        assert!(entry.spent.cost.0 >= half("claude-haiku-5-5", 0, 100), "not its worst case: {entry:?}");
    }
}

async fn a_submission_that_is_not_found_is_charged(fault: BatchFault, made: usize) {
    let simulator = Simulator::start();
    let flags = [&QUIET[..], &["--economy-unknown-after", "1"]].concat();
    let program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]).await;
    simulator.fail_batches(vec![fault]);
    simulator.delay_listing_batches(FOREVER_MS);
    let prompts = prompts(COUNT, &json!({"output": 5}));
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    assert_charged(program, &simulator, &taken.id, &prompts, "not known").await;
    assert_eq!(simulator.batches().len(), made, "and it is not submitted again");
}

#[tokio::test]
async fn a_submission_that_broke_off_and_is_not_found_is_charged_and_not_sent_again() {
    a_submission_that_is_not_found_is_charged(BatchFault::ResetBefore, 0).await;
}

#[tokio::test]
async fn so_is_one_that_ran_and_is_never_listed() {
    a_submission_that_is_not_found_is_charged(BatchFault::ResetAfter, 1).await;
}

/// Lets so many hours pass for what a service that has stopped had submitted.
fn age(folder: &TempDir, hours: i64) {
    let ledger = Connection::open(folder.path().join("ledger.sqlite")).expect("a ledger");
    let aged =
        ledger.execute("update slice set created_at = created_at - ?1, sent_at = sent_at - ?1", [hours * HOUR_MS]);
    assert_eq!(aged.expect("a table of slices"), 1);
}

/// A service with a batch that waits upstream, submitted so many hours ago.
async fn waiting(simulator: &Simulator, prompts: &[String], hours: i64) -> (Program, String) {
    simulator.delay_batches(FOREVER_MS);
    let program = Program::serve_on(simulator, TempDir::new().expect("a folder"), &QUIET, &[]).await;
    let taken = program.caller().store_batch(&economy(prompts)).await;
    until("it is upstream, and asked for there", || simulator.batches().iter().any(|batch| batch.polls > 0)).await;
    let folder = program.kill().await;
    age(&folder, hours);
    (Program::serve_on(simulator, folder, &QUIET, &[]).await, taken.id)
}

#[tokio::test]
async fn a_prompt_of_which_the_upstream_says_nothing_for_25_hours_is_charged() {
    let (simulator, prompts) = (Simulator::start(), prompts(COUNT, &json!({})));
    let (program, id) = waiting(&simulator, &prompts, 26).await;
    assert_charged(program, &simulator, &id, &prompts, "25 hours").await;
}

#[tokio::test]
async fn what_has_ended_there_while_the_service_slept_is_read_though_it_cannot_be_asked_at_once() {
    let (simulator, prompts) = (Simulator::start(), prompts(COUNT, &json!({"output": 5})));
    simulator.delay_batches(1_000);
    let program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &QUIET, &[]).await;
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    until("it is upstream", || simulator.batches().len() == 1).await;
    let folder = program.kill().await;
    age(&folder, 26);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    simulator.refuse_polls(vec![500, 503]);
    let program = Program::serve_on(&simulator, folder, &QUIET, &[]).await;
    let ended = program.caller().batch_over(&taken.id).await;
    assert_eq!((ended.completed, ended.failed), (COUNT as u64, 0), "{ended:?}");
}

#[tokio::test]
async fn until_then_it_is_waited_for() {
    let (simulator, prompts) = (Simulator::start(), prompts(COUNT, &json!({})));
    let (program, id) = waiting(&simulator, &prompts, 24).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let waits = program.caller().batch(&id).await;
    assert_eq!((waits.status, waits.completed, waits.failed), (BatchJobStatus::Running, 0, 0));
}

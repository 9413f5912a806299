//! What goes wrong with making, polling and reading batches upstream: every prompt is answered all the same, and none runs twice.

use std::{net::TcpListener, time::Duration};

use claude_code_api_testkit::{
    Caller, Program, Simulator, json_of, send,
    simulator::{BatchFault, KEY},
    until,
};
use claude_code_api_wire::{BatchEvent, ErrorCode};
use http::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{QUIET, assert_failed, assert_submitted_once, books, books::Books, by_place, economy, prompts};

const COUNT: usize = 3;

async fn serve(simulator: &Simulator) -> Program {
    Program::serve_on(simulator, TempDir::new().expect("a folder"), &QUIET, &[]).await
}

/// The batch ends, every prompt of it was answered by the one batch that was made of it, and the ledger is the bill.
async fn assert_run_once(program: Program, simulator: &Simulator, id: &str, prompts: &[String]) {
    let ended = program.caller().batch_over(id).await;
    assert_eq!((ended.completed, ended.failed), (prompts.len() as u64, 0), "{ended:?}");
    assert_submitted_once(simulator, prompts);
    let results = by_place(program.caller().batch_results(id, 0).await, prompts);
    let books = Books::of(&books::in_folder(&program.kill().await)).await;
    books.assert_right(results.values(), simulator);
    assert_eq!((books.entries.len(), books.estimated()), (prompts.len(), 0));
}

async fn a_fault_of_making_is_harmless(faults: Vec<BatchFault>, unlisted_ms: u64) {
    let simulator = Simulator::start();
    let program = serve(&simulator).await;
    faults_of_making_are_harmless(program, &simulator, faults, unlisted_ms).await;
}

async fn faults_of_making_are_harmless(
    program: Program,
    simulator: &Simulator,
    faults: Vec<BatchFault>,
    unlisted_ms: u64,
) {
    simulator.fail_batches(faults);
    simulator.delay_listing_batches(unlisted_ms);
    let prompts = prompts(COUNT, &json!({"output": 5}));
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    assert_run_once(program, simulator, &taken.id, &prompts).await;
}

#[tokio::test]
async fn a_submission_that_is_refused_for_a_while_is_made_later() {
    let simulator = Simulator::start();
    // An error of the upstream's leaves in doubt whether it is made: that is looked for no longer than this.
    let flags = [&QUIET[..], &["--economy-unknown-after", "1"]].concat();
    let program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]).await;
    let faults = [429, 500, 503, 529].map(BatchFault::StatusBefore);
    faults_of_making_are_harmless(program, &simulator, faults.into(), 0).await;
}

#[tokio::test]
async fn a_submission_whose_answer_is_lost_is_found_again() {
    a_fault_of_making_is_harmless(vec![BatchFault::ResetAfter], 0).await;
}

#[tokio::test]
async fn a_submission_whose_answer_is_lost_is_found_once_it_is_listed() {
    a_fault_of_making_is_harmless(vec![BatchFault::ResetAfter], 2_000).await;
}

#[tokio::test]
async fn a_submission_that_was_made_though_its_answer_is_an_error_is_found_again() {
    a_fault_of_making_is_harmless(vec![BatchFault::StatusAfter(500)], 0).await;
}

#[tokio::test]
async fn a_submission_that_was_made_though_its_answer_is_an_error_is_found_once_it_is_listed() {
    a_fault_of_making_is_harmless(vec![BatchFault::StatusAfter(500)], 1_000).await;
}

#[tokio::test]
async fn a_submission_whose_answer_is_lost_is_found_though_the_upstream_s_clock_is_behind() {
    let simulator = Simulator::start();
    let program = serve(&simulator).await;
    simulator.fail_batches(vec![BatchFault::ResetAfter]);
    simulator.date_batches_back(5_000);
    let prompts = prompts(COUNT, &json!({"output": 5}));
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    assert_run_once(program, &simulator, &taken.id, &prompts).await;
}

#[tokio::test]
async fn a_list_that_cannot_be_read_does_not_say_that_a_submission_is_not_there() {
    let simulator = Simulator::start();
    let flags = [&QUIET[..], &["--economy-unknown-after", "1"]].concat();
    let program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]).await;
    simulator.fail_batches(vec![BatchFault::ResetAfter]);
    simulator.refuse_polls(vec![500; 6]);
    let prompts = prompts(COUNT, &json!({"output": 5}));
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    assert_run_once(program, &simulator, &taken.id, &prompts).await;
}

#[tokio::test]
async fn a_submission_that_the_upstream_does_not_take_fails_its_prompts_unpaid() {
    for (status, codes) in
        [(400, vec![ErrorCode::InvalidRequest]), (413, vec![ErrorCode::InvalidRequest, ErrorCode::RequestTooLarge])]
    {
        let simulator = Simulator::start();
        let program = serve(&simulator).await;
        simulator.fail_batches(vec![BatchFault::StatusBefore(status)]);
        let prompts = prompts(COUNT, &json!({}));
        let taken = program.caller().store_batch(&economy(&prompts)).await;
        let ended = program.caller().batch_over(&taken.id).await;
        assert_eq!((ended.completed, ended.failed, ended.total_cost_nanos), (0, COUNT as u64, 0));
        for event in by_place(program.caller().batch_results(&taken.id, 0).await, &prompts).values() {
            let code = event.result.error_code.expect("a code");
            assert!(codes.contains(&code), "{status}: {event:?}");
            assert_failed(event, code);
            assert!(event.result.error.as_ref().is_some_and(|error| error.contains("refused on request")), "{event:?}");
        }
        let books = Books::of(&books::in_folder(&program.kill().await)).await;
        assert!(books.entries.is_empty() && simulator.batches().is_empty(), "{books:?}");
    }
}

/// Makes a batch upstream that is none of the service's.
async fn make_foreign(simulator: &Simulator, count: usize) {
    let script = json!({"output": 1});
    let message = |place| json!([{"role": "user", "content": format!("foreign {place} sim:{script}")}]);
    let params = |place| json!({"model": "claude-haiku-5-5", "max_tokens": 100, "messages": message(place)});
    let item = |place: usize| json!({"custom_id": format!("foreign_{place}"), "params": params(place)});
    let body = json!({"requests": (0..count).map(item).collect::<Vec<Value>>()});
    let other = Caller::new(simulator.base_url()).with_key(KEY);
    let request = other.request(Method::POST, "/v1/messages/batches").header("anthropic-version", "2023-06-01");
    let made = send(json_of(request, body.to_string())).await.expect("an answer");
    assert_eq!(made.status, 200, "{made:?}");
}

#[tokio::test]
async fn a_lost_submission_is_told_apart_from_batches_of_others_and_looked_for_on_every_page() {
    const OF_ANOTHER_SIZE: usize = 25;
    let simulator = Simulator::start();
    let program = serve(&simulator).await;
    simulator.fail_batches(vec![BatchFault::ResetAfter]);
    // The others are there to be taken for it before it is listed itself.
    simulator.delay_listing_batches(1_500);
    let prompts = prompts(COUNT, &json!({"output": 5}));
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    until("it is made", || simulator.batches().len() == 1).await;
    simulator.delay_listing_batches(0);
    for _ in 0..2 {
        make_foreign(&simulator, COUNT).await;
    }
    for _ in 0..OF_ANOTHER_SIZE {
        make_foreign(&simulator, COUNT + 1).await;
    }
    let ended = program.caller().batch_over(&taken.id).await;
    assert_eq!((ended.completed, ended.failed), (COUNT as u64, 0), "{ended:?}");
    assert_eq!(simulator.batches().len(), 1 + 2 + OF_ANOTHER_SIZE, "nothing was submitted again");
    let outputs = |event: &BatchEvent| event.result.usage.map(|usage| usage.output_tokens);
    let results = by_place(program.caller().batch_results(&taken.id, 0).await, &prompts);
    assert!(results.values().all(|event| outputs(event) == Some(5)), "{results:?}");
    assert_eq!(simulator.batches().iter().filter(|batch| batch.cancel_initiated_at.is_some()).count(), 0);
    let books = Books::of(&books::in_folder(&program.kill().await)).await;
    assert_eq!((books.entries.len(), books.estimated()), (COUNT, 0), "others pay for theirs");
}

#[tokio::test]
async fn polls_that_fail_and_results_that_break_off_are_asked_for_again() {
    let simulator = Simulator::start();
    let program = serve(&simulator).await;
    simulator.refuse_polls(vec![500, 429, 529, 503]);
    simulator.break_results(3);
    let prompts = prompts(40, &json!({"output": 5}));
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    assert_run_once(program, &simulator, &taken.id, &prompts).await;
}

#[tokio::test]
async fn a_submission_that_did_not_get_through_is_made_by_the_next_process() {
    let (simulator, prompts) = (Simulator::start(), prompts(COUNT, &json!({"output": 5})));
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|nobody| nobody.local_addr()).expect("a port");
    let (url, folder) = (format!("http://{nobody}"), TempDir::new().expect("a folder"));
    let ledger = folder.path().join("ledger.sqlite");
    let flags = [&QUIET[..], &["--economy-unknown-after", "1"]].concat();
    let mut program = Program::serve_on(&simulator, folder, &flags, &[("ANTHROPIC_BASE_URL", &url)]).await;
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    let ledger = Connection::open(ledger).expect("a ledger");
    let refused = || {
        let refused =
            ledger.query_row("select count(*) from slice where sent_at is null", [], |row| row.get::<_, i64>(0));
        refused.expect("a table of slices") == 1
    };
    until("it is known that nobody was reached", refused).await;
    program.terminate().await;
    assert!(program.ended(Duration::from_secs(20)).await.success());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let program = Program::serve_on(&simulator, program.kill().await, &flags, &[]).await;
    assert_run_once(program, &simulator, &taken.id, &prompts).await;
}

#[tokio::test]
async fn an_end_in_order_leaves_what_waits_upstream_to_the_next_process() {
    let simulator = Simulator::start();
    simulator.delay_batches(2_500);
    let prompts = prompts(COUNT, &json!({"output": 5}));
    let mut program = serve(&simulator).await;
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    until("it is upstream", || simulator.batches().len() == 1).await;
    program.terminate().await;
    let begun = std::time::Instant::now();
    assert!(program.ended(Duration::from_secs(20)).await.success());
    println!("ended after {:?}", begun.elapsed());
    let program = Program::serve_on(&simulator, program.kill().await, &QUIET, &[]).await;
    assert_run_once(program, &simulator, &taken.id, &prompts).await;
}

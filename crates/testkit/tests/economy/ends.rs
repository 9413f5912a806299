//! How prompts end that are not answered the first time.

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Simulator, TestServer};
use claude_code_api_wire::{BatchEvent, BatchStatus, ErrorCode};
use serde_json::{Value, json};

use crate::{assert_failed, books::Books, by_place, economy, prompt, submissions};

async fn over(simulator: &Simulator, scripts: &[Value]) -> (Vec<String>, Vec<BatchEvent>, Books) {
    let server = TestServer::start_on(simulator, Settings::default()).await;
    let prompts: Vec<String> = scripts.iter().enumerate().map(|(place, script)| prompt(place, script)).collect();
    let taken = server.caller().store_batch(&economy(&prompts)).await;
    server.caller().batch_over(&taken.id).await;
    let results = by_place(server.caller().batch_results(&taken.id, 0).await, &prompts);
    let books = Books::of(&**server.app().store()).await;
    books.assert_right(results.values(), simulator);
    (prompts, results.into_values().collect(), books)
}

#[tokio::test]
async fn what_the_upstream_did_not_answer_is_not_paid() {
    let simulator = Simulator::start();
    let scripts = [
        json!({"output": 7}),
        json!({"item": "errored", "status": 400}),
        json!({"item": "canceled"}),
        json!({"item": "expired"}),
        json!({"item": "errored", "status": 403}),
    ];
    let (prompts, results, books) = over(&simulator, &scripts).await;
    assert_eq!(results[0].result.status, BatchStatus::Completed);
    assert_failed(&results[1], ErrorCode::InvalidRequest);
    assert!(results[1].result.error.as_ref().is_some_and(|error| error.contains("refused on request")));
    for failed in &results[2..] {
        assert_failed(failed, ErrorCode::BackendError);
    }
    assert_eq!((books.entries.len(), simulator.bill().len()), (1, 1));
    let times = submissions(&simulator);
    assert!(prompts.iter().all(|prompt| times[prompt] == 1), "none of these failures passes: {times:?}");
}

#[tokio::test]
async fn a_prompt_whose_failure_passes_is_submitted_again_and_paid_once() {
    let simulator = Simulator::start();
    let scripts = [
        json!({"output": 3}),
        json!({"item": "errored", "status": 500, "faults": 1, "output": 4}),
        json!({"item": "errored", "status": 529, "faults": 2, "output": 5}),
        json!({"item": "errored", "status": 429, "faults": 1, "output": 6}),
        json!({"item": "errored", "status": 504, "faults": 1, "output": 7}),
    ];
    let (prompts, results, books) = over(&simulator, &scripts).await;
    for (event, script) in results.iter().zip(&scripts) {
        assert_eq!(event.result.usage.map(|usage| usage.output_tokens), script["output"].as_u64(), "{event:?}");
    }
    assert_eq!((books.entries.len(), simulator.bill().len()), (5, 5));
    let times = submissions(&simulator);
    let times: Vec<usize> = prompts.iter().map(|prompt| times[prompt]).collect();
    assert_eq!(times, [1, 2, 3, 2, 2], "only those that failed, and as often as they did");
}

#[tokio::test]
async fn a_prompt_whose_failure_does_not_pass_fails_after_five_submissions() {
    let simulator = Simulator::start();
    let scripts = [json!({"item": "errored", "status": 529}), json!({"output": 3})];
    let (prompts, results, books) = over(&simulator, &scripts).await;
    assert_failed(&results[0], ErrorCode::BackendError);
    assert_eq!(results[1].result.status, BatchStatus::Completed);
    assert_eq!((submissions(&simulator)[&prompts[0]], submissions(&simulator)[&prompts[1]]), (5, 1));
    assert_eq!(books.entries.len(), 1);
}

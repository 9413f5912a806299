//! Batches at half price: what they cost and hold, what comes of their prompts, and that nothing is run twice, whatever goes wrong
//! with the upstream or with the service.

mod books;
mod cancel;
mod crash;
mod ends;
mod fault;
mod money;
mod refused;
mod slices;
mod unknown;

use std::collections::BTreeMap;

use claude_code_api_service::{
    ledger::{Limit, Limits, Project},
    project::ProjectId,
};
use claude_code_api_testkit::{Simulator, TestServer};
use claude_code_api_wire::{BatchEvent, BatchStatus, ErrorCode};
use serde_json::{Value, json};

/// Where only the service's own errors are of interest, and it is asked for faults that it warns of.
const QUIET: [&str; 2] = ["--log", "error"];

/// As good as for ever.
const FOREVER_MS: u64 = 86_400_000;

/// A batch of these prompts at half price, each of at most 100 tokens out.
fn economy(prompts: &[String]) -> Value {
    json!({"prompts": prompts, "model": "haiku", "max_tokens": 100, "economy": true})
}

/// The prompt in this place, which no other is like.
fn prompt(place: usize, script: &Value) -> String {
    format!("{place} sim:{script}")
}

/// So many prompts with one script.
fn prompts(count: usize, script: &Value) -> Vec<String> {
    (0..count).map(|place| prompt(place, script)).collect()
}

/// How often each prompt is in a batch upstream.
fn submissions(simulator: &Simulator) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for item in simulator.batches().into_iter().flat_map(|batch| batch.items) {
        let content = &item.params["messages"][0]["content"];
        let prompt = content.as_str().or(content[0]["text"].as_str()).expect("a prompt");
        *times.entry(prompt.to_owned()).or_default() += 1;
    }
    times
}

/// Every prompt went upstream, and none did twice.
fn assert_submitted_once(simulator: &Simulator, prompts: &[String]) {
    let once: BTreeMap<String, usize> = prompts.iter().map(|prompt| (prompt.clone(), 1)).collect();
    assert_eq!(submissions(simulator), once);
}

/// Every prompt has one result, in which it is repeated; by their places.
fn by_place(results: Vec<BatchEvent>, prompts: &[String]) -> BTreeMap<usize, BatchEvent> {
    let count = results.len();
    let by_place: BTreeMap<usize, BatchEvent> = results.into_iter().map(|event| (event.index, event)).collect();
    assert_eq!((by_place.len(), count), (prompts.len(), prompts.len()));
    for (place, event) in &by_place {
        assert_eq!(event.result.prompt, prompts[*place], "{event:?}");
    }
    by_place
}

/// The prompt has failed in this way, and nobody is told that it cost anything.
fn assert_failed(event: &BatchEvent, code: ErrorCode) {
    let result = &event.result;
    assert_eq!((result.status, result.error_code), (BatchStatus::Failed, Some(code)), "{event:?}");
    assert!(result.error.is_some() && result.content.is_none(), "{event:?}");
}

/// Gives a project so many nano-dollars a month.
async fn limit(server: &TestServer, project: &str, nanos: i64) {
    let month = Limit { tokens: None, nanos: Some(nanos) };
    let limits = Limits { windows: [Limit::default(), Limit::default(), month], ..Limits::default() };
    let project = Project { id: ProjectId::parse(project).expect("a name"), limits, created_by_use: false };
    server.app().store().set_project(project).await.expect("the store works");
}

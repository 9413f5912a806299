//! `claude-code-api batch`, as a process.

use std::{collections::BTreeSet, fs};

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Ended, Simulator, TestServer, run};
use serde_json::{Value, json};
use tempfile::TempDir;

async fn batch(server: &TestServer, lines: &str, arguments: &[&str]) -> (Ended, String) {
    let folder = TempDir::new().expect("a folder");
    let (prompts, output) = (folder.path().join("prompts.jsonl"), folder.path().join("results"));
    fs::write(&prompts, lines).expect("a folder can be written to");
    let url = server.base_url();
    let mut command = vec!["batch", prompts.to_str().expect("UTF-8"), "-o", output.to_str().expect("UTF-8")];
    command.extend(["--url", &url, "--model", "haiku"]);
    command.extend(arguments);
    let ended = run(command, &[]).await;
    (ended, fs::read_to_string(output).unwrap_or_default())
}

#[tokio::test]
async fn a_file_of_prompts_becomes_a_line_for_each_result() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let lines = "\"one\"\n\n{\"prompt\": \"two\", \"id\": \"row-2\"}\n";
    let (ended, results) = batch(&server, lines, &["--project", "rows", "--max-concurrency", "2"]).await;
    assert!(ended.status.success() && ended.stderr.starts_with("[2/2, 0 failed: "), "{}", ended.stderr);
    let results: Vec<Value> = results.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let known: BTreeSet<_> = results.iter().map(|one| (one["index"].as_u64(), one["id"].as_str())).collect();
    assert_eq!(known, BTreeSet::from([(Some(0), None), (Some(1), Some("row-2"))]));
    assert!(results.iter().all(|result| result["content"].is_string()), "{results:?}");
    let (ended, response) = batch(&server, lines, &["--json"]).await;
    let response: Value = serde_json::from_str(&response).expect("JSON");
    assert!(ended.status.success() && response["completed"] == 2 && response["results"][1]["prompt"] == "two");
}

#[tokio::test]
async fn a_prompt_that_failed_is_exit_code_1_and_a_line_that_is_no_prompt_is_named() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let failing = json!("sim:{\"status\": 400}").to_string();
    let (ended, results) = batch(&server, &format!("\"one\"\n{failing}\n"), &[]).await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(results.lines().count() == 2 && results.contains("invalid_request"), "{results}");
    let (ended, _) = batch(&server, "\"one\"\n7\n", &[]).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("line 2: takes a JSON string"), "{}", ended.stderr);
}

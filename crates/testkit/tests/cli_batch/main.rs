//! `claude-code-api batch`, as a process.

mod economy;
mod job;

use std::{collections::BTreeSet, ffi::OsStr, fs, iter, path::PathBuf, process::Stdio};

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{BOUND, Ended, Simulator, TestServer, answering, command, ended, in_time, signal, until};
use claude_code_api_wire::sse;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

/// `batch` on a file, into another.
struct Batch {
    folder: TempDir,
    arguments: Vec<String>,
}

impl Batch {
    fn of(url: &str, lines: &str, arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("prompts.jsonl"), lines).expect("a folder can be written to");
        let arguments = [&["--url", url], arguments].concat().into_iter().map(str::to_owned).collect();
        Self { folder, arguments }
    }

    fn command(&self) -> Command {
        let mut command = self.to_a_pipe();
        command.arg("-o").arg(self.output());
        command
    }

    fn to_a_pipe(&self) -> Command {
        let mut command = command();
        command.arg("batch").arg(self.folder.path().join("prompts.jsonl")).args(&self.arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run_to_a_pipe(&self) -> Ended {
        ended(self.to_a_pipe().spawn().expect("the program runs")).await
    }

    fn start(&self) -> Child {
        self.command().spawn().expect("the program runs")
    }

    async fn run(&self) -> Ended {
        ended(self.start()).await
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("results")
    }

    fn results(&self) -> String {
        fs::read_to_string(self.output()).unwrap_or_default()
    }
}

async fn batch(server: &TestServer, lines: &str, arguments: &[&str]) -> (Ended, String) {
    let batch = Batch::of(&server.base_url(), lines, &[&["--model", "haiku"], arguments].concat());
    (batch.run().await, batch.results())
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
async fn a_batch_can_stand_in_a_pipe() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let mut command = command();
    command.args(["batch", "-", "--model", "haiku", "--url", &server.base_url()]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let (mut stdin, slow) = (child.stdin.take().expect("piped"), json!("sim:{\"first_ms\": 600000}"));
    stdin.write_all(format!("\"one\"\n{slow}\n").as_bytes()).await.expect("it reads");
    drop(stdin);
    let mut results = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = in_time("a result comes out while others are awaited", BOUND, results.next_line()).await;
    assert!(first.expect("text").is_some_and(|line| line.contains("\"prompt\":\"one\"")));
    signal(&child, "-INT").await;
    let ended = ended(child).await;
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(130), "error: after 1 of 2 results: interrupted\n"));
    let nothing_runs = || simulator.open_streams() == 0 && server.app().open_reservations().count() == 0;
    until("nothing runs any more", nothing_runs).await;
}

#[tokio::test]
async fn a_prompt_that_failed_is_exit_code_3_and_a_line_that_is_no_prompt_is_named() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let failing = json!("sim:{\"status\": 400}").to_string();
    let (ended, results) = batch(&server, &format!("\"one\"\n{failing}\n"), &[]).await;
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
    assert!(results.lines().count() == 2 && results.contains("invalid_request"), "{results}");
    let (ended, _) = batch(&server, "\"one\"\n7\n", &[]).await;
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("line 2: takes a JSON string"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_batch_that_is_refused_leaves_the_results_of_the_last_one() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batch = Batch::of(&server.base_url(), "\"one\"\n", &["--model", "gpt-4"]);
    let before = "what is longer than a result\n".repeat(99);
    fs::write(batch.output(), &before).expect("written");
    assert_eq!((batch.run().await.code(), batch.results()), (Some(4), before));
    let taken = Batch { arguments: vec!["--url".to_owned(), server.base_url()], ..batch };
    assert_eq!(taken.run().await.code(), Some(0));
    assert!(
        taken.results().lines().count() == 1 && taken.results().contains("\"prompt\":\"one\""),
        "{}",
        taken.results()
    );
}

#[tokio::test]
async fn the_options_of_a_batch_reach_each_prompt() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let slow = json!("sim:{\"first_ms\": 3000}");
    let (ended, results) = batch(&server, &format!("{slow}\n"), &["--timeout", "0.3"]).await;
    assert!(ended.code() == Some(3) && results.contains("\"error_code\":\"timeout\""), "{results}");
    let (ended, results) = batch(&server, "\"one\"\n", &["--max-cost", "0.000001"]).await;
    assert!(ended.code() == Some(3) && results.contains("\"error_code\":\"budget_exceeded\""), "{results}");
    let lines = "\"one sim:{\\\"delay_ms\\\": 200}\"\n\"two\"\n";
    for _ in 0..2 {
        let (ended, results) = batch(&server, lines, &["--no-parallel", "--idempotency-key", "night-7"]).await;
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        assert!(results.starts_with("{\"index\":0,"), "one after the other: {results}");
    }
    assert_eq!(simulator.requests().len(), 1 + 2, "the second time nothing was asked for");
}

/// Something that answers two of three prompts, and fails. Its URL.
async fn failing() -> String {
    let result = |index| json!({"index": index, "prompt": "p", "status": "failed", "error": "e"});
    let error =
        json!({"error": {"code": "internal", "message": "m", "retryable": false, "request_id": "r"}, "detail": "m"});
    let events = [("result", result(2)), ("result", result(0)), ("error", error)];
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned();
    answering(events.iter().fold(head, |answer, (name, data)| answer + &sse::event(name, data))).await
}

#[tokio::test]
async fn a_batch_that_breaks_off_keeps_what_has_come() {
    let url = failing().await;
    let ended = Batch::of(&url, "\"p\"\n\"p\"\n\"p\"\n", &[]).run_to_a_pipe().await;
    assert!(ended.code() == Some(1) && ended.stderr.starts_with("error: after 2 of 3 results: m ("), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 2);
    let ended = Batch::of(&url, "\"p\"\n\"p\"\n\"p\"\n", &["--json"]).run_to_a_pipe().await;
    let error: Value = serde_json::from_str(&ended.stderr).expect("one line of JSON");
    assert_eq!((ended.code(), &error["error"]["code"]), (Some(1), &json!("internal")));
    let response: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&response["total"], &response["failed"]), (&json!(3), &json!(2)));
    assert_eq!(response["results"].as_array().map(Vec::len), Some(2), "{response}");
}

#[tokio::test]
async fn a_batch_shows_a_bar_on_a_terminal_and_none_elsewhere() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts = [json!("one"), json!("two sim:{\"delay_ms\": 1000}"), json!("sim:{\"status\": 400}")];
    let batch =
        Batch::of(&server.base_url(), &prompts.map(|prompt| format!("{prompt}\n")).concat(), &["--model", "haiku"]);
    let piped = batch.run().await;
    assert!(piped.stdout.is_empty() && piped.stderr.starts_with("[3/3, 1 failed: "), "{piped:?}");
    let shown = on_a_terminal(&batch.command()).await;
    assert_eq!(shown.code(), Some(3), "{shown:?}");
    assert!(shown.stdout.contains("2/3, 1 failed, $0.0") && shown.stdout.contains("to go"), "{shown:?}");
    assert!(shown.stdout.trim_end().lines().last().is_some_and(|line| line.contains("[3/3, 1 failed: ")), "{shown:?}");
}

/// Runs it with a pseudo-terminal for everything, by util-linux's `script`.
async fn on_a_terminal(command: &Command) -> Ended {
    let quoted = |word: &OsStr| format!("'{}'", word.display());
    let words = iter::once(command.as_std().get_program()).chain(command.as_std().get_args()).map(quoted);
    let mut script = Command::new("script");
    script.args(["-qec", &words.collect::<Vec<_>>().join(" "), "/dev/null"]).env("TERM", "xterm").env("COLUMNS", "120");
    script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    ended(script.spawn().expect("there is a script")).await
}

//! `batch -o FILE`: a stored batch, which the same command goes on with after whatever has ended it.

use std::{collections::BTreeSet, fs, path::PathBuf};

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Ended, Program, Simulator, TestServer, run, signal, until};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Batch;

/// So many prompts, each of which takes a while, two of them at a time.
fn slow(url: &str, count: usize) -> Batch {
    let prompt = |number| format!("{}\n", json!(format!("{number} sim:{{\"delay_ms\": 100}}")));
    let lines: String = (0..count).map(prompt).collect();
    Batch::of(url, &lines, &["--model", "haiku", "--max-concurrency", "2"])
}

/// Three prompts, one of which is not answered until it is told to be.
fn held(url: &str) -> Batch {
    let lines = format!("\"one\"\n{}\n\"two\"\n", json!("sim:{\"endless\": true, \"token_ms\": 100}"));
    Batch::of(url, &lines, &["--model", "haiku"])
}

impl Batch {
    fn note(&self) -> PathBuf {
        self.folder.path().join("results.batch")
    }

    /// Id of the batch that is noted.
    fn id(&self) -> String {
        let note: Value = serde_json::from_slice(&fs::read(self.note()).expect("a note")).expect("JSON");
        note["id"].as_str().expect("it is stored").to_owned()
    }

    fn lines(&self) -> usize {
        self.results().lines().count()
    }

    /// Every prompt has its result in the file, once, and nothing is left beside it.
    fn assert_whole(&self, ended: &Ended, count: u64) {
        assert!(ended.code() == Some(0) && ended.stderr.starts_with(&format!("[{count}/{count}, ")), "{ended:?}");
        let index = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["index"].as_u64().expect("a place");
        let results = self.results();
        let places: Vec<u64> = results.lines().map(index).collect();
        assert_eq!(places.len() as u64, count, "{places:?}");
        assert_eq!(places.into_iter().collect::<BTreeSet<_>>(), (0..count).collect());
        let mut left: Vec<_> = fs::read_dir(self.folder.path()).expect("a folder").flatten().collect();
        left.retain(|file| file.file_name() != "prompts.jsonl" && file.file_name() != "results");
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn after_ctrl_c_the_batch_goes_on_and_the_same_command_with_it() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batch = slow(&server.base_url(), 12);
    let child = batch.start();
    until("results are in the file as they come", || batch.lines() >= 2).await;
    signal(&child, "-INT").await;
    let ended = super::ended(child).await;
    let (came, id) = (batch.lines(), batch.id());
    let said = format!(
        "error: after {came} of 12 results (run it again to go on, or `claude-code-api batches cancel {id}` to end it): interrupted\n"
    );
    assert_eq!((ended.code(), ended.stderr), (Some(130), said));
    assert!(came < 12, "it was early");
    until("it goes on without anybody", || simulator.bill().len() == 12).await;
    batch.assert_whole(&batch.run().await, 12);
    assert_eq!(simulator.bill().len(), 12, "nothing was run twice");
}

#[tokio::test]
async fn after_kill_9_half_a_line_gives_way_and_the_same_command_goes_on() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batch = slow(&server.base_url(), 12);
    for count in [1, 4] {
        let mut child = batch.start();
        until("results are in the file as they come", || batch.lines() >= count).await;
        child.kill().await.expect("it can be killed");
        let half = fs::read(batch.output()).expect("results");
        fs::write(batch.output(), &half[..half.len() - 10]).expect("written");
    }
    batch.assert_whole(&batch.run().await, 12);
    assert_eq!(simulator.bill().len(), 12, "nothing was run twice");
}

#[tokio::test]
async fn killed_before_it_knew_the_id_it_is_the_same_batch() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batch = slow(&server.base_url(), 12);
    let mut child = batch.start();
    until("it is stored", || !simulator.requests().is_empty()).await;
    child.kill().await.expect("it can be killed");
    let mut note: Value = serde_json::from_slice(&fs::read(batch.note()).expect("a note")).expect("JSON");
    note["id"] = Value::Null;
    fs::write(batch.note(), note.to_string()).expect("written");
    batch.assert_whole(&batch.run().await, 12);
    assert_eq!(simulator.bill().len(), 12, "nothing was run twice");
}

#[tokio::test]
async fn the_service_is_killed_and_comes_back_and_the_command_finishes() {
    let simulator = Simulator::start();
    let service = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &[], &[]).await;
    let address = service.address().to_string();
    let batch = slow(&format!("http://{address}"), 12);
    let child = batch.start();
    until("results are in the file as they come", || batch.lines() >= 2).await;
    let folder = service.kill().await;
    let _service = Program::serve_on(&simulator, folder, &["--listen", &address], &[]).await;
    batch.assert_whole(&super::ended(child).await, 12);
    // What ran when it died may have been charged for and was lost with it: two at a time.
    assert!((12..=14).contains(&simulator.bill().len()), "{}", simulator.bill().len());
}

#[tokio::test]
async fn other_prompts_are_not_taken_for_the_same_batch() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batch = held(&server.base_url());
    let child = batch.start();
    until("results are in the file as they come", || batch.lines() == 2).await;
    let second = batch.run().await;
    assert!(second.code() == Some(1) && second.stderr.contains("another run writes its results there"), "{second:?}");
    signal(&child, "-INT").await;
    super::ended(child).await;
    let (id, before) = (batch.id(), batch.results());
    let others =
        Batch { arguments: [batch.arguments.clone(), vec!["--max-tokens".into(), "9".into()]].concat(), ..batch };
    let refused = others.run().await;
    assert!(refused.code() == Some(1) && refused.stderr.contains(&id), "{refused:?}");
    assert!(refused.stderr.contains("run it again as it was, or remove that file to begin anew"), "{refused:?}");
    assert_eq!((others.results(), others.id()), (before, id.clone()), "nothing has changed");
    fs::remove_file(others.note()).expect("a note");
    cancel(&server, &id).await;
}

async fn cancel(server: &TestServer, id: &str) -> Ended {
    run(["batches", "cancel", id, "--url", &server.base_url()], &[]).await
}

#[tokio::test]
async fn a_batch_that_was_cancelled_keeps_what_came() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batch = held(&server.base_url());
    let child = batch.start();
    until("results are in the file as they come", || batch.lines() == 2).await;
    let (url, id) = (server.base_url(), batch.id());
    let shown = run(["batches", "show", &id, "--url", &url, "--json"], &[]).await;
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!((&shown["status"], &shown["completed"]), (&json!("running"), &json!(2)));
    assert_eq!(cancel(&server, &id).await.code(), Some(0));
    let ended = super::ended(child).await;
    assert!(ended.code() == Some(3) && ended.stderr.starts_with("[2/3, 0 failed: "), "{ended:?}");
    assert!(batch.lines() == 2 && !batch.note().exists());
    let listed = run(["batches", "list", "--url", &url], &[]).await;
    assert!(listed.stdout.starts_with(&format!("{id} cancelled since 2")), "{listed:?}");
    let results = run(["batches", "results", &id, "--after", "1", "--url", &url], &[]).await;
    assert_eq!(Some(results.stdout.trim_end()), batch.results().lines().nth(1));
}

#[tokio::test]
async fn a_batch_that_the_service_no_longer_knows_is_said_so() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batch = held(&server.base_url());
    let child = batch.start();
    until("results are in the file as they come", || batch.lines() == 2).await;
    signal(&child, "-INT").await;
    super::ended(child).await;
    cancel(&server, &batch.id()).await;
    server.shutdown();
    let other = TestServer::start_on(&simulator, Settings::default()).await;
    let elsewhere = ["--url".to_owned(), other.base_url()];
    let moved = Batch { arguments: [&elsewhere, &batch.arguments[2..]].concat(), ..batch };
    let ended = moved.run().await;
    assert!(ended.code() == Some(4) && ended.stderr.contains("results.batch to begin anew"), "{ended:?}");
    assert_eq!(moved.lines(), 2);
}

#[tokio::test]
async fn a_whole_response_is_written_once_it_is_whole() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let lines = slow(&server.base_url(), 6);
    let batch = Batch { arguments: [lines.arguments.clone(), vec!["--json".to_owned()]].concat(), ..lines };
    let child = batch.start();
    until("it runs", || simulator.bill().len() > 2).await;
    signal(&child, "-INT").await;
    let error: Value = serde_json::from_str(&super::ended(child).await.stderr).expect("one line of JSON");
    assert_eq!((&error["error"]["code"], batch.results().as_str()), (&json!("interrupted"), ""));
    assert_eq!(batch.run().await.code(), Some(0));
    let response: Value = serde_json::from_str(&batch.results()).expect("JSON");
    let places: Vec<_> =
        response["results"].as_array().expect("results").iter().map(|one| one["prompt"].as_str()).collect();
    assert!(response["completed"] == 6 && places.is_sorted() && places.len() == 6, "{response}");
    assert!(!batch.note().exists() && simulator.bill().len() == 6);
}

#[tokio::test]
async fn a_batch_that_could_not_be_sent_is_sent_by_the_same_command() {
    let simulator = Simulator::start();
    let nowhere = Batch::of("http://127.0.0.1:1", "\"one\"\n", &[]);
    let ended = nowhere.run().await;
    assert!(ended.code() == Some(9) && ended.stderr.contains("cannot connect"), "{ended:?}");
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let there = Batch { arguments: vec!["--url".to_owned(), server.base_url()], ..nowhere };
    there.assert_whole(&there.run().await, 1);
}

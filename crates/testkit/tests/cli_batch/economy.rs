//! `batch -o FILE --economy`, against the service on a simulated Claude, and against answers that the test writes out.

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{
    Ended, Simulator, TestServer, answering, answering_in_turn, ended, json_answer, run, signal, stored_batch, until,
};
use serde_json::{Value, json};

use super::{Batch, on_a_terminal};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";
const PROMPTS: &str = "\"one\"\n\"two\"\n";

fn job(status: u16, more: &Value) -> String {
    json_answer(status, &stored_batch(more))
}

/// The result of the prompt at this place, alone in an answer.
fn result(index: usize) -> String {
    let result = json!({"index": index, "prompt": "p", "status": "completed", "content": "c"});
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{result}\n")
}

#[tokio::test]
async fn what_was_left_is_there_when_the_same_command_comes_back() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    simulator.delay_batches(2_000);
    let batch = Batch::of(&server.base_url(), PROMPTS, &["--economy", "--model", "haiku"]);
    let left = batch.start();
    until("it is upstream", || simulator.batches().len() == 1).await;
    signal(&left, "-INT").await;
    assert_eq!(ended(left).await.code(), Some(130));
    let done = batch.run().await;
    assert!(done.code() == Some(0) && done.stderr.contains("2/2"), "{done:?}");
    assert_eq!((batch.results().lines().count(), simulator.batches().len()), (2, 1));
}

#[tokio::test]
async fn it_is_asked_for_and_waited_for_as_one_that_takes_a_day() {
    let ended = json!({"completed": 2, "ended_at": "2026-11-25T12:00:00Z", "status": "ended"});
    let answers =
        vec![job(202, &json!({})), job(200, &json!({"completed": 1})), result(1), job(200, &ended), result(0)];
    let (url, requests) = answering_in_turn(answers).await;
    let batch = Batch::of(&url, PROMPTS, &["--economy"]);
    let shown = on_a_terminal(&batch.command()).await;
    assert_eq!(shown.code(), Some(0), "{shown:?}");
    assert!(shown.stdout.contains(", within 24 hours") && !shown.stdout.contains("to go"), "{shown:?}");
    assert_eq!(batch.results().lines().count(), 2);
    let sent = requests.lock().expect("no panic")[0].split_once("\r\n\r\n").expect("a body").1.to_owned();
    let asked = json!({"prompts": [{"prompt": "one"}, {"prompt": "two"}], "model": "auto", "economy": true});
    assert_eq!(serde_json::from_str::<Value>(&sent).expect("JSON"), asked);
}

#[tokio::test]
async fn without_economy_the_same_prompts_are_another_batch() {
    let gone =
        json!({"error": {"code": "not_found", "message": "m", "retryable": false, "request_id": "r"}, "detail": "m"});
    let (url, _) = answering_in_turn(vec![job(202, &json!({})), json_answer(404, &gone)]).await;
    let batch = Batch::of(&url, PROMPTS, &["--economy"]);
    let left = batch.run().await;
    assert!(left.code() == Some(4) && left.stderr.contains("batches cancel batch_1"), "{left:?}");
    let dear = Batch { arguments: vec!["--url".to_owned(), url], ..batch };
    let refused = dear.run().await;
    assert!(
        refused.code() == Some(1) && refused.stderr.contains("whose prompts or options were others"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_cannot_stand_beside_it_is_a_wrong_command_line() {
    let to_a_pipe = Batch::of(NOWHERE, PROMPTS, &["--economy"]).run_to_a_pipe().await;
    assert!(to_a_pipe.code() == Some(2) && to_a_pipe.stderr.contains("--output <FILE>"), "{to_a_pipe:?}");
    let to_a_device = Batch::of(NOWHERE, PROMPTS, &["--economy", "-o", "/dev/null"]).run_to_a_pipe().await;
    assert!(to_a_device.code() == Some(1) && to_a_device.stderr.contains("and no device or pipe"), "{to_a_device:?}");
    for beside in [["--timeout", "9"].as_slice(), &["--max-concurrency", "2"], &["--no-parallel"]] {
        let batch = Batch::of(NOWHERE, PROMPTS, &[&["--economy"], beside].concat());
        let refused = batch.run().await;
        assert!(refused.code() == Some(2) && refused.stderr.contains(beside[0]), "{refused:?}");
        assert!(!batch.output().exists(), "nothing was begun");
    }
}

#[tokio::test]
async fn batches_show_and_list_say_which_are_economy() {
    let show = async |more: &Value| -> Ended {
        let url = answering(json_answer(200, &stored_batch(more))).await;
        run(["batches", "show", "batch_1", "--url", &url], &[]).await
    };
    let begins = "batch_1 running since 2026-11-25T00:00:00Z ";
    let (cheap, plain) = (show(&json!({"economy": true})).await, show(&json!({})).await);
    assert!(cheap.stdout.starts_with(&format!("{begins}economy [0/2, ")), "{cheap:?}");
    assert!(plain.stdout.starts_with(&format!("{begins}[0/2, ")), "{plain:?}");
}

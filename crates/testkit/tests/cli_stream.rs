//! `claude-code-api complete` and `stream`, as processes.

use std::process::Stdio;

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{BOUND, Ended, Simulator, TestServer, command, ended, in_time, run, signal, until};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Child,
    signal::unix::SignalKind,
};

/// An answer of 16 tokens.
const SHORT: &str = "sim:{\"output\": 16}";
/// One that goes on until its reader leaves.
const ENDLESS: &str = "sim:{\"endless\": true, \"token_ms\": 100}";

async fn server() -> (Simulator, TestServer) {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    (simulator, server)
}

async fn asked(server: &TestServer, arguments: &[&str]) -> Ended {
    let url = server.base_url();
    run([arguments, &["--url", &url, "--model", "haiku"]].concat(), &[]).await
}

fn start(server: &TestServer, arguments: &[&str]) -> Child {
    // Whoever runs the tests in the background may have them, and so the program, ignore it. What is heard here is not ignored there.
    let _heard = tokio::signal::unix::signal(SignalKind::interrupt()).expect("it can be heard");
    let mut command = command();
    command.args(arguments).args(["--url", &server.base_url(), "--model", "haiku"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program runs")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

async fn nothing_runs(server: &TestServer, simulator: &Simulator) {
    let nothing = || simulator.open_streams() == 0 && server.app().open_reservations().count() == 0;
    until("nothing runs any more", nothing).await;
}

/// Starts to stream an answer without end, and waits for its first text.
async fn streaming(server: &TestServer, simulator: &Simulator, arguments: &[&str]) -> Child {
    let mut child = start(server, &[&["stream", ENDLESS], arguments].concat());
    let first = child.stdout.as_mut().expect("piped").read_u8();
    in_time("a text arrives, of an answer without end", BOUND, first).await.expect("a byte");
    assert_eq!(simulator.open_streams(), 1);
    child
}

#[tokio::test]
async fn the_whole_answer_is_printed_and_nothing_else() {
    let (_simulator, server) = server().await;
    let whole = asked(&server, &["complete", SHORT]).await;
    assert_eq!((whole.code(), whole.stderr.as_str()), (Some(0), ""));
    let streamed = asked(&server, &["stream", SHORT]).await;
    assert_eq!((streamed.code(), streamed.stderr.as_str()), (Some(0), ""));
    assert!(whole.stdout.len() > 16 && whole.stdout.ends_with('\n') && streamed.stdout == whole.stdout, "{streamed:?}");
    let response: Value =
        serde_json::from_str(&asked(&server, &["complete", "--json", SHORT]).await.stdout).expect("JSON");
    assert_eq!(response["content"], whole.stdout.trim_end_matches('\n'));
    assert!(response["usage"]["output_tokens"] == 16 && response["cost_nanos"].as_i64() > Some(0), "{response}");
}

#[tokio::test]
async fn a_prompt_comes_from_standard_input_too() {
    let (simulator, server) = server().await;
    for arguments in [["complete"].as_slice(), &["complete", "-"], &["stream"], &["stream", "-"]] {
        let mut child = start(&server, arguments);
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all("über\nzwei Zeilen".as_bytes()).await.expect("it reads");
        drop(stdin);
        assert_eq!(ended(child).await.code(), Some(0), "{arguments:?}");
        let asked = simulator.requests().pop().expect("it has asked");
        assert!(asked["messages"].to_string().contains("über\\nzwei Zeilen"), "{asked}");
    }
}

#[tokio::test]
async fn all_that_is_asked_for_reaches_the_model() {
    let (simulator, server) = server().await;
    let flags = [
        ["--system", "Be brief."],
        ["--max-tokens", "100"],
        ["--temperature", "0.5"],
        ["--stop-sequence", "one"],
        ["--stop-sequence", "two"],
        ["--max-cost", "0.5"],
        ["--idempotency-key", "the-key"],
        ["--project", "flags"],
    ];
    let first = asked(&server, &[["complete", SHORT].as_slice(), flags.as_flattened()].concat()).await;
    assert_eq!(first.code(), Some(0), "{first:?}");
    let sent = simulator.requests().pop().expect("it has asked");
    assert_eq!(
        (&sent["max_tokens"], &sent["temperature"], &sent["system"]),
        (&json!(100), &json!(0.5), &json!("Be brief."))
    );
    assert_eq!(sent["stop_sequences"], json!(["one", "two"]));
    let again = asked(&server, &[["complete", SHORT, "--json"].as_slice(), flags.as_flattened()].concat()).await;
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!((&again["replayed"], &again["project_id"]), (&json!(true), &json!("flags")));
    assert_eq!(simulator.requests().len(), 1, "paid for once");
    let seeded = asked(&server, &["complete", SHORT, "--seed", "7"]).await;
    assert!(seeded.code() == Some(4) && seeded.stderr.contains("seed"), "{seeded:?}");
    let sampled = asked(&server, &["stream", SHORT, "--top-p", "0.25", "--total-timeout", "20"]).await;
    assert_eq!((sampled.code(), &simulator.requests().pop().expect("it has asked")["top_p"]), (Some(0), &json!(0.25)));
}

#[tokio::test]
async fn events_are_a_line_of_json_each() {
    let (_simulator, server) = server().await;
    let ended = asked(&server, &["stream", "--json", "sim:{\"output\": 8, \"token_ms\": 10}"]).await;
    let lines = lines(&ended.stdout);
    let [start, deltas @ .., done] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&start["type"], &done["type"]), (&json!("start"), &json!("done")));
    assert!(deltas.len() > 1 && deltas.iter().all(|delta| delta["type"] == "delta"), "{deltas:?}");
    let texts: String = deltas.iter().map(|delta| delta["text"].as_str().expect("a text")).collect();
    assert_eq!((&done["content"], &done["usage"]["output_tokens"]), (&json!(texts), &json!(8)));
    assert_eq!((&start["id"], &start["model_id"]), (&done["id"], &done["model_id"]));
}

#[tokio::test]
async fn an_answer_that_breaks_off_keeps_its_text_and_fails() {
    let (_simulator, server) = server().await;
    let stalled = "sim:{\"stall_after\": 3}";
    let text = asked(&server, &["stream", stalled, "--timeout", "1"]).await;
    assert_eq!(text.code(), Some(8), "{text:?}");
    assert!(
        text.stdout.len() > 1 && text.stdout.ends_with('\n') && text.stderr.starts_with("error: no text within 1 s")
    );
    let events = asked(&server, &["stream", stalled, "--timeout", "1", "--json"]).await;
    let error: Value = serde_json::from_str(&events.stderr).expect("one line of JSON");
    assert_eq!((events.code(), &error["error"]["code"]), (Some(8), &json!("timeout")));
    let lines = lines(&events.stdout);
    assert!(lines.len() > 1 && lines.iter().all(|line| line["type"] != "done"), "{lines:?}");
}

#[tokio::test]
async fn ctrl_c_ends_the_generation() {
    let (simulator, server) = server().await;
    for arguments in [[].as_slice(), &["--json"]] {
        let child = streaming(&server, &simulator, arguments).await;
        signal(&child, "-INT").await;
        assert_eq!(ended(child).await.code(), Some(130));
        nothing_runs(&server, &simulator).await;
    }
    let child = start(&server, &["complete", ENDLESS]);
    until("the call runs", || simulator.open_streams() == 1).await;
    signal(&child, "-INT").await;
    assert_eq!(ended(child).await.code(), Some(130));
    nothing_runs(&server, &simulator).await;
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_generation() {
    let (simulator, server) = server().await;
    for arguments in [[].as_slice(), &["--json"]] {
        let mut child = streaming(&server, &simulator, arguments).await;
        drop(child.stdout.take());
        let ended = ended(child).await;
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
        nothing_runs(&server, &simulator).await;
    }
}

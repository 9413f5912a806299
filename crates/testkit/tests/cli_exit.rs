//! What a script learns from the client commands: an exit code for each thing that it would do, and with `--json` the error.

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Ended, Simulator, TestServer, json_answer, run};
use claude_code_api_wire::ErrorCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Something that gives everyone this answer. Its URL.
async fn answering(status: u16, body: &Value) -> String {
    claude_code_api_testkit::answering(json_answer(status, body)).await
}

fn error(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stderr).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[tokio::test]
async fn every_error_of_the_service_has_an_exit_code_and_is_passed_on_as_it_came() {
    let codes = [4, 5, 5, 4, 4, 4, 6, 7, 8, 7, 1, 1];
    for (code, exit) in ErrorCode::ALL.into_iter().zip(codes) {
        let mut envelope = json!({
            // Longer than the client waits, so that it makes no second attempt.
            "error": {"code": code, "message": "m", "retryable": false, "retry_after": 90.5, "request_id": "r", "limit": 7},
            "detail": "m",
        });
        envelope["error"]["retryable"] = json!(code.retryable());
        let url = answering(code.status(), &envelope).await;
        for command in [["complete", "Hi"].as_slice(), &["stream", "Hi"], &["usage"]] {
            let for_people = run([command, &["--url", &url]].concat(), &[]).await;
            assert_eq!(for_people.code(), Some(exit), "{for_people:?}");
            assert!(for_people.stderr.starts_with("error: m (") && for_people.stdout.is_empty(), "{for_people:?}");
        }
        let for_programs = run(["complete", "Hi", "--json", "--url", &url], &[]).await;
        assert_eq!((for_programs.code(), error(&for_programs)), (Some(exit), envelope));
    }
}

#[tokio::test]
async fn what_the_real_service_refuses_has_the_same_codes() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let url = server.base_url();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--model", "gpt-4"], 4, "invalid_request"),
        (&["--max-cost", "0.000001"], 6, "budget_exceeded"),
        (&["--timeout", "0.5"], 8, "timeout"),
        (&["--idempotency-key", "a\nb"], 2, "usage"),
        (&["--idempotency-key", ""], 4, "invalid_request"),
    ];
    for (flags, exit, code) in cases {
        for command in ["complete", "stream"] {
            let arguments = [command, "sim:{\"first_ms\": 5000}", "--json", "--url", &url];
            let model = if flags.contains(&"--model") { [].as_slice() } else { &["--model", "haiku"] };
            let ended = run([&arguments, model, flags].concat(), &[]).await;
            assert_eq!((ended.code(), &error(&ended)["error"]["code"]), (Some(exit), &json!(code)), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_told_from_a_service_that_is_not_well() {
    let nowhere = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    let unreachable = run(["health", "--json", "--url", &format!("http://{nowhere}")], &[]).await;
    assert_eq!(unreachable.code(), Some(9), "{unreachable:?}");
    let said = error(&unreachable);
    assert_eq!((&said["error"]["code"], &said["error"]["retryable"]), (&json!("connection"), &json!(true)));
    assert!(said["detail"].as_str().is_some_and(|detail| detail.contains("serve")), "{said}");
    for (status, exit) in [("ok", 0), ("degraded", 10), ("draining", 10)] {
        let health = json!({"status": status, "version": "1", "services": {"store": {"status": "ok", "detail": "d"}}});
        let url = answering(200, &health).await;
        let for_people = run(["health", "--url", &url], &[]).await;
        assert_eq!(
            (for_people.code(), for_people.stdout),
            (Some(exit), format!("{status} (version 1)\n  store: ok  d\n"))
        );
        let for_programs = run(["health", "--json", "--url", &url], &[]).await;
        assert_eq!(for_programs.code(), Some(exit));
        assert_eq!(serde_json::from_str::<Value>(&for_programs.stdout).expect("JSON"), health);
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_2() {
    let lines: [&[&str]; 7] = [
        &["compleat"],
        &["complete", "Hi", "--timeout", "0"],
        &["stream", "Hi", "--total-timeout", "soon"],
        &["complete", "Hi", "--max-cost", "NaN"],
        &["complete", "Hi", "--url", "nowhere"],
        &["batch"],
        &["batch", "-", "--no-parallel", "--max-concurrency", "2"],
    ];
    for line in lines {
        let ended = run(line, &[]).await;
        assert_eq!(ended.code(), Some(2), "{ended:?}");
    }
}

#[tokio::test]
async fn usage_is_shown_and_help_has_examples_and_exit_codes() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let url = server.base_url();
    let answered = run(["complete", "Hi", "--model", "haiku", "--project", "team", "--url", &url], &[]).await;
    assert_eq!(answered.code(), Some(0), "{answered:?}");
    let shown = run(["usage", "--project", "team", "--url", &url], &[]).await;
    assert!(shown.stdout.starts_with("team, month from ") && shown.stdout.contains("haiku: 1 calls"), "{shown:?}");
    let shown =
        run(["usage", "--period", "day", "--json", "--url", &url], &[("CLAUDE_CODE_API_PROJECT_ID", "team")]).await;
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!((&shown["project_id"], &shown["period"]), (&json!("team"), &json!("day")));
    for command in ["complete", "stream", "batch"] {
        let help = run([command, "--help"], &[]).await.stdout;
        assert!(help.contains(&format!("Examples:\n  claude-code-api {command} ")), "{help}");
    }
    let help = run(["--help"], &[]).await.stdout;
    assert!(help.contains("Exit codes:") && help.contains("130  Ctrl-C"), "{help}");
}

#[tokio::test]
async fn what_an_operator_is_refused_has_the_same_codes() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("text");
    let ended = run(["project", "show", "nope", "--json", "--data-dir", data], &[]).await;
    assert_eq!((ended.code(), &error(&ended)["error"]["code"]), (Some(4), &json!("not_found")), "{ended:?}");
}

#[tokio::test]
async fn a_variable_that_is_empty_is_not_set() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let empty = ["CLAUDE_CODE_API_PROJECT_ID", "CLAUDE_CODE_API_API_KEY"].map(|name| (name, ""));
    for command in [["complete", "Hi", "--model", "haiku"].as_slice(), &["usage"]] {
        let ended = run([command, &["--url", &server.base_url()]].concat(), &empty).await;
        assert_eq!(ended.code(), Some(0), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_pipe_that_leaves_ends_a_batch_in_order() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let [prompts, pipe] = ["prompts.jsonl", "pipe"].map(|name| folder.path().join(name).display().to_string());
    std::fs::write(&prompts, "\"sim:{\\\"output\\\": 40}\"\n".repeat(2_000)).expect("it can be written");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("there is one").success());
    let reader = pipe.clone();
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        let pipe = std::fs::File::open(reader).expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(pipe), &mut line).expect("a line");
        line
    });
    let url = server.base_url();
    let ended = run(["batch", &prompts, "-o", &pipe, "--model", "haiku", "--url", &url], &[]).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(reader.join().expect("a line").contains("\"status\":\"completed\""));
}

//! The examples of the Rust client, as programs, against the real service on a simulated Claude.

use std::{collections::BTreeSet, path::Path};

use claude_code_api_service::{
    config::Settings,
    ledger::{Limit, Limits, Project},
    project::ProjectId,
};
use claude_code_api_testkit::{Simulator, TestServer, run_example, until};

const FAILS: &str = r#"sim:{"status":400}"#;
const SLOW: &str = r#"sim:{"token_ms":20,"output":2000}"#;
/// The upstream's one key rests after it, so that it comes last.
const LIMITED: &str = r#"sim:{"status":429,"retry_after":"40"}"#;

/// An example, its arguments, and parts of what it prints, in their order. A simulated answer is `word ` for each token, sixteen
/// of them unless its prompt says otherwise.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("complete", &["Hello"], &["word word", "\n[sonnet: ", " tokens, $0.000", ", end_turn]\n"]),
    ("stream", &["Hello"], &["word word", "\n[", " tokens, $0.000"]),
    (
        "conversation",
        &["Hello", "And now?"],
        &["> Hello\nword", "[9 tokens read]\n", "> And now?\nword", "[47 tokens read]\n"],
    ),
    ("batch", &["Hello", FAILS], &["row-1: word", "\nrow-2 failed: refused", "\n[1 answered, 1 failed, $0.000"]),
    ("batch_as_completed", &["Hello", FAILS, "Bye"], &["[1/3] ", "\n[2/3] ", "\n[3/3] ", "\n[50 tokens, $0.000"]),
    ("batch_job", &["Hello", FAILS], &["batch_", " is stored\n", "2 of 2\n", "\n[ended: 1 answered, 1 failed, $0.000"]),
    ("projects", &["ours", "theirs"], &["ours paid $0.00", "theirs paid $0.00", "nobody paid: Budget exceeded"]),
    ("usage", &["ours"], &["ours, this month, until ", "sonnet", ": 1 calls, ", "left: 9999", "left: no limit\n"]),
    ("health", &[], &["ok (version ", "\n  anthropic: ok", "\n  store: ok"]),
    ("retries", &["order-1"], &["word word", "[call_", ", paid for now]"]),
    ("retries", &["order-1"], &["word word", "[call_", ", paid for by an earlier run]"]),
    ("cancel", &[SLOW], &["enough after \"word word", "took too long, and was cancelled"]),
    ("concurrent", &["30"], &["30 answers, ", " tokens, "]),
    ("blocking", &["Hello", "Bye"], &["Hello: word", "\nBye: word", " tokens today\n"]),
    ("blocking_stream", &["Hello"], &["word word", "\n[", " tokens, $0.000", ": completed\n", ": completed\n"]),
    ("errors", &["Hello"], &["word word"]),
    ("errors", &[FAILS], &["mend the request", "\n  refused", "request req_"]),
    ("errors", &[r#"sim:{"delay_ms":60000}"#], &["allow it more time"]),
    ("errors", &[LIMITED], &["come back in 40s"]),
];

#[tokio::test]
async fn every_example_prints_what_it_is_to_print() {
    let simulator = Simulator::start();
    let mut server = TestServer::start_on(&simulator, Settings::default()).await;
    server.expect_logged("did not answer; trying the next target");
    limit(&server, "ours", 1_000_000).await;
    let url = server.base_url();
    for (example, args, printed) in TABLE {
        assert_prints(example, args, &[("CLAUDE_CODE_API_BASE_URL", &url)], printed).await;
    }
    until("what was cancelled has ended", || simulator.open_streams() == 0).await;
}

#[tokio::test]
async fn the_example_of_errors_tells_an_empty_budget_from_a_service_that_is_not_there() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    limit(&server, "poor", 10).await;
    let poor = [("CLAUDE_CODE_API_BASE_URL", &*server.base_url()), ("CLAUDE_CODE_API_PROJECT_ID", "poor")];
    assert_prints("errors", &[], &poor, &["ask for less: of 10 tokens are 10 left"]).await;
    let nowhere = [("CLAUDE_CODE_API_BASE_URL", "http://127.0.0.1:1")];
    assert_prints("errors", &[], &nowhere, &["start the service", "http://127.0.0.1:1/"]).await;
}

#[test]
fn every_example_is_in_the_table_and_says_how_it_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/examples");
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("there are examples") {
        let path = file.expect("a file").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = std::fs::read_to_string(&path).expect("a file of text");
        let run = format!("\n//! `cargo run -p claude-code-api-client --example {name}");
        assert!(text.starts_with("//! ") && text.contains(&run), "the head of {name} does not say how it is run");
        found.insert(name);
    }
    assert_eq!(found, TABLE.iter().map(|(example, ..)| (*example).to_owned()).collect());
}

async fn limit(server: &TestServer, project: &str, tokens_per_month: i64) {
    let month = Limit { tokens: Some(tokens_per_month), nanos: None };
    let limits = Limits { windows: [Limit::default(), Limit::default(), month], ..Limits::default() };
    let id = ProjectId::parse(project).expect("a name");
    server.app().store().set_project(Project { id, limits, created_by_use: false }).await.expect("the store works");
}

async fn assert_prints(example: &str, args: &[&str], environment: &[(&str, &str)], parts: &[&str]) {
    let ended = run_example(example, args, environment).await;
    assert!(ended.status.success() && ended.stderr.is_empty(), "{example} {args:?}: {ended:?}");
    let mut rest = ended.stdout.as_str();
    for part in parts {
        let found = rest.split_once(part);
        (_, rest) =
            found.unwrap_or_else(|| panic!("{example} {args:?} does not print {part:?} there: {}", ended.stdout));
    }
}

//! Every way in which the upstream fails, whole and streamed, in every dialect. Whatever it does, the caller gets in time a
//! well-formed answer or a well-formed error, and no broken answer passes for a whole one; and the ledger is never below the bill.

mod backend;
mod books;
mod call;
mod matrix;
mod rows;
mod said;

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Simulator, simulator::KEY};

use backend::Backend;
use matrix::{Found, Matrix};
use rows::Row;

/// More keys than calls can use up: what one call does to its key is not to be another's business.
const KEYS: usize = 4_000;

/// What is logged where an upstream fails, and is no reason for a test to fail.
const LOGGED: [&str; 2] = ["broke off and is charged", "came to more than was held"];

async fn all_are_told_and_charged_rightly(rows: Vec<Row>) {
    let matrix = Matrix::of(rows, Backend::Anthropic);
    found_on(Backend::Anthropic, &matrix).await;
}

/// And so that nobody can tell it from the Messages API itself.
async fn all_are_so_on_claude_code(backend: Backend) {
    let matrix = Matrix::of(rows::all(), backend);
    let found = found_on(backend, &matrix).await;
    matrix.assert_same(&found, &found_on(Backend::Anthropic, &matrix).await);
}

async fn found_on(backend: Backend, matrix: &Matrix) -> Vec<Found> {
    let simulator = Simulator::start();
    let keys = (0..KEYS).map(|number| format!("{KEY}-{number}-").into()).collect();
    let settings = Settings { anthropic_api_keys: Some(keys), ..Settings::default() };
    let mut server = backend.start(&simulator, settings).await;
    for text in LOGGED {
        server.expect_logged(text);
    }
    let found = matrix.run(backend, &server, &simulator).await;
    matrix.print(&found);
    matrix.assert_all_well(&found);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_status() {
    all_are_told_and_charged_rightly(rows::statuses()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_to_come_back() {
    all_are_told_and_charged_rightly(rows::waits()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off() {
    all_are_told_and_charged_rightly(rows::broken()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_slow_or_silent() {
    all_are_told_and_charged_rightly(rows::slow()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_odd_and_whole() {
    all_are_told_and_charged_rightly(rows::odd()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_once() {
    all_are_told_and_charged_rightly(rows::once()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large() {
    all_are_told_and_charged_rightly(rows::large()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Claude Code CLI: make sdk"]
async fn through_the_claude_code_cli_in_every_dialect() {
    all_are_so_on_claude_code(Backend::ClaudeCode).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Claude Code CLI, and minutes: make faults"]
async fn through_the_claude_code_cli_at_every_door() {
    all_are_so_on_claude_code(Backend::ClaudeCodeAtEveryDoor).await;
}

//! Every way in which the upstream fails, whole and streamed, in every dialect. Whatever it does, the caller gets in time a
//! well-formed answer or a well-formed error, and no broken answer passes for a whole one; and the ledger is never below the bill.

mod books;
mod call;
mod matrix;
mod rows;
mod said;

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Simulator, TestServer, simulator::KEY};

use matrix::Matrix;

/// More keys than calls can use up: what one call does to its key is not to be another's business.
const KEYS: usize = 2_000;

/// What is logged where an upstream fails, and is no reason for a test to fail.
const LOGGED: [&str; 2] = ["broke off and is charged", "came to more than was held"];

async fn all_are_told_and_charged_rightly(rows: Vec<rows::Row>) {
    let simulator = Simulator::start();
    let keys = (0..KEYS).map(|number| format!("{KEY}-{number}-").into()).collect();
    let settings = Settings { anthropic_api_keys: Some(keys), ..Settings::default() };
    let mut server = TestServer::start_on(&simulator, settings).await;
    for text in LOGGED {
        server.expect_logged(text);
    }
    let matrix = Matrix::of(rows);
    let found = matrix.run(&server, &simulator).await;
    matrix.print(&found);
    matrix.assert_all_well(&found);
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

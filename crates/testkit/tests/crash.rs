//! SIGKILL at any instant, on the real binary: no row of an answer that was delivered is lost, nothing stays held, and the
//! books add up. CRASHES sets how often; the default is a short form.

use std::time::Duration;

use claude_code_api_testkit::{Caller, Program, run};
use claude_code_api_wire::CompleteResponse;
use futures_util::future::join_all;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

const CALLERS: u64 = 12;

fn crashes() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long a test takes is not the product's configuration")]
    std::env::var("CRASHES").ok().and_then(|count| count.parse().ok()).unwrap_or(8)
}

/// Calls until nobody answers; the answers that came whole.
async fn call_until_it_dies(caller: &Caller, seed: u64) -> Vec<CompleteResponse> {
    let mut answers = Vec::new();
    for call in 0.. {
        let request = json!({"prompt": "Tell a story.", "max_tokens": 1 + (seed + call) % 9, "seed": seed});
        match caller.try_complete(request).await {
            Ok(answer) if answer.status == 200 => answers.push(answer.done()),
            Ok(answer) => drop(answer.error()),
            Err(_) => break,
        }
    }
    answers
}

/// Spreads instants over a run without a source of randomness that a failure could not name.
fn instant(crash: u64) -> Duration {
    Duration::from_millis(300 + crash.wrapping_mul(0x9E37_79B9) % 3_000)
}

async fn crash(folder: TempDir, crash: u64) -> (TempDir, Vec<CompleteResponse>) {
    let program = Program::serve_in(folder, &["--log", "error"]).await;
    let caller = program.caller();
    let callers = join_all((0..CALLERS).map(|seed| call_until_it_dies(&caller, seed)));
    let kill = async {
        tokio::time::sleep(instant(crash)).await;
        program.kill().await
    };
    let (folder, answers) = tokio::join!(kill, callers);
    (folder, answers.into_iter().flatten().collect())
}

/// Tokens of the one complete entry of a call.
fn entry(ledger: &Connection, answer: &CompleteResponse) -> (i64, i64, i64) {
    let id = answer.id.strip_prefix("call_").expect("the id of a call");
    let sql = "select count(*), sum(input_tokens), sum(output_tokens) from entry
               where lower(hex(call)) = ?1 and ended = 'complete' and exact";
    ledger.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("the ledger can be read")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_delivered_answer_is_lost_and_nothing_stays_held() {
    let mut folder = TempDir::new().expect("a folder");
    let mut delivered = Vec::new();
    for number in 0..crashes() {
        let (left, answers) = crash(folder, number).await;
        folder = left;
        delivered.extend(answers);
    }
    let data_dir = folder.path().to_str().expect("text").to_owned();
    let verified = run(["ledger", "verify", "--data-dir", data_dir.as_str()], &[]).await;
    assert!(verified.status.success(), "{verified:?}");
    let ledger = Connection::open(folder.path().join("ledger.sqlite")).expect("the ledger");
    for answer in &delivered {
        let tokens = (answer.usage.input_tokens.cast_signed(), answer.usage.output_tokens.cast_signed());
        assert_eq!(entry(&ledger, answer), (1, tokens.0, tokens.1), "{answer:?}");
    }
    let count = |sql| ledger.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("the ledger can be read");
    assert_eq!(count("select count(*) from reservation"), 0, "held by the dead");
    let orphaned = count("select count(*) from entry where ended = 'orphaned'");
    println!("{} crashes: {} answers delivered, {orphaned} holds of the dead charged", crashes(), delivered.len());
    assert!(!delivered.is_empty() && orphaned > 0, "the crashes met no call");
}

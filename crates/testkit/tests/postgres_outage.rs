//! A database that goes away under load and comes back: calls are refused meanwhile, and nothing is lost or counted twice.

use std::time::{Duration, Instant};

use claude_code_api_service::{config::Settings, project::ProjectId, store::EntriesWanted};
use claude_code_api_testkit::{Caller, PostgresServer, Simulator, TestServer};
use claude_code_api_wire::{CompleteResponse, ErrorCode, Health, HealthStatus};
use futures_util::future::join_all;
use serde_json::{Value, json};

fn call(script: &Value) -> Value {
    json!({"prompt": format!("Hello sim:{script}"), "model": "haiku", "max_tokens": 100})
}

/// Calls until told to stop; the answers that came whole.
async fn call_on(caller: &Caller, until: Instant) -> Vec<CompleteResponse> {
    let mut answers = Vec::new();
    while Instant::now() < until {
        let answer = caller.complete(call(&json!({"input": 10, "output": 7}))).await;
        if answer.status == 200 {
            answers.push(answer.done());
        } else {
            let error = answer.error().error;
            assert!(error.code == ErrorCode::Internal && error.retryable, "{error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_and_comes_back_loses_nothing() {
    const ROUNDS: u32 = 4;
    let mut database = PostgresServer::start();
    let simulator = Simulator::start();
    let settings = Settings { database_url: Some(database.database().into()), ..Settings::default() };
    let mut server = TestServer::start_on(&simulator, settings).await;
    for told in ["ledger", "database", "settled", "refused", "keys and projects"] {
        server.expect_logged(told);
    }
    let (caller, until) = (server.caller(), Instant::now() + Duration::from_secs(6));
    let callers = join_all((0..32).map(|_| call_on(&caller, until)));
    let outages = tokio::task::spawn_blocking(move || {
        for round in 0..ROUNDS {
            #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
            std::thread::sleep(Duration::from_millis(500 + u64::from(round) * 137));
            database.kill();
            #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
            std::thread::sleep(Duration::from_millis(200));
            database.start_again();
        }
        database
    });
    let (answers, database) = tokio::join!(callers, outages);
    let database = database.expect("the outages took place");
    let answers: Vec<CompleteResponse> = answers.into_iter().flatten().collect();
    let again = Instant::now() + Duration::from_secs(1);
    assert!(!call_on(&caller, again).await.is_empty(), "calls are taken again");
    let health: Health = caller.get("/health").await.json();
    assert_eq!(health.status, HealthStatus::Ok);
    // What could not be settled meanwhile is settled now.
    let begun = Instant::now();
    while server.app().store().verify().await.expect("verified").reservations > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "a hold is left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let project = Some(ProjectId::default_project());
    let wanted = EntriesWanted { project, count_max: 1_000_000, ..EntriesWanted::default() };
    let entries = server.app().store().entries(wanted).await.expect("the store works");
    for answer in &answers {
        let of_it = entries.iter().filter(|entry| entry.call.to_string() == answer.id).collect::<Vec<_>>();
        assert_eq!(of_it.len(), 1, "{answer:?}");
        assert_eq!((of_it[0].spent.cost.0, of_it[0].spent.exact), (answer.cost_nanos, true));
    }
    let bill = simulator.bill().len();
    println!("{ROUNDS} outages: {} answers, {} entries, {bill} billed upstream", answers.len(), entries.len());
    assert_eq!(entries.len(), bill, "what was paid for upstream is in the ledger, once");
    server.shutdown();
    drop(database);
}

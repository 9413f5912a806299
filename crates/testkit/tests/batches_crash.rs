//! Stored batches whose service dies: SIGKILL at random instants, and an orderly end, on a file and on a database that three processes
//! share. Each item has one result and one complete entry, at most one estimate for each kill that met it, and the sum is not below the
//! bill. CRASHES sets how often.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use claude_code_api_service::{
    id::BatchId,
    ledger::{Ended, Entry},
    project::ProjectId,
    store::{
        EntriesWanted, Store,
        postgres::{self, Postgres},
        sqlite::{self, Sqlite},
    },
};
use claude_code_api_testkit::{
    Caller, PostgresServer, Program, Simulator,
    crash::{self, spread},
    until,
};
use claude_code_api_wire::{BatchEvent, BatchJob, BatchJobStatus};
use serde_json::{Value, json};
use tempfile::TempDir;

const ITEMS: usize = 2_000;
const REPLICAS: usize = 3;
const QUIET: [&str; 2] = ["--log", "error"];

fn crashes() -> usize {
    crash::crashes(10)
}

fn time_to_live(crash: usize) -> Duration {
    crash::time_to_live(crash, 150..450)
}

fn batch(items: usize) -> Value {
    let prompt = |number: usize| {
        let script = json!({"input": 50, "output": 1 + spread(number, 90), "delay_ms": spread(number + 7, 120)});
        format!("{number} sim:{script}")
    };
    let prompts: Vec<String> = (0..items).map(prompt).collect();
    json!({"prompts": prompts, "model": "sonnet", "max_tokens": 100, "max_concurrency": 48})
}

/// Asks a service that may be about to die.
async fn state(caller: &Caller, id: &str) -> Option<BatchJob> {
    let asked = caller.request(http::Method::GET, &format!("/v1/batches/{id}")).send().await.ok()?;
    serde_json::from_slice(&asked.bytes().await.ok()?).ok()
}

async fn ended(caller: &Caller, id: &str) -> BatchJob {
    let begun = Instant::now();
    loop {
        let job = state(caller, id).await.expect("the service lives");
        if job.status == BatchJobStatus::Ended {
            return job;
        }
        assert!(begun.elapsed() < Duration::from_mins(3), "it ends: {job:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every item has one result, each with the answer of its own prompt.
async fn results_are_whole(caller: &Caller, job: &BatchJob, items: usize) -> BTreeSet<String> {
    assert_eq!((job.total, job.completed, job.failed), (items as u64, items as u64, 0), "{job:?}");
    let told = caller.get(&format!("/v1/batches/{}/results", job.id)).await;
    let results: Vec<BatchEvent> =
        told.body.lines().map(|line| serde_json::from_str(line).expect("a result")).collect();
    let places: BTreeSet<usize> = results.iter().map(|event| event.index).collect();
    assert_eq!((results.len(), places.len()), (items, items));
    for event in &results {
        assert!(event.result.prompt.starts_with(&format!("{} sim:", event.index)), "{event:?}");
        let output = event.result.usage.expect("it was answered").output_tokens;
        assert_eq!(output, 1 + spread(event.index, 90) as u64, "{event:?}");
    }
    let cost: i64 = results.iter().filter_map(|event| event.result.cost_nanos).sum();
    assert_eq!(cost, job.total_cost_nanos);
    results.into_iter().filter_map(|event| event.result.call_id).collect()
}

async fn books_are_right(store: &dyn Store, simulator: &Simulator, calls: &BTreeSet<String>, kills: usize) {
    let verified = store.verify().await.expect("verified");
    assert_eq!((verified.differences, verified.reservations), (Vec::new(), 0));
    let project = Some(ProjectId::default_project());
    let wanted = EntriesWanted { project, count_max: u32::MAX >> 1, ..EntriesWanted::default() };
    let mut of_calls: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in store.entries(wanted).await.expect("the store works") {
        of_calls.entry(entry.call.to_string()).or_default().push(entry);
    }
    let (mut complete, mut estimated) = (BTreeSet::new(), 0);
    for (call, entries) in of_calls {
        let whole = entries.iter().filter(|entry| entry.spent.ended == Ended::Complete).count();
        assert!(whole <= 1 && entries.len() <= kills + 1, "{call}: {entries:?}");
        estimated += entries.len() - whole;
        complete.extend((whole == 1).then_some(call));
    }
    assert_eq!(&complete, calls, "one complete entry for each item, and no others");
    let billed = simulator.billed_nanos();
    assert!(verified.spent.nanos >= billed, "{} is below the bill, {billed}", verified.spent.nanos);
    println!(
        "{kills} kills: {} items, {estimated} estimates; {} in the ledger, {billed} billed",
        calls.len(),
        verified.spent.nanos
    );
}

fn open(folder: &TempDir) -> Sqlite {
    Sqlite::open(folder.path(), sqlite::Options::default()).expect("the store opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_a_file() {
    let simulator = Simulator::start();
    let mut program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &QUIET, &[]).await;
    let taken: BatchJob = program.caller().post("/v1/batches", batch(ITEMS).to_string()).await.json();
    let mut kills = 0;
    for crash in 0..crashes() {
        // Commits take their time, each another: whoever is killed is often killed in one.
        let slow = [("CLAUDE_CODE_API_FAILPOINT", "committing~10")];
        program = Program::serve_on(&simulator, program.kill().await, &QUIET, &slow).await;
        kills += 1;
        tokio::time::sleep(time_to_live(crash)).await;
        if state(&program.caller(), &taken.id).await.is_some_and(|job| job.status == BatchJobStatus::Ended) {
            println!("it ended after {kills} kills");
            break;
        }
    }
    program = Program::serve_on(&simulator, program.kill().await, &QUIET, &[]).await;
    kills += 1;
    let job = ended(&program.caller(), &taken.id).await;
    let calls = results_are_whole(&program.caller(), &job, ITEMS).await;
    books_are_right(&open(&program.kill().await), &simulator, &calls, kills).await;
    assert!(simulator.bill().len() > ITEMS, "the kills met no item that ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_a_database_that_three_processes_share() {
    let (database, simulator) = (PostgresServer::start(), Simulator::start());
    let url = database.database();
    let flags = ["--database-url", url.as_str(), "--replica-ttl", "0.5", "--log", "error"];
    let start = async || Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]).await;
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(start().await);
    }
    let taken: BatchJob = replicas[0].caller().post("/v1/batches", batch(ITEMS).to_string()).await.json();
    for crash in 0..crashes() {
        tokio::time::sleep(time_to_live(crash)).await;
        drop(replicas.swap_remove(spread(crash, REPLICAS)).kill().await);
        replicas.push(start().await);
    }
    let job = ended(&replicas[0].caller(), &taken.id).await;
    let calls = results_are_whole(&replicas[1].caller(), &job, ITEMS).await;
    // One who looks on, and takes nobody for dead.
    let options = postgres::Options { ttl: Duration::from_hours(1) };
    let store = Postgres::open(&url, options).await.expect("the store opens");
    let begun = Instant::now();
    while store.verify().await.expect("verified").reservations > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "what the dead held is still held");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    books_are_right(&store, &simulator, &calls, crashes()).await;
    drop(replicas);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_in_order_leaves_the_rest_to_the_next_and_nothing_is_run_twice() {
    const ITEMS: usize = 300;
    let simulator = Simulator::start();
    let mut program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &QUIET, &[]).await;
    let taken: BatchJob = program.caller().post("/v1/batches", batch(ITEMS).to_string()).await.json();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        program.terminate().await;
        assert!(program.ended(Duration::from_secs(20)).await.success());
        program = Program::serve_on(&simulator, program.kill().await, &QUIET, &[]).await;
    }
    let job = ended(&program.caller(), &taken.id).await;
    let calls = results_are_whole(&program.caller(), &job, ITEMS).await;
    books_are_right(&open(&program.kill().await), &simulator, &calls, 0).await;
    assert_eq!(simulator.bill().len(), ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_any_size_that_was_paid_for_becomes_a_result_though_its_service_dies_between() {
    const MIB: usize = 1 << 20;
    let simulator = Simulator::start();
    let dies = [("CLAUDE_CODE_API_FAILPOINT", "settled:1")];
    let mut program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &QUIET, &dies).await;
    let script = json!({"output": 3, "bytes_per_delta": MIB, "delay_ms": 1_000});
    let body = json!({"prompts": [format!("sim:{script}")], "model": "sonnet", "max_tokens": 100});
    let taken: BatchJob = program.caller().post("/v1/batches", body.to_string()).await.json();
    assert!(!program.ended(Duration::from_secs(20)).await.success());
    program = Program::serve_on(&simulator, program.kill().await, &QUIET, &[]).await;
    let job = ended(&program.caller(), &taken.id).await;
    assert_eq!((job.completed, job.failed), (1, 0), "{job:?}");
    let told = program.caller().get(&format!("/v1/batches/{}/results", job.id)).await;
    let event: BatchEvent = serde_json::from_str(told.body.trim_end()).expect("a result");
    assert_eq!(event.result.content.expect("a text").len(), 3 * MIB);
    assert_eq!(simulator.bill().len(), 1, "it was paid for once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_order_does_not_wait_for_items_that_have_not_begun() {
    let simulator = Simulator::start();
    // Two at a time; and those take long enough that all of them would not end in time.
    let flags = ["--log", "error", "--anthropic-concurrency-max", "2", "--drain-timeout", "20"];
    let mut program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]).await;
    let prompts = vec!["sim:{\"delay_ms\": 1000}"; 100];
    let body = json!({"prompts": prompts, "model": "haiku", "max_tokens": 100, "max_concurrency": 50});
    let taken: BatchJob = program.caller().post("/v1/batches", body.to_string()).await.json();
    while state(&program.caller(), &taken.id).await.is_none_or(|job| job.completed == 0) {}
    let begun = Instant::now();
    program.terminate().await;
    assert!(program.ended(Duration::from_secs(20)).await.success());
    println!("ended after {:?}", begun.elapsed());
    let before = simulator.bill().len();
    let folder = program.kill().await;
    let store = open(&folder);
    let verified = store.verify().await.expect("verified");
    assert_eq!((verified.reservations, verified.estimated, verified.entries), (0, 0, before as u64));
    let job =
        store.batch(BatchId::parse(&taken.id).expect("an id")).await.expect("the store works").expect("it is there");
    assert_eq!((job.sums.completed, job.sums.failed), (before as u64, 0), "what ran has its results");
}

/// Longer than what is left is given to be sent and settled once all is over.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_order_waits_for_items_that_run_though_nobody_is_connected() {
    let simulator = Simulator::start();
    let flags = ["--log", "error", "--drain-timeout", "20"];
    let mut program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]).await;
    let prompts = vec!["sim:{\"delay_ms\": 7500}"; 3];
    let body = json!({"prompts": prompts, "model": "haiku", "max_tokens": 100});
    program.caller().post("/v1/batches", body.to_string()).await.json::<BatchJob>();
    until("all of it runs", || simulator.requests().len() == 3).await;
    program.terminate().await;
    let begun = Instant::now();
    assert!(program.ended(Duration::from_secs(20)).await.success());
    println!("ended after {:?}", begun.elapsed());
    let verified = open(&program.kill().await).verify().await.expect("verified");
    assert_eq!((verified.reservations, verified.estimated, verified.entries), (0, 0, 3));
}

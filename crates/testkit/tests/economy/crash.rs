//! Processes that die under economy batches: SIGKILL at random instants and at the steps of a submission, on a file and on a database
//! that three processes share. Each prompt has one result; those that were answered have one entry each, which is exact, and those of
//! which nobody can know whether they ran one estimate; nothing is submitted twice. CRASHES sets how often.

use std::{sync::Arc, time::Duration};

use claude_code_api_service::store::Store;
use claude_code_api_testkit::{
    Caller, PostgresServer, Program, Simulator,
    crash::{self, spread},
    json_of, send, until,
};
use claude_code_api_wire::{BatchEvent, BatchJob, BatchStatus, ErrorCode};
use http::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    QUIET, assert_failed, assert_submitted_once, books,
    books::{Books, in_folder},
    by_place, economy, prompt, prompts, submissions,
};

const ITEMS: usize = 2_000;
const REPLICAS: usize = 3;

/// After how many seconds a submission is given up here whose process died before it was made. More than a list takes.
const UNKNOWN_AFTER: [&str; 2] = ["--economy-unknown-after", "4"];

fn crashes() -> usize {
    crash::crashes(10)
}

/// The database, if any, that a service is to use; and what it needs to be told for it.
struct Ledger<'a>(Option<&'a str>);

impl Ledger<'_> {
    fn flags(&self) -> Vec<&str> {
        let of_database = self.0.map(|url| vec!["--database-url", url, "--replica-ttl", "0.5"]);
        [&QUIET[..], &UNKNOWN_AFTER, &of_database.unwrap_or_default()].concat()
    }

    async fn open(&self, folder: &TempDir) -> Arc<dyn Store> {
        match self.0 {
            Some(url) => Arc::new(books::in_database(url).await),
            None => Arc::new(in_folder(folder)),
        }
    }
}

/// Sends a batch to a service that may die of it: the answer, if there is one.
async fn try_store(caller: &Caller, prompts: &[String]) -> Option<BatchJob> {
    let request = json_of(caller.once("night-7").request(Method::POST, "/v1/batches"), economy(prompts).to_string());
    Some(send(request).await.ok()?.json())
}

/// A process that dies at this step of its first submission, and one that comes after it: what the second says came of each prompt.
async fn died_at(
    step: &str,
    database: Option<&str>,
    simulator: &Simulator,
    prompts: &[String],
) -> (Vec<BatchEvent>, Books) {
    let (ledger, environment) = (Ledger(database), [("CLAUDE_CODE_API_FAILPOINT", step)]);
    let folder = TempDir::new().expect("a folder");
    let mut program = Program::serve_on(simulator, folder, &ledger.flags(), &environment).await;
    let first = try_store(&program.caller(), prompts).await;
    assert!(!program.ended(Duration::from_secs(20)).await.success(), "it dies {step}");
    let program = Program::serve_on(simulator, program.kill().await, &ledger.flags(), &[]).await;
    let taken = try_store(&program.caller(), prompts).await.expect("an answer");
    assert!(first.is_none_or(|first| first.id == taken.id), "it is stored once");
    program.caller().batch_over(&taken.id).await;
    let results = by_place(program.caller().batch_results(&taken.id, 0).await, prompts);
    let books = Books::of(&*ledger.open(&program.kill().await).await).await;
    books.assert_right(results.values(), simulator);
    (results.into_values().collect(), books)
}

async fn nothing_runs_twice_whatever_the_step(database: Option<&PostgresServer>) {
    let prompts = prompts(3, &json!({"output": 5}));
    let (simulator, url) = (Simulator::start(), database.map(PostgresServer::database));
    let (results, books) = died_at("intended:1", url.as_deref(), &simulator, &prompts).await;
    assert!(simulator.batches().is_empty(), "nobody knows that nothing was sent, so nothing is sent again");
    for event in &results {
        assert_failed(event, ErrorCode::BackendError);
    }
    assert_eq!((books.entries.len(), books.estimated()), (3, 3));

    let (simulator, url) = (Simulator::start(), database.map(PostgresServer::database));
    simulator.delay_listing_batches(300);
    let (results, books) = died_at("submitted:1", url.as_deref(), &simulator, &prompts).await;
    assert!(results.iter().all(|event| event.result.status == BatchStatus::Completed), "{results:?}");
    assert_submitted_once(&simulator, &prompts);
    assert_eq!((books.entries.len(), books.estimated()), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_every_step_of_a_submission_on_a_file() {
    nothing_runs_twice_whatever_the_step(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_every_step_of_a_submission_on_a_database() {
    nothing_runs_twice_whatever_the_step(Some(&PostgresServer::start())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_upstream_stays_held_when_the_process_dies_and_is_paid_for_exactly() {
    let (simulator, prompts) = (Simulator::start(), prompts(3, &json!({"output": 5})));
    simulator.delay_batches(4_000);
    let program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &QUIET, &[]).await;
    let taken = program.caller().store_batch(&economy(&prompts)).await;
    until("it is upstream", || simulator.batches().len() == 1).await;
    let folder = program.kill().await;
    let left = in_folder(&folder).verify().await.expect("verified");
    assert_eq!((left.differences, left.reservations, left.entries), (Vec::new(), 3, 0), "no death is charged for");
    let program = Program::serve_on(&simulator, folder, &QUIET, &[]).await;
    assert_eq!(program.caller().batch_over(&taken.id).await.completed, 3);
    let results = by_place(program.caller().batch_results(&taken.id, 0).await, &prompts);
    let books = Books::of(&in_folder(&program.kill().await)).await;
    books.assert_right(results.values(), &simulator);
    assert_eq!(books.estimated(), 0);
    assert_submitted_once(&simulator, &prompts);
}

/// Many prompts in several batches, one before each kill, and an upstream that takes its time for everything.
struct Load {
    simulator: Simulator,
    prompts: Vec<String>,
    taken: Vec<String>,
}

impl Load {
    fn start() -> Self {
        let simulator = Simulator::start();
        simulator.delay_making_batches(100);
        simulator.delay_listing_batches(300);
        simulator.delay_batches(600);
        let scripted = |number: usize| {
            let delay_ms = if number.is_multiple_of(50) { spread(number, 60) } else { 0 };
            prompt(number, &json!({"input": 50, "output": 1 + spread(number, 90), "delay_ms": delay_ms}))
        };
        Self { simulator, prompts: (0..ITEMS).map(scripted).collect(), taken: Vec::new() }
    }

    fn batches(&self) -> impl Iterator<Item = &[String]> {
        self.prompts.chunks(ITEMS.div_ceil(crashes()))
    }

    /// Stores the next batch, and waits for some instant of its submission, or of a later one of others'.
    async fn next(&mut self, caller: &Caller, crash: usize) {
        let batch = economy(self.batches().nth(crash).expect("one for each crash"));
        self.taken.push(caller.store_batch(&batch).await.id);
        tokio::time::sleep(crash::time_to_live(crash, 0..300)).await;
    }

    /// Every prompt has one result when all is over.
    async fn results(&self, caller: &Caller) -> Vec<BatchEvent> {
        let mut results = Vec::new();
        for (id, prompts) in self.taken.iter().zip(self.batches()) {
            caller.batch_over(id).await;
            results.extend(by_place(caller.batch_results(id, 0).await, prompts).into_values());
        }
        assert_eq!(results.len(), ITEMS);
        results
    }

    /// Whatever the instants of the kills: those prompts that failed may have run and are charged, and none was submitted twice.
    fn assert_nothing_is_lost(&self, results: &[BatchEvent], books: &Books) {
        books.assert_right(results, &self.simulator);
        let times = submissions(&self.simulator);
        assert!(times.values().all(|times| *times == 1), "submitted twice");
        let (mut unknown, mut lost) = (0, 0);
        for (number, event) in results.iter().enumerate() {
            let was_submitted = times.contains_key(&event.result.prompt);
            if event.result.status == BatchStatus::Completed {
                let output = event.result.usage.expect("it was answered").output_tokens;
                assert_eq!((output, was_submitted), (1 + spread(number, 90) as u64, true), "{event:?}");
            } else {
                assert_failed(event, ErrorCode::BackendError);
                unknown += 1;
                lost += usize::from(was_submitted);
            }
        }
        assert_eq!((books.entries.len(), books.estimated()), (ITEMS, unknown));
        println!("{} kills: {unknown} prompts of {ITEMS} unknown, of which {lost} had run", crashes());
        assert!(unknown < ITEMS as u64, "every slice was unknown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_a_file() {
    let (mut load, ledger) = (Load::start(), Ledger(None));
    let mut folder = TempDir::new().expect("a folder");
    for crash in 0..crashes() {
        // Commits take their time, each another: whoever is killed is often killed in one.
        let slow = [("CLAUDE_CODE_API_FAILPOINT", "committing~10")];
        let program = Program::serve_on(&load.simulator, folder, &ledger.flags(), &slow).await;
        load.next(&program.caller(), crash).await;
        folder = program.kill().await;
    }
    let program = Program::serve_on(&load.simulator, folder, &ledger.flags(), &[]).await;
    let results = load.results(&program.caller()).await;
    load.assert_nothing_is_lost(&results, &Books::of(&in_folder(&program.kill().await)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_a_database_that_three_processes_share() {
    let (mut load, database) = (Load::start(), PostgresServer::start());
    let url = database.database();
    let ledger = Ledger(Some(&url));
    let start = async |simulator: &Simulator| {
        Program::serve_on(simulator, TempDir::new().expect("a folder"), &ledger.flags(), &[]).await
    };
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(start(&load.simulator).await);
    }
    for crash in 0..crashes() {
        // The one that has taken the batch is the first to work on it, as it hears of it first.
        let dies = spread(crash, REPLICAS);
        load.next(&replicas[dies].caller(), crash).await;
        drop(replicas.swap_remove(dies).kill().await);
        replicas.push(start(&load.simulator).await);
    }
    let results = load.results(&replicas[0].caller()).await;
    load.assert_nothing_is_lost(&results, &Books::of(&books::in_database(&url).await).await);
    drop(replicas);
}

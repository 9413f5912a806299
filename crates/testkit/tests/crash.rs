//! SIGKILL at any instant, on the real binary under load: no row of an answer that was delivered is lost, nothing stays held, no
//! limit is passed, nothing is paid for upstream that is not in the ledger, and the books add up. On a file, and on a database that
//! three processes serve from. CRASHES sets how often; the default is a short form.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use claude_code_api_service::{
    failpoint::Failpoint,
    ledger::{Ended, Entry, Limit, Limits, Project},
    project::ProjectId,
    store::{
        EntriesWanted, Store,
        postgres::{self, Postgres},
        sqlite::{self, Sqlite},
    },
    window::Period,
};
use claude_code_api_testkit::{
    Caller, PostgresServer, Program, Simulator,
    crash::{self, spread},
};
use claude_code_api_wire::{CompleteResponse, ErrorCode};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

const CALLERS: usize = 64;
const REPLICAS: usize = 3;

fn crashes() -> usize {
    crash::crashes(20)
}

/// How long the service runs before it is killed.
fn time_to_live(crash: usize) -> Duration {
    crash::time_to_live(crash, 60..410)
}

/// What the project may spend in a day, in nano-dollars: it is never passed, and some calls meet it.
fn limit() -> i64 {
    i64::try_from(crashes()).expect("a count") * 100_000_000
}

/// The call of this number, and what it asks of the simulator: some are quick, some take their time.
fn request(number: usize) -> Value {
    let script = json!({"input": 50, "output": 1 + spread(number, 90), "delay_ms": spread(number + 7, 40)});
    json!({"prompt": format!("Hello sim:{script}"), "model": "sonnet", "max_tokens": 100, "timeout": 20})
}

/// Sends a call, every third as a stream: how it ended, where that came.
async fn ask(service: &Caller, number: usize, request: Value) -> reqwest::Result<Result<CompleteResponse, ErrorCode>> {
    if number.is_multiple_of(3) {
        return match service.streamed(request).await? {
            Ok(events) => Ok(events.try_end().await?.map_err(|envelope| envelope.error.code)),
            Err(answer) => Ok(Err(answer.error().error.code)),
        };
    }
    let answer = service.try_complete(request).await?;
    Ok(if answer.status == 200 { Ok(answer.json()) } else { Err(answer.error().error.code) })
}

/// Who call, as their service dies and comes back. Half of the calls have an idempotency key and are sent until they are
/// answered, wherever that is; the other half are sent once.
#[derive(Default)]
struct Load {
    calls: AtomicUsize,
    /// Calls with a key whose time was over before they were answered.
    unanswered: Mutex<Vec<usize>>,
}

impl Load {
    /// Calls `services`, in turn, until the time is over; the answers that came whole, by idempotency key.
    async fn run(&self, services: &[Caller], until: Instant) -> Vec<(Option<String>, CompleteResponse)> {
        let mut answers = Vec::new();
        while Instant::now() < until {
            let number = self.calls.fetch_add(1, Ordering::SeqCst);
            let key = number.is_multiple_of(2).then(|| format!("key-{number}"));
            for attempt in 0.. {
                let service = &services[(number + attempt) % services.len()];
                let service = key.as_ref().map_or_else(|| service.clone(), |key| service.once(key.as_str()));
                match ask(&service, number, request(number)).await {
                    Ok(Ok(answer)) => {
                        answers.push((key, answer));
                        break;
                    }
                    Ok(Err(_)) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
                if key.is_none() {
                    break;
                }
                if Instant::now() >= until {
                    self.unanswered.lock().expect("nobody panics").push(number);
                    break;
                }
            }
        }
        answers
    }

    /// Whatever became of a call with a key, its caller can have an answer: the one that there is, or a new one.
    async fn every_key_can_be_answered(&self, service: &Caller) {
        let unanswered = std::mem::take(&mut *self.unanswered.lock().expect("nobody panics"));
        assert!(!unanswered.is_empty(), "the crashes met no call with a key");
        let mut replayed = 0;
        for number in &unanswered {
            match ask(&service.once(format!("key-{number}")), *number, request(*number)).await.expect("an answer") {
                Ok(answer) => replayed += usize::from(answer.replayed),
                Err(code) => assert_eq!(code, ErrorCode::BudgetExceeded, "key-{number}"),
            }
        }
        println!("{} keys without an answer asked again: {replayed} had one", unanswered.len());
    }
}

/// What was promised, held against what the ledger says.
async fn nothing_is_lost(store: &dyn Store, simulator: &Simulator, answers: &[(Option<String>, CompleteResponse)]) {
    let verified = store.verify().await.expect("verified");
    assert_eq!(verified.differences, Vec::<String>::new());
    assert_eq!(verified.reservations, 0, "held by the dead");
    let wanted = EntriesWanted { project: Some(project().id), count_max: u32::MAX >> 1, ..EntriesWanted::default() };
    let mut of_calls: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in store.entries(wanted).await.expect("the store works") {
        of_calls.entry(entry.call.to_string()).or_default().push(entry);
    }
    let complete = |entries: &[Entry]| entries.iter().filter(|entry| entry.spent.ended == Ended::Complete).count();
    assert!(of_calls.values().all(|entries| complete(entries) <= 1), "a call was completed twice");
    for (key, answer) in answers {
        let entries = of_calls.get(&answer.id).map_or(&[][..], Vec::as_slice);
        assert_eq!(complete(entries), 1, "{key:?} {answer:?} {entries:?}");
        let entry = entries.iter().find(|entry| entry.spent.ended == Ended::Complete).expect("counted above");
        let tokens = (entry.spent.usage.input_tokens, entry.spent.usage.output_tokens);
        assert_eq!(tokens, (answer.usage.input_tokens, answer.usage.output_tokens), "{answer:?}");
        assert_eq!((entry.spent.cost.0, entry.spent.exact), (answer.cost_nanos, true), "{answer:?}");
    }
    let mut by_key = BTreeMap::new();
    for (key, answer) in answers.iter().filter_map(|(key, answer)| Some((key.as_ref()?, answer))) {
        let first = by_key.entry(key).or_insert(&answer.id);
        assert_eq!(*first, &answer.id, "one key had two calls");
    }
    let used = store.usage(project().id, Period::Day).await.expect("usage").spent;
    let billed = simulator.billed_nanos();
    assert!(used.nanos <= limit(), "{used:?}");
    assert!(verified.spent.nanos >= billed, "{verified:?} is below the bill, {billed}");
    let orphaned = of_calls.values().flatten().filter(|entry| entry.spent.ended == Ended::Orphaned).count();
    println!(
        "{} crashes: {} answers delivered, {} entries, {orphaned} of them holds of the dead; {} nano-dollars in the ledger, \
         {billed} billed upstream, {} allowed",
        crashes(),
        answers.len(),
        verified.entries,
        used.nanos,
        limit(),
    );
    assert!(!answers.is_empty() && orphaned > 0, "the crashes met no call");
}

fn project() -> Project {
    let day = Limit { tokens: None, nanos: Some(limit()) };
    let limits = Limits { windows: [day, Limit::default(), Limit::default()], ..Limits::default() };
    Project { id: ProjectId::default_project(), limits, created_by_use: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_file() {
    let (simulator, load) = (Simulator::start(), Load::default());
    let mut folder = TempDir::new().expect("a folder");
    let open = |folder: &TempDir| Sqlite::open(folder.path(), sqlite::Options::default()).expect("the store opens");
    open(&folder).set_project(project()).await.expect("the store works");
    let mut answers = Vec::new();
    for crash in 0..crashes() {
        // Commits take their time, each another: whoever is killed is often killed in one.
        let slow = [("CLAUDE_CODE_API_FAILPOINT", "committing~10")];
        let program = Program::serve_on(&simulator, folder, &["--log", "error"], &slow).await;
        let (services, dies_at) = ([program.caller()], Instant::now() + time_to_live(crash));
        let callers = join_all((0..CALLERS).map(|_| load.run(&services, dies_at)));
        let kill = async {
            tokio::time::sleep_until(dies_at.into()).await;
            program.kill().await
        };
        let (left, answered) = tokio::join!(kill, callers);
        folder = left;
        answers.extend(answered.into_iter().flatten());
    }
    let program = Program::serve_on(&simulator, folder, &["--log", "error"], &[]).await;
    load.every_key_can_be_answered(&program.caller()).await;
    nothing_is_lost(&open(&program.kill().await), &simulator, &answers).await;
}

/// The same for a process that dies at this step: where that is between attempts, the first of each breaks off.
fn request_at(failpoint: Failpoint, number: usize) -> Value {
    if failpoint != Failpoint::Retrying {
        return request(number);
    }
    let script = json!({"input": 50, "output": number, "fault": "reset_after", "faults": 1});
    json!({"prompt": format!("Hello sim:{script}"), "model": "sonnet", "max_tokens": 100, "timeout": 20})
}

/// Whatever the step at which a process dies: its callers send their calls again to the next, and each is done once.
async fn every_step_can_be_the_last(database: Option<&PostgresServer>) {
    const CALLS: usize = 8;
    for failpoint in Failpoint::OF_CALLS {
        let (simulator, url) = (Simulator::start(), database.map(PostgresServer::database));
        let mut flags = vec!["--log", "error"];
        if let Some(url) = &url {
            flags.extend(["--database-url", url, "--replica-ttl", "0.5"]);
        }
        let dies = format!("{}:{}", failpoint.as_str(), CALLS / 2);
        let environment = [("CLAUDE_CODE_API_FAILPOINT", dies.as_str())];
        let mut program = Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &environment).await;
        let ask_all = async |caller: Caller| {
            let calls = (0..CALLS).map(|number| {
                let caller = caller.once(format!("key-{number}"));
                async move { ask(&caller, number, request_at(failpoint, number)).await.ok()?.ok() }
            });
            join_all(calls).await.into_iter().flatten().collect::<Vec<CompleteResponse>>()
        };
        let first = ask_all(program.caller()).await;
        let ended = program.ended(Duration::from_secs(20)).await;
        assert!(!ended.success() && first.len() < CALLS, "{failpoint:?}: {ended}, {} answers", first.len());
        let program = Program::serve_on(&simulator, program.kill().await, &flags, &[]).await;
        let second = ask_all(program.caller()).await;
        assert_eq!(second.len(), CALLS, "{failpoint:?}");
        for answer in &first {
            assert!(second.iter().any(|again| again.id == answer.id && again.replayed), "{failpoint:?}: {answer:?}");
        }
        let replayed = second.iter().filter(|answer| answer.replayed).count();
        let folder = program.kill().await;
        let store: Arc<dyn Store> = match &url {
            Some(url) => Arc::new(connect(url).await),
            None => Arc::new(Sqlite::open(folder.path(), sqlite::Options::default()).expect("the store opens")),
        };
        let verified = store.verify().await.expect("verified");
        assert_eq!((verified.differences, verified.reservations), (Vec::new(), 0));
        let wanted = EntriesWanted { project: Some(project().id), count_max: 99, ..EntriesWanted::default() };
        let entries = store.entries(wanted).await.expect("the store works");
        let complete = entries.iter().filter(|entry| entry.spent.ended == Ended::Complete).count();
        assert_eq!(complete, CALLS, "{failpoint:?}: {entries:?}");
        assert!(verified.spent.nanos >= simulator.billed_nanos(), "{failpoint:?}: below the bill");
        println!(
            "died {}: {} answered before, {replayed} replayed after, {} entries of {CALLS} calls",
            failpoint.as_str(),
            first.len(),
            entries.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_every_step_of_a_call_on_a_file() {
    every_step_can_be_the_last(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_every_step_of_a_call_on_a_database() {
    every_step_can_be_the_last(Some(&PostgresServer::start())).await;
}

/// One who looks on, and takes nobody for dead.
async fn connect(url: &str) -> Postgres {
    Postgres::open(url, postgres::Options { ttl: Duration::from_hours(1) }).await.expect("the store opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_database_with_three_processes_of_which_one_is_killed() {
    let (database, simulator) = (PostgresServer::start(), Simulator::start());
    let url = database.database();
    let store = connect(&url).await;
    store.set_project(project()).await.expect("the store works");
    // Commits take their time, each another: whoever is killed is often killed in one.
    let name = PostgresServer::name(&url);
    database.sql(
        name,
        "create or replace function claude_code_api.now_ms() returns bigint volatile language sql
         as $$ select pg_sleep(random() * 0.01); select (extract(epoch from clock_timestamp()) * 1000)::bigint $$",
    );
    let flags = ["--database-url", url.as_str(), "--replica-ttl", "0.5", "--budget-wait", "0.2", "--log", "error"];
    let start = async || Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]).await;
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(start().await);
    }
    let load = Load::default();
    let mut answers = Vec::new();
    for crash in 0..crashes() {
        let (services, dies_at) =
            (replicas.iter().map(Program::caller).collect::<Vec<_>>(), Instant::now() + time_to_live(crash));
        // The callers outlive the one that dies, and go on with the others.
        let until = dies_at + Duration::from_millis(100);
        let callers = join_all((0..CALLERS).map(|_| load.run(&services, until)));
        let kill = async {
            tokio::time::sleep_until(dies_at.into()).await;
            drop(replicas.swap_remove(spread(crash, REPLICAS)).kill().await);
        };
        let ((), answered) = tokio::join!(kill, callers);
        answers.extend(answered.into_iter().flatten());
        replicas.push(start().await);
    }
    load.every_key_can_be_answered(&replicas[0].caller()).await;
    let begun = Instant::now();
    while store.verify().await.expect("verified").reservations > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "what the dead held is still held");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    nothing_is_lost(&store, &simulator, &answers).await;
    drop(replicas);
}

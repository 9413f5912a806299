//! The ledger on PostgreSQL: several processes on one database, of which one may die or stand still.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use claude_code_api_service::{
    id::{BatchId, SliceId},
    job::{EndedItem, Item, NewBatchJob, NewItem, Sums, Terms},
    ledger::{Amount, Claim, ClaimScope, Ended, Limits, Reserve, Reserved, Settle, Settled, SettledBy, Spent},
    project::ProjectId,
    slice::{self, NewSlice, SliceChange},
    store::{
        EntriesWanted, Store,
        conformance::{self, candidate, reserve, spent},
        postgres::{Options, Postgres},
    },
    window::Period,
};
use claude_code_api_testkit::{BOUND, PostgresServer, Program, Simulator, in_time, run, until};
use claude_code_api_wire::ErrorCode;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

async fn connect(url: &str, ttl: Duration) -> Arc<Postgres> {
    Arc::new(Postgres::open(url, Options { ttl }).await.expect("the store opens"))
}

const HOUR: Duration = Duration::from_hours(1);

async fn granted(store: &Postgres, call: &Reserve) {
    let reserved = store.reserve(call.clone()).await.expect("the store works");
    assert!(matches!(reserved, Reserved::Granted(_)), "{reserved:?}");
}

fn settle(call: &Reserve, spent: Option<Spent>) -> Settle {
    let claim = call.claim.as_ref().map(|claim| claim.scope);
    Settle { id: call.id, project: call.project.clone(), spent, claim, answer: Some(b"answer"[..].into()) }
}

async fn verified(store: &Postgres) {
    assert_eq!(store.verify().await.expect("verified").differences, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_for_dead_is_fenced_and_begins_anew() {
    let server = PostgresServer::start();
    let url = server.database();
    let (first, second) = (connect(&url, HOUR).await, connect(&url, HOUR).await);
    let project = conformance::project(&*first, "p", Some(1_000)).await;
    let calls: Vec<Reserve> = (0..3).map(|_| reserve(&project, vec![candidate(100, 100)])).collect();
    for call in &calls {
        granted(&first, call).await;
    }
    let epoch = first.epoch().expect("it holds something");
    assert_eq!(second.take_for_dead(epoch, Some(7)).await, Ok(None), "it has shown a sign of life meanwhile");
    assert_eq!(second.take_for_dead(epoch, None).await, Ok(Some(3)));
    assert_eq!(second.take_for_dead(epoch, None).await, Ok(None), "only once");
    let used = second.usage(project.clone(), Period::Day).await.expect("usage");
    assert_eq!((used.spent, used.held), (Amount { tokens: 600, nanos: 600 }, Amount::ZERO));
    assert_eq!(first.settle(settle(&calls[0], Some(spent(10, 10)))).await, Ok(Settled::Corrected), "late, and true");
    // What was held under the old number does not stand in the way of the new one.
    let anew = reserve(&project, vec![candidate(100, 100)]);
    granted(&first, &anew).await;
    first.fenced(epoch).await;
    assert_ne!(first.epoch(), Some(epoch));
    assert_eq!(first.settle(settle(&anew, None)).await, Ok(Settled::Closed(Amount::ZERO)));
    let used = first.usage(project, Period::Day).await.expect("usage");
    assert_eq!((used.spent, used.held), (Amount { tokens: 420, nanos: 420 }, Amount::ZERO));
    verified(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_attempts_under_one_key_one_is_complete() {
    let server = PostgresServer::start();
    let url = server.database();
    let (first, second) = (connect(&url, HOUR).await, connect(&url, HOUR).await);
    let project = conformance::project(&*first, "p", None).await;
    let claim = Claim { scope: ClaimScope::of(&project, "test", "k"), fingerprint: [1; 32], kept_for: HOUR };
    let call = || Reserve { claim: Some(claim.clone()), ..reserve(&project, vec![candidate(100, 100)]) };
    let (lost, rerun) = (call(), call());
    granted(&first, &lost).await;
    assert_eq!(second.reserve(call()).await, Ok(Reserved::Running(lost.call)));
    second.take_for_dead(first.epoch().expect("it holds something"), None).await.expect("the store works");
    granted(&second, &rerun).await;
    // The first was only slow.
    assert_eq!(first.settle(settle(&lost, Some(spent(50, 50)))).await, Ok(Settled::Superseded));
    assert_eq!(second.settle(settle(&rerun, Some(spent(40, 40)))).await, Ok(Settled::Closed(Amount::ZERO)));
    assert_eq!(first.reserve(call()).await, Ok(Reserved::Done(lost.call)));
    let wanted = EntriesWanted { project: Some(project.clone()), count_max: 9, ..EntriesWanted::default() };
    let entries = first.entries(wanted).await.expect("the store works");
    let complete = entries.iter().filter(|entry| entry.spent.ended == Ended::Complete);
    assert_eq!((entries.len(), complete.count()), (2, 1));
    let used = first.usage(project, Period::Day).await.expect("usage");
    assert_eq!(used.spent, Amount { tokens: 180, nanos: 180 }, "both were paid for upstream");
    verified(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_call_that_nobody_ran_again_has_its_answer_after_all() {
    let server = PostgresServer::start();
    let url = server.database();
    let (first, second) = (connect(&url, HOUR).await, connect(&url, HOUR).await);
    let project = conformance::project(&*first, "p", None).await;
    let claim = Claim { scope: ClaimScope::of(&project, "test", "k"), fingerprint: [1; 32], kept_for: HOUR };
    let call = Reserve { claim: Some(claim.clone()), ..reserve(&project, vec![candidate(100, 100)]) };
    granted(&first, &call).await;
    second.take_for_dead(first.epoch().expect("it holds something"), None).await.expect("the store works");
    assert_eq!(first.settle(settle(&call, Some(spent(50, 50)))).await, Ok(Settled::Corrected));
    assert_eq!(second.answer(claim.scope).await, Ok(Some(b"answer".to_vec())));
    verified(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lives_is_left_alone_and_who_is_silent_is_not() {
    let server = PostgresServer::start();
    let url = server.database();
    let ttl = Duration::from_millis(600);
    let (first, second) = (connect(&url, ttl).await, connect(&url, ttl).await);
    let project = conformance::project(&*first, "p", None).await;
    let (mine, dead) = (reserve(&project, vec![candidate(1, 1)]), reserve(&project, vec![candidate(1, 1)]));
    granted(&first, &mine).await;
    granted(&second, &reserve(&project, vec![candidate(1, 1)])).await;
    // A process that dies at once.
    let (of_the_dead, url_of_the_dead) = (dead.clone(), url.clone());
    let dies = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let store = runtime.block_on(async {
            let store = connect(&url_of_the_dead, ttl).await;
            granted(&store, &of_the_dead).await;
            store
        });
        runtime.shutdown_background();
        // It does not end in order.
        std::mem::forget(store);
    };
    std::thread::spawn(dies).join().expect("it held something");
    let begun = Instant::now();
    let held = async || first.usage(project.clone(), Period::Day).await.expect("usage").held.tokens;
    while held().await == 6 {
        assert!(begun.elapsed() < Duration::from_secs(20), "who is silent is still held for");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after = begun.elapsed();
    println!("taken for dead after {after:?}, with {ttl:?} to live");
    assert!(after >= ttl, "too soon");
    tokio::time::sleep(4 * ttl).await;
    assert_eq!(held().await, 4, "who lives was taken for dead");
    assert_eq!(first.settle(settle(&mine, None)).await, Ok(Settled::Closed(Amount::ZERO)));
    assert_eq!(first.directory(None).await.expect("the store works").expect("a directory").replicas, 2);
    drop(second);
    let begun = Instant::now();
    while first.directory(None).await.expect("the store works").expect("a directory").replicas == 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "who has left is still counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn call(script: &Value) -> Value {
    json!({"prompt": format!("Hello sim:{script}"), "model": "haiku", "max_tokens": 100})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stood_still_past_its_time_ends_its_calls_and_goes_on() {
    let database = PostgresServer::start();
    let (url, simulator) = (database.database(), Simulator::start());
    let flags = ["--database-url", url.as_str(), "--replica-ttl", "1"];
    let start = || Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]);
    let (still, other) = tokio::join!(start(), start());
    let (caller, slow) = (still.caller(), call(&json!({"delay_ms": 6_000, "output": 50})));
    #[expect(clippy::disallowed_methods, reason = "a test waits for it")]
    let answer = tokio::spawn(async move { caller.complete(slow).await });
    let watching = connect(&url, HOUR).await;
    let project = ProjectId::default_project();
    let used = async || watching.usage(project.clone(), Period::Day).await.expect("usage");
    while used().await.held == Amount::ZERO {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The other has to hold something, to be there at all.
    other.caller().complete(call(&json!({"output": 1}))).await.done();
    still.signal("-STOP").await;
    let begun = Instant::now();
    while used().await.held != Amount::ZERO {
        assert!(begun.elapsed() < Duration::from_secs(20), "who stands still is still held for");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("taken for dead after {:?}", begun.elapsed());
    still.signal("-CONT").await;
    let error = answer.await.expect("an answer").error().error;
    assert_eq!(error.code, ErrorCode::Internal, "a call that nothing is held for any more has no answer");
    still.caller().complete(call(&json!({"output": 2}))).await.done();
    let wanted = EntriesWanted { project: Some(project.clone()), count_max: 9, ..EntriesWanted::default() };
    let entries = watching.entries(wanted).await.expect("the store works");
    let corrected = entries.iter().filter(|entry| entry.settled_by == SettledBy::Correction).count();
    assert_eq!((entries.len(), corrected), (3, 1), "{entries:?}");
    verified(&watching).await;
    assert!(still.stderr().contains("was taken for dead"), "{}", still.stderr());
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_explained() {
    let nowhere = Postgres::open("postgres://localhost:1/none?connect_timeout=2", Options::default()).await;
    let message = nowhere.err().expect("nobody listens there").to_string();
    assert!(message.contains("cannot use the database") && message.contains("refused"), "{message}");
    for malformed in ["", "mysql://localhost/x", "not a url"] {
        let message = Postgres::open(malformed, Options::default()).await.err().expect(malformed).to_string();
        assert!(message.contains("postgres://"), "{malformed}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_by_hand_is_refused_by_every_process_within_a_second() {
    let database = PostgresServer::start();
    let (url, simulator) = (database.database(), Simulator::start());
    let flags = ["--database-url", url.as_str()];
    let start = || Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]);
    let (one, other) = tokio::join!(start(), start());
    let command = async |args: &[&str]| {
        let ended = run(args.iter().copied().chain(flags), &[]).await;
        assert!(ended.status.success(), "{args:?}: {ended:?}");
        ended.stdout.trim().to_owned()
    };
    command(&["project", "set", "blue"]).await;
    let key = command(&["key", "create", "--project", "blue"]).await;
    let callers = [one.caller().with_key(&key), other.caller().with_key(&key)];
    for caller in &callers {
        let begun = Instant::now();
        while one.caller().get("/v1/usage").await.status != 401 || caller.get("/v1/usage").await.status != 200 {
            assert!(begun.elapsed() < Duration::from_secs(5), "the key is not known everywhere");
        }
        caller.complete(call(&json!({"output": 3}))).await.done();
    }
    let id = command(&["key", "list"]).await.split_whitespace().next().expect("an id").to_owned();
    command(&["key", "revoke", &id]).await;
    let begun = Instant::now();
    for caller in &callers {
        while caller.get("/v1/usage").await.status != 401 {
            assert!(begun.elapsed() < Duration::from_secs(3), "a revoked key is let in");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    println!("refused everywhere after {:?}", begun.elapsed());
    assert!(command(&["ledger", "verify"]).await.starts_with("ok: 2 entries"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_be_silent_for_longer_is_judged_by_that() {
    let server = PostgresServer::start();
    let url = server.database();
    // Beats come as seldom as every second; the other would wait for a tenth of that.
    let (patient, hasty) =
        (connect(&url, Duration::from_secs(5)).await, connect(&url, Duration::from_millis(100)).await);
    let project = conformance::project(&*patient, "p", None).await;
    let call = reserve(&project, vec![candidate(1, 1)]);
    granted(&patient, &call).await;
    granted(&hasty, &reserve(&project, vec![candidate(1, 1)])).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(patient.settle(settle(&call, None)).await, Ok(Settled::Closed(Amount::ZERO)), "it was taken for dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_key_in_a_new_project_one_is_granted() {
    let server = PostgresServer::start();
    let url = server.database();
    let (first, second) = (connect(&url, HOUR).await, connect(&url, HOUR).await);
    for round in 0..50 {
        let project = ProjectId::parse(&format!("new-{round}")).expect("a name");
        let claim = Claim { scope: ClaimScope::of(&project, "test", "k"), fingerprint: [1; 32], kept_for: HOUR };
        let call = || Reserve {
            claim: Some(claim.clone()),
            creates: Some(Limits::default()),
            ..reserve(&project, vec![candidate(1, 1)])
        };
        let outcomes: [_; 2] = tokio::join!(first.reserve(call()), second.reserve(call())).into();
        let granted = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Reserved::Granted(_)))).count();
        let running = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Reserved::Running(_)))).count();
        assert_eq!((granted, running), (1, 1), "round {round}: {outcomes:?}");
    }
    verified(&first).await;
}

/// Who stands still does so, under load, in the middle of a transaction: with locks that everybody waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stands_still_in_a_transaction_holds_nobody_up_for_long() {
    const ROUNDS: u32 = 4;
    let database = PostgresServer::start();
    let (url, simulator) = (database.database(), Simulator::start());
    let watching = connect(&url, HOUR).await;
    // A transaction takes a while, so that it is met.
    let name = PostgresServer::name(&url);
    let slow = "create or replace function claude_code_api.now_ms() returns bigint volatile language sql
                as $$ select pg_sleep(0.02); select (extract(epoch from clock_timestamp()) * 1000)::bigint $$";
    database.sql(name, slow);
    let flags = ["--database-url", url.as_str(), "--replica-ttl", "1", "--log", "error"];
    let start = || Program::serve_on(&simulator, TempDir::new().expect("a folder"), &flags, &[]);
    let (still, other) = tokio::join!(start(), start());
    let in_a_transaction = "select count(*) from pg_stat_activity where state = 'idle in transaction'";
    let (mut met, mut longest) = (0, Duration::ZERO);
    for round in 0..ROUNDS {
        let caller = still.caller();
        let stops = Instant::now() + Duration::from_millis(200 + u64::from(round) * 37);
        let until = stops + Duration::from_millis(100);
        let load = join_all((0..16).map(|_| async {
            while Instant::now() < until {
                let _ = caller.try_complete(call(&json!({"output": 1}))).await;
            }
        }));
        let stop = async {
            tokio::time::sleep_until(stops.into()).await;
            still.signal("-STOP").await;
            tokio::time::sleep(Duration::from_millis(60)).await;
            met += usize::from(database.sql(name, in_a_transaction).trim() != "0");
            let begun = Instant::now();
            other.caller().complete(call(&json!({"output": 1}))).await.done();
            longest = longest.max(begun.elapsed());
            still.signal("-CONT").await;
        };
        tokio::join!(load, stop);
    }
    println!("met {met} times of {ROUNDS} in a transaction; the other answered after {longest:?} at the latest");
    assert!(longest < Duration::from_secs(8), "{longest:?}");
    let begun = Instant::now();
    while watching.verify().await.expect("verified").reservations > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "something stays held");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    verified(&watching).await;
}

fn batch(project: &ProjectId, items: usize) -> NewBatchJob {
    let terms = Terms {
        project: project.clone(),
        makes_project: false,
        items_max: 1,
        request: String::new(),
        is_economy: false,
    };
    let items = vec![NewItem { prompt: "prompt".to_owned(), name: None }; items];
    NewBatchJob { id: BatchId::new(), terms, claim: None, items, kept_for: HOUR }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_one_number_whichever_of_its_connections_needs_it_first() {
    let server = PostgresServer::start();
    for _ in 0..10 {
        let url = server.database();
        let store = connect(&url, HOUR).await;
        let project = conformance::project(&*store, "p", None).await;
        let new = batch(&project, 1);
        let (id, call) = (new.id, reserve(&project, vec![candidate(1, 1)]));
        store.add_batch(new).await.expect("the store works");
        let (held, taken) = tokio::join!(store.reserve(call.clone()), store.take_items(id, 1));
        assert!(matches!(held, Ok(Reserved::Granted(_))) && taken.is_ok_and(|items| items.len() == 1));
        let numbers = server.sql(PostgresServer::name(&url), "select count(*) from claude_code_api.epoch");
        assert_eq!(numbers.trim(), "1");
        store.settle(settle(&call, None)).await.expect("the store works");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_taken_for_dead_sends_no_slice_again() {
    let server = PostgresServer::start();
    let url = server.database();
    let (first, second) = (connect(&url, HOUR).await, connect(&url, HOUR).await);
    let project = conformance::project(&*first, "p", None).await;
    let new = batch(&project, 1);
    let id = new.id;
    first.add_batch(new).await.expect("the store works");
    assert_eq!(first.take_items(id, 1).await.expect("the store works").len(), 1);
    let reserve = Reserve { is_of_a_job: true, ..reserve(&project, vec![candidate(1, 1)]) };
    let items = vec![slice::NewItem { place: 0, reserve, route: None }];
    let slice = NewSlice { id: SliceId::new(), batch: id, items };
    first.open_slice(slice.clone()).await.expect("the store works");
    assert_eq!(first.change_slice(slice.id, SliceChange::Sending).await, Ok(true));
    second.take_for_dead(first.epoch().expect("it holds something"), None).await.expect("the store works");
    assert_eq!(first.change_slice(slice.id, SliceChange::Sending).await, Ok(false), "it is for others now");
    let taken = second.take_slices().await.expect("the store works");
    assert_eq!(taken.iter().map(|taken| taken.id).collect::<Vec<_>>(), [slice.id]);
    assert_eq!(first.change_slice(slice.id, SliceChange::Sending).await, Ok(false), "another works on it");
    assert_eq!(second.change_slice(slice.id, SliceChange::Sending).await, Ok(true));
}

/// The database plans how to store a result by what it knows of its tables, which is nothing of those that were empty just now.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_after_small_ones_is_not_slow() {
    let server = PostgresServer::start();
    let store = connect(&server.database(), HOUR).await;
    let project = conformance::project(&*store, "p", None).await;
    let work = async |new: NewBatchJob, rounds: usize| {
        let id = new.id;
        store.add_batch(new).await.expect("the store works");
        for _ in 0..rounds {
            let items = store.take_items(id, 500).await.expect("the store works");
            let ended = |item: Item| EndedItem { place: item.place, result: String::new(), sums: Sums::default() };
            store.end_items(id, items.into_iter().map(ended).collect()).await.expect("the store works");
        }
    };
    for _ in 0..10 {
        work(batch(&project, 1), 1).await;
    }
    in_time("5,000 results of 20,000 are stored", 2 * BOUND, work(batch(&project, 20_000), 10)).await;
}

/// Deleting it waits for a lock here, for as long as it may take where there is much to delete.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_waits_while_a_batch_is_deleted() {
    let server = Arc::new(PostgresServer::start());
    let url = server.database();
    let store = connect(&url, HOUR).await;
    let project = conformance::project(&*store, "p", None).await;
    let over = NewBatchJob { kept_for: Duration::ZERO, ..batch(&project, 0) };
    let id = over.id;
    store.add_batch(over).await.expect("the store works");
    let name = PostgresServer::name(&url).to_owned();
    let locks = |which: &str| !server.sql(&name, &format!("select 1 from pg_locks where {which}")).is_empty();
    let (holding, database) = (Arc::clone(&server), name.clone());
    let hold = "lock table claude_code_api.batch in share mode; select pg_sleep(3)";
    let holder = tokio::task::spawn_blocking(move || holding.sql(&database, hold));
    until("the table is locked", || locks("mode = 'ShareLock' and granted")).await;
    let call = async {
        until("deleting the batch waits", || locks("not granted")).await;
        let call = reserve(&project, vec![candidate(100, 100)]);
        granted(&store, &call).await;
        assert_eq!(store.settle(settle(&call, None)).await, Ok(Settled::Closed(Amount::ZERO)));
        assert!(!holder.is_finished(), "the call has waited for the batch");
    };
    let (forgotten, ()) = tokio::join!(store.forget_expired(), call);
    assert_eq!((forgotten, store.batch(id).await), (Ok(1), Ok(None)));
    holder.await.expect("the lock was held");
}

//! The ledger: the stores pass their conformance suite, and whatever is done to them in whatever order, no limit is passed and
//! nothing is lost.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use claude_code_api_service::{
    ledger::{Amount, Books, Candidate, Clamp, Limit, Limits, Project, Reserve, Reserved, Settle, Settled},
    project::ProjectId,
    store::{
        Store, StoreError, conformance,
        conformance::{candidate, reserve, spent},
        postgres::{self, Postgres},
        sqlite::{Options, Sqlite},
    },
    window::{Moment, PERIODS, Period},
};
use claude_code_api_testkit::{BOUND, PostgresServer};
use futures_util::future::join_all;
use tempfile::TempDir;

fn open(folder: &Path, clock: &Arc<AtomicI64>) -> Arc<dyn Store> {
    let clock = Arc::clone(clock);
    let options = Options { clock: Box::new(move || Moment(clock.load(Ordering::SeqCst))), ..Options::default() };
    Arc::new(Sqlite::open(folder, options).expect("the store opens"))
}

/// 2026-12-31T23:59:59.000Z: a second before a day, a month and a year end, in ISO week 53.
fn new_years_eve() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(Moment::parse("2026-12-31T23:59:59Z").expect("a moment").0))
}

#[tokio::test]
async fn sqlite_passes() {
    let folder = TempDir::new().expect("a folder");
    conformance::passes(&open(folder.path(), &new_years_eve())).await;
}

#[tokio::test]
async fn postgres_passes() {
    let server = PostgresServer::start();
    let store: Arc<dyn Store> =
        Arc::new(Postgres::open(&server.database(), postgres::Options::default()).await.expect("the store opens"));
    conformance::passes(&store).await;
}

#[tokio::test]
async fn a_folder_has_one_process_at_a_time() {
    let folder = TempDir::new().expect("a folder");
    let first = open(folder.path(), &new_years_eve());
    let Err(StoreError::Unusable(message)) = Sqlite::open(folder.path(), Options::default()) else { panic!("opened") };
    assert!(message.contains("in use by another") && message.contains("--data-dir"), "{message}");
    drop(first);
    Sqlite::open(folder.path(), Options::default()).expect("free again");
}

#[tokio::test]
async fn what_a_dead_process_held_is_charged_at_its_worst_case_and_corrected_once() {
    let (folder, clock) = (TempDir::new().expect("a folder"), new_years_eve());
    let store = open(folder.path(), &clock);
    let project = conformance::project(&*store, "p", Some(1_000)).await;
    let call = reserve(&project, vec![candidate(100, 200)]);
    assert!(matches!(store.reserve(call.clone()).await, Ok(Reserved::Granted(_))));
    drop(store);
    // The year has ended meanwhile: the charge belongs to the windows that held it.
    clock.fetch_add(3_600_000, Ordering::SeqCst);
    let store = open(folder.path(), &clock);
    let week = store.usage(project.clone(), Period::Week).await.expect("usage");
    assert_eq!((week.spent, week.held), (Amount { tokens: 300, nanos: 300 }, Amount::ZERO));
    for period in [Period::Day, Period::Month] {
        let usage = store.usage(project.clone(), period).await.expect("usage");
        assert_eq!((usage.spent, usage.held), (Amount::ZERO, Amount::ZERO), "{period:?}");
    }
    let truth =
        Settle { id: call.id, project: project.clone(), spent: Some(spent(100, 20)), claim: None, answer: None };
    assert_eq!(store.settle(truth.clone()).await, Ok(Settled::Corrected));
    assert_eq!(store.settle(truth).await, Ok(Settled::Already));
    assert_eq!(store.usage(project, Period::Week).await.expect("usage").spent, Amount { tokens: 120, nanos: 120 });
    assert_eq!(store.verify().await.expect("verified").differences, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_dead_process_held_on_a_subscription_costs_no_money() {
    let (folder, clock) = (TempDir::new().expect("a folder"), new_years_eve());
    let store = open(folder.path(), &clock);
    let project = conformance::project(&*store, "p", None).await;
    let call = reserve(&project, vec![Candidate { is_notional: true, ..candidate(100, 200) }]);
    assert!(matches!(store.reserve(call).await, Ok(Reserved::Granted(_))));
    drop(store);
    let store = open(folder.path(), &clock);
    let used = store.usage(project, Period::Day).await.expect("usage");
    assert_eq!((used.spent, used.by_model[0].1.notional_nanos), (Amount { tokens: 300, nanos: 0 }, 300));
    assert_eq!(store.verify().await.expect("verified").differences, Vec::<String>::new());
}

/// A day, a week and a month may end while calls run: each is spent where it was held, and what comes after begins anew.
async fn calls_straddle_the_ends_of_windows(store: &dyn Store, set_clock: impl Fn(i64)) {
    const CALLS: i64 = 64;
    // The end of a day; of a month; of ISO week 53, a Sunday; of all three at once.
    for (last_second, ends) in [
        ("2026-11-25T23:59:59Z", vec![Period::Day]),
        ("2026-12-31T23:59:59Z", vec![Period::Day, Period::Month]),
        ("2027-01-03T23:59:59Z", vec![Period::Day, Period::Week]),
        ("2027-01-31T23:59:59Z", vec![Period::Day, Period::Week, Period::Month]),
    ] {
        let now = Moment::parse(last_second).expect("a moment").0;
        set_clock(now);
        let limit = Limit { tokens: Some(CALLS * 10), nanos: None };
        let id = ProjectId::parse(&format!("p-{now}")).expect("a name");
        let limits = Limits { windows: [limit; 3], clamp: Clamp::Never, ..Limits::default() };
        store.set_project(Project { id: id.clone(), limits, created_by_use: false }).await.expect("the store works");
        let call = || reserve(&id, vec![candidate(5, 5)]);
        let calls: Vec<Reserve> = (0..CALLS).map(|_| call()).collect();
        for reserved in join_all(calls.iter().map(|call| store.reserve(call.clone()))).await {
            assert!(matches!(reserved, Ok(Reserved::Granted(_))), "{last_second}: {reserved:?}");
        }
        assert_eq!(store.reserve(call()).await, Ok(Reserved::Wait), "{last_second}: every window is full");
        set_clock(now + 1_000);
        // It is the next day. Settlements and new calls come side by side.
        let settle = |call: &Reserve| {
            let spent = Some(spent(5, 5));
            store.settle(Settle { id: call.id, project: id.clone(), spent, claim: None, answer: None })
        };
        let fits = ends.len() == 3;
        let settled = join_all(calls.iter().map(settle));
        let (settled, reserved) = tokio::join!(settled, store.reserve(call()));
        assert!(settled.iter().all(|settled| *settled == Ok(Settled::Closed(Amount::ZERO))), "{last_second}");
        assert_eq!(matches!(reserved, Ok(Reserved::Granted(_))), fits, "{last_second}: {reserved:?}");
        for period in PERIODS {
            let usage = store.usage(id.clone(), period).await.expect("usage");
            let spent = if ends.contains(&period) { 0 } else { CALLS * 10 };
            assert_eq!(usage.spent.tokens, spent, "{last_second} {period:?}");
        }
        assert_eq!(store.verify().await.expect("verified").differences, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_straddle_the_end_of_a_window_are_spent_where_they_were_held_on_a_file() {
    let (folder, clock) = (TempDir::new().expect("a folder"), Arc::new(AtomicI64::new(0)));
    let store = open(folder.path(), &clock);
    calls_straddle_the_ends_of_windows(&*store, |now| clock.store(now, Ordering::SeqCst)).await;
    // A clock that is set back does not open the old windows again.
    clock.fetch_add(-5_000, Ordering::SeqCst);
    let project = conformance::project(&*store, "p", None).await;
    let Ok(Reserved::Granted(grant)) = store.reserve(reserve(&project, vec![candidate(5, 5)])).await else {
        panic!("not granted")
    };
    assert_eq!(grant.reserved_at.rfc3339(), "2027-02-01T00:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_straddle_the_end_of_a_window_are_spent_where_they_were_held_on_a_database() {
    let server = PostgresServer::start();
    let url = server.database();
    let store = Postgres::open(&url, postgres::Options::default()).await.expect("the store opens");
    let name = PostgresServer::name(&url);
    let set_clock = |now: i64| {
        let sql = "create or replace function claude_code_api.now_ms() returns bigint volatile language sql as 'select";
        server.sql(name, &format!("{sql} {now}::bigint'"));
    };
    calls_straddle_the_ends_of_windows(&store, set_clock).await;
}

/// Whatever is written is moved into the file, and the log does not grow for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_begun_anew_when_it_has_become_long() {
    const LONG: u64 = 16 << 20;
    let folder = TempDir::new().expect("a folder");
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(folder.path(), Options::default()).expect("the store opens"));
    let project = conformance::project(&*store, "p", None).await;
    let log_bytes = || std::fs::metadata(folder.path().join("ledger.sqlite-wal")).map_or(0, |file| file.len());
    let begun = Instant::now();
    let pairs = async || {
        let call = reserve(&project, vec![candidate(5, 5)]);
        assert!(matches!(store.reserve(call.clone()).await, Ok(Reserved::Granted(_))));
        let settle =
            Settle { id: call.id, project: project.clone(), spent: Some(spent(5, 5)), claim: None, answer: None };
        store.settle(settle).await.expect("the store works");
    };
    let mut longest = 0;
    while longest < 2 * LONG {
        join_all((0..64).map(|_| pairs())).await;
        longest = longest.max(log_bytes());
        assert!(begun.elapsed() < BOUND * 12, "so much is written in a minute");
    }
    let grown = begun.elapsed();
    while log_bytes() >= LONG {
        pairs().await;
        assert!(begun.elapsed() < grown + BOUND, "the log is as long as ever: {longest} bytes");
    }
    println!("{longest} bytes of log after {grown:?}, {} after {:?}", log_bytes(), begun.elapsed());
    assert_eq!(store.verify().await.expect("verified").differences, Vec::<String>::new());
}

/// An operation whose outcome was not known is sent again; meanwhile its process was taken for dead, and it was charged.
#[test]
fn a_hold_that_is_closed_does_not_come_about_again() {
    let mut books = Books::new(2, Moment(0), 1);
    let project = ProjectId::parse("p").expect("a name");
    books.account(&project).limits = Some(Limits::default());
    let call = reserve(&project, vec![candidate(5, 5)]);
    books.load_gone(call.id);
    assert_eq!(books.reserve(&call), Reserved::Gone);
    assert!(books.take_changes().opened.is_empty());
}

/// A clock that was set back while nothing ran does not open the windows of yesterday again.
#[tokio::test]
async fn the_time_does_not_go_back_from_one_process_to_the_next() {
    let (folder, clock) = (TempDir::new().expect("a folder"), new_years_eve());
    clock.fetch_add(1_000, Ordering::SeqCst);
    let store = open(folder.path(), &clock);
    let project = conformance::project(&*store, "p", None).await;
    drop(store);
    clock.fetch_add(-60_000, Ordering::SeqCst);
    let store = open(folder.path(), &clock);
    let call = reserve(&project, vec![candidate(5, 5)]);
    let Ok(Reserved::Granted(grant)) = store.reserve(call).await else { panic!("not granted") };
    assert_eq!(grant.reserved_at.rfc3339(), "2027-01-01T00:00:00Z");
}

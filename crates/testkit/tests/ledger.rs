//! The ledger: the stores pass their conformance suite, and whatever is done to them in whatever order, no limit is passed and
//! nothing is lost.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use claude_code_api_service::{
    ledger::{Amount, Reserved, Settle, Settled},
    store::{
        Store, StoreError, conformance,
        conformance::{candidate, reserve, spent},
        postgres::{self, Postgres},
        sqlite::{Options, Sqlite},
    },
    window::{Moment, Period},
};
use claude_code_api_testkit::PostgresServer;
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

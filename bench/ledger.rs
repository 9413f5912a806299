//! How many calls a second the ledger takes: reserve and settle, in pairs, at several numbers of callers. `make bench-ledger`.

#![expect(clippy::disallowed_methods, clippy::cast_precision_loss, reason = "no app here; figures for people")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use claude_code_api_service::{
    ledger::{Reserved, Settle},
    project::ProjectId,
    store::{
        Store,
        conformance::{candidate, project, reserve, spent},
        sqlite::{Options, Sqlite},
    },
};

const RUN: Duration = Duration::from_secs(4);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("store              callers  projects    pairs/s   pair p50 us   pair p99 us");
    for power_loss_safe in [false, true] {
        for (callers, projects) in [(1, 1), (64, 1), (1_024, 1), (1_024, 1_000)] {
            runtime.block_on(measure(power_loss_safe, callers, projects));
        }
    }
    runtime.block_on(entries());
}

fn open(folder: &std::path::Path, power_loss_safe: bool) -> Arc<dyn Store> {
    let options = Options { power_loss_safe, ..Options::default() };
    Arc::new(Sqlite::open(folder, options).expect("the store opens"))
}

async fn measure(power_loss_safe: bool, callers: usize, projects: usize) {
    let folder = tempfile::TempDir::new_in(".").expect("a folder");
    let store = open(folder.path(), power_loss_safe);
    let mut ids = Vec::new();
    for index in 0..projects {
        ids.push(project(&*store, &format!("project-{index}"), Some(i64::MAX / 4)).await);
    }
    let end = Instant::now() + RUN;
    let tasks: Vec<_> = (0..callers)
        .map(|caller| tokio::spawn(pairs(Arc::clone(&store), ids[caller % projects].clone(), end)))
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("no caller fails"));
    }
    took.sort_unstable();
    let name = if power_loss_safe { "sqlite power-loss" } else { "sqlite" };
    let rate = took.len() as f64 / RUN.as_secs_f64();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_micros();
    println!("{name:18} {callers:>7} {projects:>9} {rate:>10.0} {:>13} {:>13}", at(50), at(99));
    let verified = store.verify().await.expect("verified");
    assert_eq!((verified.entries, verified.reservations), (took.len() as u64, 0));
    assert!(verified.differences.is_empty(), "{:?}", verified.differences);
}

async fn pairs(store: Arc<dyn Store>, project: ProjectId, end: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let call = reserve(&project, vec![candidate(100, 400)]);
        let reserved = store.reserve(call.clone()).await.expect("the store works");
        assert!(matches!(reserved, Reserved::Granted(_)));
        let settle =
            Settle { id: call.id, project: project.clone(), spent: Some(spent(100, 50)), claim: None, answer: None };
        store.settle(settle).await.expect("the store works");
        took.push(begun.elapsed());
    }
    took
}

/// What usage costs to ask for, at a thousand entries and at two hundred thousand.
async fn entries() {
    let folder = tempfile::TempDir::new_in(".").expect("a folder");
    let store = open(folder.path(), false);
    let id = project(&*store, "project", None).await;
    let mut total = 0;
    for wanted in [1_000, 200_000] {
        while total < wanted {
            let batch = (0..1_000).map(|_| async {
                let call = reserve(&id, vec![candidate(100, 400)]);
                store.reserve(call.clone()).await.expect("the store works");
                let settle =
                    Settle { id: call.id, project: id.clone(), spent: Some(spent(100, 50)), claim: None, answer: None };
                store.settle(settle).await.expect("the store works")
            });
            total += futures_util::future::join_all(batch).await.len();
        }
        let begun = Instant::now();
        for _ in 0..1_000 {
            store.usage(id.clone(), claude_code_api_service::window::Period::Month).await.expect("usage");
        }
        println!("usage at {total:>7} entries: {} us", begun.elapsed().as_micros() / 1_000);
    }
}

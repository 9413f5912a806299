//! How many calls a second the ledger takes: reserve and settle, in pairs, on every store, at several numbers of callers, with and
//! without answers that are kept; and what usage costs to ask for at a thousand entries and at ten million. `make bench-ledger`.

#![expect(clippy::disallowed_methods, clippy::cast_precision_loss, reason = "no app here; figures for people")]

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use claude_code_api_service::{
    ledger::{Claim, ClaimScope, Reserve, Reserved, Settle},
    project::ProjectId,
    store::{
        Store,
        conformance::{candidate, project, reserve, spent},
        postgres::{self, Postgres},
        sqlite::{Options, Sqlite},
    },
    window::Period,
};
use tempfile::TempDir;

#[allow(dead_code, unreachable_pub, reason = "the benchmark uses the part of it that it needs")]
#[path = "../crates/testkit/src/postgres.rs"]
mod postgres_server;

use postgres_server::PostgresServer;

const RUN: Duration = Duration::from_secs(3);
const ANSWER_BYTES: usize = 2_048;
const ENTRIES: [u64; 2] = [1_000, 10_000_000];

/// Where the ledger is.
#[derive(Clone, Copy)]
enum Site<'a> {
    File { power_loss_safe: bool },
    Database { server: &'a PostgresServer, processes: usize },
}

/// How it is called.
#[derive(Clone, Copy)]
struct Load {
    callers: usize,
    projects: usize,
    answers: bool,
}

const LOADS: [Load; 5] = [
    Load { callers: 1, projects: 1, answers: false },
    Load { callers: 64, projects: 1, answers: false },
    Load { callers: 1_024, projects: 1, answers: false },
    Load { callers: 1_024, projects: 1, answers: true },
    Load { callers: 1_024, projects: 1_000, answers: false },
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let server = PostgresServer::start_with(&[]);
    let sites = [
        Site::File { power_loss_safe: false },
        Site::File { power_loss_safe: true },
        Site::Database { server: &server, processes: 1 },
        Site::Database { server: &server, processes: 3 },
    ];
    println!("store               callers  projects  answers    pairs/s   pair p50 us   pair p99 us");
    let mut synced_pair = Duration::ZERO;
    for site in sites {
        for load in LOADS {
            let p50 = runtime.block_on(measure(site, load));
            if load.callers == 1 && matches!(site, Site::File { power_loss_safe: true }) {
                synced_pair = p50;
            }
        }
    }
    let disk = fdatasync();
    let commit = synced_pair / 2;
    println!(
        "a lone synced commit: {} us; the disk's own fdatasync: {} us; ratio {:.2}",
        commit.as_micros(),
        disk.as_micros(),
        commit.as_secs_f64() / disk.as_secs_f64()
    );
    runtime.block_on(usage_of_a_file());
    runtime.block_on(usage_of_a_database(&server));
}

impl Site<'_> {
    fn name(self) -> String {
        match self {
            Site::File { power_loss_safe: false } => "sqlite".to_owned(),
            Site::File { power_loss_safe: true } => "sqlite power-loss".to_owned(),
            Site::Database { processes: 1, .. } => "postgres".to_owned(),
            Site::Database { processes, .. } => format!("postgres, {processes} of us"),
        }
    }

    async fn open(self, folder: &Path) -> Vec<Arc<dyn Store>> {
        match self {
            Site::File { power_loss_safe } => vec![open_file(folder, power_loss_safe)],
            Site::Database { server, processes } => {
                let (url, mut stores) = (server.database(), Vec::<Arc<dyn Store>>::new());
                for _ in 0..processes {
                    stores.push(Arc::new(open_database(&url).await));
                }
                stores
            }
        }
    }
}

fn open_file(folder: &Path, power_loss_safe: bool) -> Arc<dyn Store> {
    let options = Options { power_loss_safe, ..Options::default() };
    Arc::new(Sqlite::open(folder, options).expect("the store opens"))
}

async fn open_database(url: &str) -> Postgres {
    Postgres::open(url, postgres::Options::default()).await.expect("the store opens")
}

/// One row; how long a pair takes, at the median.
async fn measure(site: Site<'_>, load: Load) -> Duration {
    let folder = TempDir::new_in(".").expect("a folder");
    let stores = site.open(folder.path()).await;
    let mut ids = Vec::new();
    for index in 0..load.projects {
        ids.push(project(&*stores[0], &format!("project-{index}"), Some(i64::MAX / 4)).await);
    }
    let end = Instant::now() + RUN;
    let tasks: Vec<_> = (0..load.callers)
        .map(|caller| {
            let (store, id) = (&stores[caller % stores.len()], &ids[caller % load.projects]);
            tokio::spawn(pairs(Arc::clone(store), id.clone(), load.answers, end))
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("no caller fails"));
    }
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    println!(
        "{:19} {:>7} {:>9} {:>8} {:>10.0} {:>13} {:>13}",
        site.name(),
        load.callers,
        load.projects,
        if load.answers { "2 KB" } else { "-" },
        took.len() as f64 / RUN.as_secs_f64(),
        at(50).as_micros(),
        at(99).as_micros()
    );
    let verified = stores[0].verify().await.expect("verified");
    assert_eq!((verified.entries, verified.reservations), (took.len() as u64, 0));
    assert!(verified.differences.is_empty(), "{:?}", verified.differences);
    at(50)
}

async fn pairs(store: Arc<dyn Store>, project: ProjectId, answers: bool, end: Instant) -> Vec<Duration> {
    let answer: Option<Arc<[u8]>> = answers.then(|| vec![b'a'; ANSWER_BYTES].into());
    let mut took = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let mut call = reserve(&project, vec![candidate(100, 400)]);
        call.claim = answers.then(|| claim(&call));
        let reserved = store.reserve(call.clone()).await.expect("the store works");
        assert!(matches!(reserved, Reserved::Granted(_)));
        let (claim, spent) = (call.claim.as_ref().map(|claim| claim.scope), Some(spent(100, 50)));
        let settle = Settle { id: call.id, project: project.clone(), spent, claim, answer: answer.clone() };
        store.settle(settle).await.expect("the store works");
        took.push(begun.elapsed());
    }
    took
}

fn claim(call: &Reserve) -> Claim {
    let scope = ClaimScope::of(&call.project, "bench", &call.id.to_string());
    Claim { scope, fingerprint: [0; 32], kept_for: Duration::from_hours(1) }
}

/// What the disk itself takes to keep 4 KiB, at the median.
fn fdatasync() -> Duration {
    let mut file = tempfile::NamedTempFile::new_in(".").expect("a file");
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[1; 4_096]).expect("written");
            File::sync_data(file.as_file()).expect("synced");
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}

/// Counters know nothing of how many entries there are; the entries lie beside them all the same.
async fn usage_of_a_file() {
    let folder = TempDir::new_in(".").expect("a folder");
    drop(first_entry(&*open_file(folder.path(), false)).await);
    for wanted in ENTRIES {
        let file = rusqlite::Connection::open(folder.path().join("ledger.sqlite")).expect("the file");
        let sql = "pragma synchronous = off;
            insert into entry with recursive n (i) as (select (select count(*) from entry) union all select i + 1 from n where i < WANTED)
            select cast(zeroblob(8) || printf('%08d', i) as blob), call, project, day, model, model_id, backend, 0, 0, 0, 0, 0, 0,
            exact, unpriced, ended, 0, 0, reserved_at, settled_at, settled_by
            from (select * from entry where input_tokens > 0), n where i < WANTED;
            update usage set requests = WANTED";
        file.execute_batch(&sql.replace("WANTED", &wanted.to_string())).expect("rows");
        drop(file);
        let store = open_file(folder.path(), false);
        usage("sqlite", &*store, wanted).await;
    }
}

async fn usage_of_a_database(server: &PostgresServer) {
    let url = server.database();
    let name = url.split_once("@/").and_then(|(_, rest)| rest.split_once('?')).expect("a name").0;
    let store = open_database(&url).await;
    first_entry(&store).await;
    for wanted in ENTRIES {
        let sql = "insert into claude_code_api.entry select gen_random_uuid(), call, project, day, model, model_id, backend, 0, 0, 0, 0, 0, 0,
            exact, unpriced, ended, 0, 0, reserved_at, settled_at, settled_by
            from (select * from claude_code_api.entry where input_tokens > 0) as first,
            generate_series((select count(*) from claude_code_api.entry), WANTED - 1)";
        server.sql(name, &sql.replace("WANTED", &wanted.to_string()));
        server.sql(name, &format!("update claude_code_api.usage set requests = {wanted}"));
        server.sql(name, "vacuum analyze");
        usage("postgres", &store, wanted).await;
    }
}

async fn first_entry(store: &dyn Store) -> ProjectId {
    let id = project(store, "project", None).await;
    let call = reserve(&id, vec![candidate(100, 400)]);
    store.reserve(call.clone()).await.expect("the store works");
    let spent = Some(spent(100, 50));
    let settle = Settle { id: call.id, project: id.clone(), spent, claim: None, answer: None };
    store.settle(settle).await.expect("the store works");
    id
}

async fn usage(name: &str, store: &dyn Store, entries: u64) {
    const TIMES: u32 = 2_000;
    let id = ProjectId::parse("project").expect("a name");
    let verified = store.verify().await.expect("verified");
    assert_eq!((verified.entries, verified.differences.len()), (entries, 0));
    let begun = Instant::now();
    for _ in 0..TIMES {
        store.usage(id.clone(), Period::Month).await.expect("usage");
    }
    println!("{name}: usage at {entries:>8} entries: {} us", begun.elapsed().as_micros() / u128::from(TIMES));
}

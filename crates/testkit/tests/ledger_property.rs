//! Whatever is done to a ledger, in whatever order and side by side, no limit is passed and nothing is lost: on a file, and on a
//! database that three processes serve from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use claude_code_api_service::{
    id::EntryId,
    ledger::{
        Amount, Claim, ClaimScope, Clamp, Ended, Limit, Limits, Project, Reserve, Reserved, Settle, Settled, Spent,
    },
    project::ProjectId,
    store::{
        EntriesWanted, Store,
        conformance::{candidate, reserve, spent},
        postgres::{self, Postgres},
        sqlite::{Options, Sqlite},
    },
    window::{Moment, PERIODS, Period},
};
use claude_code_api_testkit::PostgresServer;
use futures_util::future::join_all;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use tempfile::TempDir;

/// 2026-12-31T23:59:59.000Z: a second before a day, a month and a year end, in ISO week 53.
fn new_years_eve() -> i64 {
    Moment::parse("2026-12-31T23:59:59Z").expect("a moment").0
}

/// What may happen to a ledger.
#[derive(Clone, Debug)]
enum Step {
    /// These, side by side; and perhaps a project's limits beside them.
    Calls(Vec<CallStep>, Option<NewLimits>),
    Clock {
        ms: i64,
    },
    Crash {
        process: usize,
    },
}

/// What a project may use from now on.
#[derive(Clone, Debug)]
struct NewLimits {
    project: usize,
    tokens: [Option<i64>; 3],
    nanos: [Option<i64>; 3],
    calls_max: Option<u32>,
}

/// What a call does.
#[derive(Clone, Debug)]
enum CallStep {
    Reserve {
        project: usize,
        tokens: i64,
        key: Option<u8>,
    },
    Settle {
        which: usize,
        percent: u64,
    },
    Release {
        which: usize,
    },
    /// An attempt ends, and the next one is held for in the same transaction.
    Retry {
        which: usize,
        percent: u64,
    },
    SettleAgain {
        which: usize,
    },
    SettleLate {
        which: usize,
        percent: u64,
    },
}

const PROJECTS: usize = 3;

fn limits() -> impl Strategy<Value = [Option<i64>; 3]> {
    [(); 3].map(|()| proptest::option::of(0_i64..3_000))
}

fn call_step() -> impl Strategy<Value = CallStep> {
    prop_oneof![
        8 => (0..PROJECTS, 1_i64..600, proptest::option::of(0_u8..3))
            .prop_map(|(project, tokens, key)| CallStep::Reserve { project, tokens, key }),
        5 => (any::<usize>(), 0_u64..=100).prop_map(|(which, percent)| CallStep::Settle { which, percent }),
        2 => any::<usize>().prop_map(|which| CallStep::Release { which }),
        2 => (any::<usize>(), 0_u64..=100).prop_map(|(which, percent)| CallStep::Retry { which, percent }),
        1 => any::<usize>().prop_map(|which| CallStep::SettleAgain { which }),
        1 => (any::<usize>(), 0_u64..=100).prop_map(|(which, percent)| CallStep::SettleLate { which, percent }),
    ]
}

fn new_limits() -> impl Strategy<Value = NewLimits> {
    let calls_max = proptest::option::weighted(0.2, 1_u32..6);
    let all = (0..PROJECTS, limits(), limits(), calls_max);
    all.prop_map(|(project, tokens, nanos, calls_max)| NewLimits { project, tokens, nanos, calls_max })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (vec(call_step(), 1..8), proptest::option::weighted(0.25, new_limits()))
            .prop_map(|(calls, limits)| Step::Calls(calls, limits)),
        1 => prop_oneof![-5_000_i64..5_000, 0_i64..100_000_000].prop_map(|ms| Step::Clock { ms }),
        1 => any::<usize>().prop_map(|process| Step::Crash { process }),
    ]
}

/// Where a ledger is, and the processes that have it.
enum Site {
    File { folder: TempDir, clock: Arc<AtomicI64>, store: Option<Arc<dyn Store>> },
    Database { server: Arc<PostgresServer>, url: String, clock: i64, stores: Vec<Arc<Postgres>> },
}

impl Site {
    fn file() -> Self {
        let clock = Arc::new(AtomicI64::new(new_years_eve()));
        let mut site = Self::File { folder: TempDir::new().expect("a folder"), clock, store: None };
        site.open();
        site
    }

    fn open(&mut self) {
        let Self::File { folder, clock, store } = self else { unreachable!("a file") };
        *store = None;
        let clock = Arc::clone(clock);
        let options = Options { clock: Box::new(move || Moment(clock.load(Ordering::SeqCst))), ..Options::default() };
        *store = Some(Arc::new(Sqlite::open(folder.path(), options).expect("the store opens")));
    }

    async fn database(server: Arc<PostgresServer>, url: String, processes: usize) -> Self {
        let mut stores = Vec::new();
        for _ in 0..processes {
            stores.push(connect(&url).await);
        }
        let mut site = Self::Database { server, url, clock: new_years_eve(), stores };
        site.set_clock(0);
        site
    }

    fn set_clock(&mut self, ms: i64) {
        match self {
            Self::File { clock, .. } => {
                clock.fetch_add(ms, Ordering::SeqCst);
            }
            Self::Database { server, url, clock, .. } => {
                *clock += ms;
                let sql = format!(
                    "create or replace function claude_code_api.now_ms() returns bigint volatile language sql as 'select {clock}::bigint'"
                );
                server.sql(PostgresServer::name(url), &sql);
            }
        }
    }

    /// One process dies; the others, or the next, charge what it held.
    async fn crash(&mut self, process: usize) -> usize {
        if matches!(self, Self::File { .. }) {
            self.open();
            return 0;
        }
        let Self::Database { url, stores, .. } = self else { unreachable!("a database") };
        let process = process % stores.len();
        if let Some(epoch) = stores[process].epoch() {
            let other = &stores[(process + 1) % stores.len()];
            other.take_for_dead(epoch, None).await.expect("the store works").expect("it was alive");
        }
        stores[process] = connect(url).await;
        process
    }

    fn processes(&self) -> usize {
        match self {
            Self::File { .. } => 1,
            Self::Database { stores, .. } => stores.len(),
        }
    }

    fn store(&self, process: usize) -> Arc<dyn Store> {
        match self {
            Self::File { store, .. } => Arc::clone(store.as_ref().expect("open")),
            Self::Database { stores, .. } => Arc::clone(&stores[process % stores.len()]) as Arc<dyn Store>,
        }
    }
}

async fn connect(url: &str) -> Arc<Postgres> {
    // Who is dead is decided by the test.
    let options = postgres::Options { ttl: Duration::from_hours(1) };
    Arc::new(Postgres::open(url, options).await.expect("the store opens"))
}

/// A call that holds something.
struct Open {
    call: Reserve,
    held: Amount,
    process: usize,
}

/// A ledger, and what it should know.
struct World {
    site: Site,
    limits: BTreeMap<usize, Limits>,
    open: Vec<Open>,
    closed: Vec<Reserve>,
    /// Charged at the worst case, as their process died.
    orphans: Vec<Open>,
    /// What must be spent in all, exactly.
    spent: i64,
    steps: usize,
}

fn project_id(index: usize) -> ProjectId {
    ProjectId::parse(&format!("project-{index}")).expect("a name")
}

fn settle_of(call: &Reserve, tokens: Option<u64>) -> Settle {
    let (spent, claim) = (tokens.map(|tokens| spent(tokens, 0)), call.claim.as_ref().map(|claim| claim.scope));
    Settle { id: call.id, project: call.project.clone(), spent, claim, answer: None }
}

fn claim(project: &ProjectId, key: u8) -> Claim {
    let scope = ClaimScope::of(project, "test", &key.to_string());
    Claim { scope, fingerprint: [key; 32], kept_for: Duration::from_hours(1) }
}

/// A call that is over, to be settled once more.
fn closed(settle: &Settle) -> Reserve {
    Reserve { id: settle.id, ..reserve(&settle.project, Vec::new()) }
}

/// A settlement, what may come of it, and where it is made.
type Expected = (Settle, &'static [Settled], Arc<dyn Store>);

impl NewLimits {
    fn limits(&self) -> Limits {
        let windows = [0, 1, 2].map(|at| Limit { tokens: self.tokens[at], nanos: self.nanos[at] });
        Limits { windows, calls_max: self.calls_max, clamp: Clamp::Never, ..Limits::default() }
    }
}

async fn set_limits(store: Arc<dyn Store>, new: Option<&NewLimits>) {
    if let Some(new) = new {
        let row = Project { id: project_id(new.project), limits: new.limits(), created_by_use: false };
        store.set_project(row).await.expect("a limit is always accepted");
    }
}

impl World {
    fn new(site: Site) -> Self {
        let (open, closed, orphans) = (Vec::new(), Vec::new(), Vec::new());
        Self { site, limits: BTreeMap::new(), open, closed, orphans, spent: 0, steps: 0 }
    }

    async fn take(&mut self, step: Step) {
        self.steps += 1;
        match step {
            Step::Calls(calls, limits) => self.calls(calls, limits).await,
            Step::Clock { ms } => self.site.set_clock(ms),
            Step::Crash { process } => self.crash(process).await,
        }
    }

    async fn calls(&mut self, calls: Vec<CallStep>, new_limits: Option<NewLimits>) {
        let (before, limits_before) = (self.used().await, self.limits.clone());
        let (mut reserves, mut settles) = (Vec::new(), Vec::new());
        for (at, call) in calls.into_iter().enumerate() {
            let process = (self.steps + at) % self.site.processes();
            match call {
                CallStep::Reserve { project, tokens, key } => {
                    let id = project_id(project);
                    let call = reserve(&id, vec![candidate(tokens / 2, tokens - tokens / 2)]);
                    let (creates, claim) = (Some(Limits::default()), key.map(|key| claim(&id, key)));
                    reserves.push((Reserve { creates, claim, ..call }, process));
                }
                CallStep::Settle { which, percent } => settles.extend(self.close(which, Some(percent), process)),
                CallStep::Release { which } => settles.extend(self.close(which, None, process)),
                CallStep::Retry { which, percent } if !self.open.is_empty() => {
                    reserves.push((self.retry(which, percent), process));
                }
                CallStep::SettleAgain { which } if !self.closed.is_empty() => {
                    let settle = settle_of(&self.closed[which % self.closed.len()], Some(999));
                    settles.push((settle, &[Settled::Already][..], self.site.store(process)));
                }
                CallStep::Retry { .. } | CallStep::SettleAgain { .. } => {}
                CallStep::SettleLate { which, percent } => settles.extend(self.close_late(which, percent, process)),
            }
        }
        let settling = settles.iter().map(|(settle, _, store)| store.settle(settle.clone()));
        let reserving = reserves.into_iter().map(|(call, process)| {
            let store = self.site.store(process);
            async move { (store.reserve(call.clone()).await, call, process) }
        });
        let limiting = set_limits(self.site.store(self.steps), new_limits.as_ref());
        let (reserved, settled, ()) = tokio::join!(join_all(reserving), join_all(settling), limiting);
        for (outcome, (settle, expected, _)) in settled.into_iter().zip(&settles) {
            let outcome = outcome.expect("the store works");
            assert!(expected.contains(&outcome), "{outcome:?} and not {expected:?}: {settle:?}");
        }
        self.limits.extend(new_limits.as_ref().map(|new| (new.project, new.limits())));
        self.closed.extend(settles.iter().map(|(settle, ..)| closed(settle)));
        for (outcome, call, process) in reserved {
            // Whatever came of it, the attempt before it is closed.
            self.closed.extend(call.after.iter().map(|before| closed(before)));
            if let Reserved::Granted(grant) = outcome.expect("the store works") {
                self.open.push(Open { call, held: grant.held, process });
            }
        }
        self.no_limit_was_passed(&before, &limits_before).await;
    }

    fn close(&mut self, which: usize, percent: Option<u64>, process: usize) -> Option<Expected> {
        if self.open.is_empty() {
            return None;
        }
        let Open { call, held, .. } = self.open.swap_remove(which % self.open.len());
        let tokens = percent.map(|percent| held.tokens.cast_unsigned() * percent / 100);
        self.spent += tokens.unwrap_or(0).cast_signed();
        Some((settle_of(&call, tokens), &[Settled::Closed(Amount::ZERO)], self.site.store(process)))
    }

    /// What holds for another attempt, and closes the one before.
    fn retry(&mut self, which: usize, percent: u64) -> Reserve {
        let Open { call, held, .. } = self.open.swap_remove(which % self.open.len());
        let tokens = held.tokens.cast_unsigned() * percent / 100;
        self.spent += tokens.cast_signed();
        let failed = Some(Spent { ended: Ended::Failed, ..spent(tokens, 0) });
        let after = Some(Box::new(Settle { spent: failed, ..settle_of(&call, None) }));
        Reserve { id: EntryId::new(), after, ..call }
    }

    /// The truth about a call that was charged at its worst case.
    fn close_late(&mut self, which: usize, percent: u64, process: usize) -> Option<Expected> {
        if self.orphans.is_empty() {
            return None;
        }
        let Open { call, held, .. } = self.orphans.swap_remove(which % self.orphans.len());
        let tokens = held.tokens.cast_unsigned() * percent / 100;
        self.spent += tokens.cast_signed() - held.tokens;
        // Another attempt may have the call's key by now.
        let expected: &[Settled] =
            if call.claim.is_some() { &[Settled::Corrected, Settled::Superseded] } else { &[Settled::Corrected] };
        Some((settle_of(&call, Some(tokens)), expected, self.site.store(process)))
    }

    /// What is spent and held in each window.
    async fn used(&self) -> BTreeMap<(usize, Period), Amount> {
        let store = self.site.store(self.steps);
        let mut used = BTreeMap::new();
        for project in 0..PROJECTS {
            for period in PERIODS {
                let usage = store.usage(project_id(project), period).await.expect("usage");
                used.insert((project, period), usage.spent + usage.held);
            }
        }
        used
    }

    /// Invariant 1: what was admitted has raised no window above its limit. One that was above it, as the limit was lowered, was
    /// not raised any further.
    /// Where limits changed meanwhile, either may have been in force.
    async fn no_limit_was_passed(
        &self,
        before: &BTreeMap<(usize, Period), Amount>,
        limits_before: &BTreeMap<usize, Limits>,
    ) {
        for ((project, period), used) in self.used().await {
            let limit = |limits: &BTreeMap<usize, Limits>| limits.get(&project).map(|limits| limits.of(period));
            let (Some(then), Some(now)) = (limit(limits_before), limit(&self.limits)) else { continue };
            let before = before[&(project, period)];
            let passed = |then: Option<i64>, now: Option<i64>, before: i64, used: i64| {
                then.zip(now).is_some_and(|(then, now)| used > then.max(now).max(before))
            };
            let told = format!("{project} {period:?}: {used:?} of {then:?}, then {now:?}, from {before:?}");
            assert!(!passed(then.tokens, now.tokens, before.tokens, used.tokens), "{told}");
            assert!(!passed(then.nanos, now.nanos, before.nanos, used.nanos), "{told}");
        }
    }

    async fn crash(&mut self, process: usize) {
        let died = self.site.crash(process).await;
        let (dead, alive) = self.open.drain(..).partition(|open: &Open| open.process == died);
        self.open = alive;
        self.spent += dead.iter().map(|open| open.held.tokens).sum::<i64>();
        self.orphans.extend(dead);
    }

    async fn nothing_is_lost(&self) {
        let verified = self.site.store(self.steps).verify().await.expect("verified");
        assert_eq!(verified.differences, Vec::<String>::new());
        assert_eq!(verified.reservations, self.open.len() as u64);
        assert_eq!(verified.spent.tokens, self.spent);
        for project in (0..PROJECTS).map(project_id) {
            let wanted = EntriesWanted { project: Some(project), count_max: 100_000, ..EntriesWanted::default() };
            let entries = self.site.store(self.steps).entries(wanted).await.expect("the store works");
            let mut complete = BTreeSet::new();
            for entry in entries.iter().filter(|entry| entry.spent.ended == Ended::Complete) {
                assert!(complete.insert(entry.call), "a call is complete twice: {entry:?}");
            }
        }
    }
}

async fn go_through(site: Site, steps: Vec<Step>) {
    let mut world = World::new(site);
    for step in steps {
        world.take(step).await;
    }
    world.nothing_is_lost().await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn on_a_file(steps in vec(step(), 1..40)) {
        runtime().block_on(go_through(Site::file(), steps));
    }
}

#[test]
fn on_a_database_with_three_processes() {
    // Of this test alone, so that it ends with it.
    let server = Arc::new(PostgresServer::start());
    let config = ProptestConfig { cases: 80, ..ProptestConfig::with_source_file(file!()) };
    let tried = TestRunner::new(config).run(&vec(step(), 1..40), |steps| {
        let url = server.database();
        let site = Site::database(Arc::clone(&server), url.clone(), 3);
        runtime().block_on(async { Box::pin(go_through(site.await, steps)).await });
        server.sql("postgres", &format!("drop database {} with (force)", PostgresServer::name(&url)));
        Ok(())
    });
    tried.unwrap_or_else(|failed| panic!("{failed}"));
}

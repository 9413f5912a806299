//! The ledger: the stores pass their conformance suite, and whatever is done to them in whatever order, no limit is passed and
//! nothing is lost.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use claude_code_api_service::{
    ledger::{Amount, Clamp, Limit, Limits, Project, Reserve, Reserved, Settle, Settled},
    project::ProjectId,
    store::{
        Store, StoreError, conformance,
        conformance::{candidate, reserve, spent},
        postgres::{self, Postgres},
        sqlite::{Options, Sqlite},
    },
    window::{Moment, PERIODS, Period},
};
use claude_code_api_testkit::PostgresServer;
use proptest::{collection::vec, prelude::*};
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

/// What may happen to a ledger.
#[derive(Clone, Debug)]
enum Step {
    Reserve { project: usize, tokens: i64 },
    Settle { which: usize, percent: u64 },
    Release { which: usize },
    SettleAgain { which: usize },
    SetLimits { project: usize, tokens: [Option<i64>; 3], nanos: [Option<i64>; 3] },
    Clock { ms: i64 },
    Crash,
}

fn limit() -> impl Strategy<Value = [Option<i64>; 3]> {
    [(); 3].map(|()| proptest::option::of(0_i64..3_000))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..3, 1_i64..600).prop_map(|(project, tokens)| Step::Reserve { project, tokens }),
        5 => (any::<usize>(), 0_u64..=100).prop_map(|(which, percent)| Step::Settle { which, percent }),
        2 => any::<usize>().prop_map(|which| Step::Release { which }),
        1 => any::<usize>().prop_map(|which| Step::SettleAgain { which }),
        2 => (0_usize..3, limit(), limit()).prop_map(|(project, tokens, nanos)| Step::SetLimits { project, tokens, nanos }),
        1 => prop_oneof![-5_000_i64..5_000, 0_i64..100_000_000].prop_map(|ms| Step::Clock { ms }),
        1 => Just(Step::Crash),
    ]
}

/// A ledger, and what it should know.
struct World {
    folder: TempDir,
    clock: Arc<AtomicI64>,
    store: Option<Arc<dyn Store>>,
    limits: BTreeMap<usize, Limits>,
    open: Vec<(Reserve, Amount)>,
    closed: Vec<Reserve>,
    /// What must be spent in all, exactly.
    spent: i64,
}

fn project_id(index: usize) -> ProjectId {
    ProjectId::parse(&format!("project-{index}")).expect("a name")
}

impl World {
    fn new() -> Self {
        let (folder, clock) = (TempDir::new().expect("a folder"), new_years_eve());
        let store = Some(open(folder.path(), &clock));
        Self { folder, clock, store, limits: BTreeMap::new(), open: Vec::new(), closed: Vec::new(), spent: 0 }
    }

    fn store(&self) -> &dyn Store {
        &**self.store.as_ref().expect("open between steps")
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Reserve { project, tokens } => self.reserve(project, tokens).await,
            Step::Settle { which, percent } => self.settle(which, Some(percent)).await,
            Step::Release { which } => self.settle(which, None).await,
            Step::SettleAgain { which } if !self.closed.is_empty() => {
                let call = self.closed[which % self.closed.len()].clone();
                let settle = Settle {
                    id: call.id,
                    project: call.project,
                    spent: Some(spent(999, 999)),
                    claim: None,
                    answer: None,
                };
                assert_eq!(self.store().settle(settle).await, Ok(Settled::Already));
            }
            Step::SettleAgain { .. } => {}
            Step::SetLimits { project, tokens, nanos } => self.set_limits(project, tokens, nanos).await,
            Step::Clock { ms } => {
                self.clock.fetch_add(ms, Ordering::SeqCst);
            }
            Step::Crash => self.crash(),
        }
    }

    async fn reserve(&mut self, project: usize, tokens: i64) {
        let call = reserve(&project_id(project), vec![candidate(tokens / 2, tokens - tokens / 2)]);
        let call = Reserve { creates: Some(Limits::default()), ..call };
        let outcome = self.store().reserve(call.clone()).await.expect("the store works");
        if let Reserved::Granted(grant) = outcome {
            self.open.push((call, grant.held));
            self.no_limit_is_passed(project).await;
        }
    }

    /// Invariant 1, right after a commit that admitted work.
    async fn no_limit_is_passed(&self, project: usize) {
        let limits = self.limits.get(&project).cloned().unwrap_or_default();
        for period in PERIODS {
            let usage = self.store().usage(project_id(project), period).await.expect("usage");
            let (used, limit) = (usage.spent + usage.held, limits.of(period));
            assert!(limit.tokens.is_none_or(|limit| used.tokens <= limit), "{period:?}: {used:?} of {limit:?}");
            assert!(limit.nanos.is_none_or(|limit| used.nanos <= limit), "{period:?}: {used:?} of {limit:?}");
        }
    }

    async fn settle(&mut self, which: usize, percent: Option<u64>) {
        if self.open.is_empty() {
            return;
        }
        let (call, held) = self.open.swap_remove(which % self.open.len());
        let spent = percent.map(|percent| spent(held.tokens.cast_unsigned() * percent / 100, 0));
        self.spent += spent.as_ref().map_or(0, |spent| spent.amount().tokens);
        let settle = Settle { id: call.id, project: call.project.clone(), spent, claim: None, answer: None };
        assert_eq!(self.store().settle(settle).await, Ok(Settled::Closed(Amount::ZERO)));
        self.closed.push(call);
    }

    async fn set_limits(&mut self, project: usize, tokens: [Option<i64>; 3], nanos: [Option<i64>; 3]) {
        let windows = [0, 1, 2].map(|at| Limit { tokens: tokens[at], nanos: nanos[at] });
        let limits = Limits { windows, clamp: Clamp::Never, ..Limits::default() };
        let project_row = Project { id: project_id(project), limits: limits.clone(), created_by_use: false };
        self.store().set_project(project_row).await.expect("a limit is always accepted");
        self.limits.insert(project, limits);
    }

    /// All that was held is charged, and will be corrected by nobody.
    fn crash(&mut self) {
        self.store = None;
        self.store = Some(open(self.folder.path(), &self.clock));
        self.spent += self.open.drain(..).map(|(_, held)| held.tokens).sum::<i64>();
    }

    async fn nothing_is_lost(&self) {
        let verified = self.store().verify().await.expect("verified");
        assert_eq!(verified.differences, Vec::<String>::new());
        assert_eq!(verified.reservations, self.open.len() as u64);
        assert_eq!(verified.spent.tokens, self.spent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn no_interleaving_passes_a_limit_or_loses_anything(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.take(step).await;
            }
            world.nothing_is_lost().await;
        });
    }
}

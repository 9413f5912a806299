//! The service as a value: its backends, its running calls, and how it ends. Tasks are spawned through it, so that shutdown
//! can wait for them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use claude_code_api_wire::{Health, HealthStatus, ServiceStatus};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backend::Backend,
    call::{Auto, Feeds, Lines, Rates, Retries, Turns},
    config::Limits,
    directory::Directory,
    ledger::{self, Limit},
    price::PriceTable,
    store::{Store, StoreError},
};

/// Everything that requests share.
pub struct App {
    backends: Vec<Arc<dyn Backend>>,
    turns: Turns,
    limits: Limits,
    store: Arc<dyn Store>,
    directory: ArcSwap<Directory>,
    prices: PriceTable,
    auto: Auto,
    lines: Arc<Lines>,
    feeds: Feeds,
    rates: Rates,
    retries: Retries,
    open_reservations: OpenReservations,
    managing: tokio::sync::Mutex<()>,
    batches: watch::Sender<()>,
    tasks: TaskTracker,
    draining: CancellationToken,
    cut_off: CancellationToken,
}

impl App {
    /// An app on these backends, best first, that keeps its books in this store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(
        backends: Vec<Arc<dyn Backend>>,
        store: Arc<dyn Store>,
        limits: Limits,
        prices: PriceTable,
        auto: Auto,
    ) -> Result<Arc<Self>, StoreError> {
        let directory = store.directory(None).await?.unwrap_or_default();
        Ok(Arc::new(Self {
            turns: Turns::of(&backends),
            backends,
            limits,
            store,
            directory: ArcSwap::from_pointee(directory),
            prices,
            auto,
            lines: Arc::default(),
            feeds: Feeds::default(),
            rates: Rates::default(),
            retries: Retries::default(),
            open_reservations: OpenReservations::default(),
            managing: tokio::sync::Mutex::default(),
            batches: watch::Sender::default(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            cut_off: CancellationToken::new(),
        }))
    }

    /// The backends, best first.
    pub fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }

    /// Who may ask them now, and who waits.
    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// What the service takes.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where the books are kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The keys and projects as they were known at most half a second ago; changes of this process are known at once.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Takes in what has changed of keys and projects.
    pub(crate) async fn refresh_directory(&self) -> Result<(), StoreError> {
        let since = self.directory.load().version;
        if let Some(directory) = self.store.directory(Some(since)).await? {
            self.directory.store(Arc::new(directory));
        }
        Ok(())
    }

    /// The limits of a project that its first call makes: a loop that runs away ends.
    pub(crate) fn limits_of_new_projects(&self) -> ledger::Limits {
        let month = Limit { tokens: self.limits.default_tokens_per_month, nanos: None };
        ledger::Limits { windows: [Limit::default(), Limit::default(), month], ..ledger::Limits::default() }
    }

    /// What tokens cost.
    pub fn prices(&self) -> &PriceTable {
        &self.prices
    }

    /// What is gone by where the service chooses the model.
    pub(crate) fn auto(&self) -> &Auto {
        &self.auto
    }

    /// Calls that wait for room in their budget.
    pub(crate) fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// Running calls that others may listen to.
    pub(crate) fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    /// How fast projects may call.
    pub(crate) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// How often upstreams may be tried again.
    pub(crate) fn retries(&self) -> &Retries {
        &self.retries
    }

    /// What tells whoever works on batches that there is another one, or one fewer.
    pub(crate) fn batches_changes(&self) -> BatchesChanges {
        BatchesChanges(self.batches.subscribe())
    }

    /// There is another batch to work on, or one fewer.
    pub(crate) fn tell_batches_changed(&self) {
        self.batches.send_replace(());
    }

    /// One change of a project at a time, until what this gives is dropped.
    pub(crate) async fn managing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.managing.lock().await
    }

    /// How many calls have a place in the books that is not settled yet.
    pub fn open_reservations(&self) -> &OpenReservations {
        &self.open_reservations
    }

    /// Whether the service is shutting down.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// How the service is, part by part.
    pub fn health(&self) -> Health {
        let backends = self.backends.iter().map(|backend| (backend.name().to_owned(), self.turns.health(&**backend)));
        let services: BTreeMap<_, _> = backends.chain([("store".to_owned(), self.store.health())]).collect();
        let status = if self.is_draining() {
            HealthStatus::Draining
        } else if services.values().all(|service| service.status == ServiceStatus::Ok) {
            HealthStatus::Ok
        } else {
            HealthStatus::Degraded
        };
        Health { status, version: env!("CARGO_PKG_VERSION").to_owned(), services }
    }

    /// Runs a task that shutdown waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Shutdown begins: new calls are refused, running ones go on.
    pub(crate) fn begin_drain(&self) {
        self.draining.cancel();
        self.tasks.close();
    }

    /// Ends when shutdown begins.
    pub(crate) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Ends when every task has.
    pub(crate) async fn drained(&self) {
        self.tasks.wait().await;
    }

    /// The time to drain is over: running calls are ended, each with an error.
    pub(crate) fn cut_off_calls(&self) {
        self.cut_off.cancel();
    }

    /// Ends when running calls are to end.
    pub(crate) async fn cut_off(&self) {
        self.cut_off.cancelled().await;
    }

    /// The same for what outlives a borrow.
    pub(crate) fn cut_off_token(&self) -> CancellationToken {
        self.cut_off.clone()
    }
}

/// Changes of which batches there are to work on.
pub(crate) struct BatchesChanges(watch::Receiver<()>);

impl BatchesChanges {
    /// Ends with the next one.
    pub(crate) async fn next(&mut self) {
        // The sender lives as long as the app.
        let _ = self.0.changed().await;
    }
}

/// How many calls have a place in the books that is not settled yet.
#[derive(Clone, Debug, Default)]
pub struct OpenReservations(Arc<AtomicUsize>);

impl OpenReservations {
    /// The number.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// One more, until what this returns is dropped.
    pub(crate) fn open(&self) -> OpenReservation {
        self.0.fetch_add(1, Ordering::SeqCst);
        OpenReservation(self.clone())
    }
}

/// One of the open reservations.
pub(crate) struct OpenReservation(OpenReservations);

impl Drop for OpenReservation {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

//! The real service, in this process, on a port of its own. Dropping a [`TestServer`] shuts it down and checks the
//! world: the books right and no reservation open, no slot of the model busy, nothing logged at WARN or above that the test did not
//! expect.
//!
//! Slots and the log belong to the process, so a process has one server at a time: the next test's `start` waits. A
//! test never starts two.

use std::{
    fs::{Permissions, set_permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use claude_code_api_service::{
    Listeners,
    app::App,
    backend::{
        Backend,
        anthropic::Anthropic,
        claude_code::{ClaudeCode, upstream::Upstream},
        local::Local,
    },
    call::Auto,
    config::{Config, Settings},
    key::{Key, Scope},
    ledger::{Limit, Limits, Project},
    project::ProjectId,
    serve,
    store::{
        Store,
        postgres::{self, Postgres},
        sqlite::{Options, Sqlite},
    },
    window::Moment,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::{BOUND, Caller, Simulator, log, model_file, simulator::KEY, until};

/// How long a server may take to stop: to drain, to flush what clients do not read, and to be looked at.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long running calls may drain, unless a test says otherwise. A call that a test forgot is then cut off, which is
/// logged, which fails the test.
const DRAIN_TIMEOUT_S: f64 = 5.0;

/// A running service.
pub struct TestServer {
    served: Served,
    stop: Option<oneshot::Sender<()>>,
    left_behind: mpsc::Receiver<Vec<String>>,
    expected: Vec<&'static str>,
    /// Released last.
    _only_server: OwnedMutexGuard<()>,
}

struct Served {
    app: Arc<App>,
    /// `None` on another backend.
    local: Option<Arc<Local>>,
    address: SocketAddr,
    /// Goes after the ledger, which brings to it what was committed for as long as anybody has it.
    folder: Arc<TempDir>,
}

impl TestServer {
    /// A server with the default settings, on a model that every such server of the process shares.
    pub async fn start() -> Self {
        static SHARED: OnceLock<Arc<Local>> = OnceLock::new();
        let load = |config: &Config| Arc::clone(SHARED.get_or_init(|| load(config)));
        Self::launch(Settings::default(), async move |config, _| Answering::local(load(config))).await
    }

    /// A server with these settings, on a model of its own, which takes about 0.3 s longer.
    pub async fn start_with(settings: Settings) -> Self {
        Self::launch(settings, async |config, _| Answering::local(load(config))).await
    }

    /// A server whose answers come from a simulated Claude.
    pub async fn start_on(simulator: &Simulator, settings: Settings) -> Self {
        let settings = Settings { anthropic_base_url: Some(simulator.base_url()), ..settings };
        Self::launch(settings, async |config, _| Answering::simulated(config)).await
    }

    /// The same by way of the Claude Code CLI, the first on the PATH.
    pub async fn start_on_claude_code(simulator: &Simulator, settings: Settings) -> Self {
        let settings = Settings { anthropic_base_url: Some(simulator.base_url()), ..settings };
        Self::launch(settings, Answering::by_claude_code).await
    }

    async fn launch(
        settings: Settings,
        answering: impl AsyncFnOnce(&Config, &Path) -> Answering + Send + 'static,
    ) -> Self {
        static ONLY_SERVER: OnceLock<Arc<Mutex<()>>> = OnceLock::new();
        let only_server = Arc::clone(ONLY_SERVER.get_or_init(Arc::default)).lock_owned().await;
        log::record();
        let settings = Settings {
            listen: Some("localhost:0".to_owned()),
            drain_timeout: settings.drain_timeout.or(Some(DRAIN_TIMEOUT_S)),
            // Tests run side by side, and the model's threads spin: two for each would take the cores from each other.
            local_batch_threads: settings.local_batch_threads.or(Some(1)),
            ..settings
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let (report, left_behind) = mpsc::channel();
        // A thread of its own: a test that blocks, in a drop for one, must not stop the server that it waits for.
        let run = move || run(&settings, answering, ready, stopped, &report);
        thread::Builder::new().name("test-server".to_owned()).spawn(run).expect("a thread");
        let served = started.await.expect("the server starts; what stopped it stands above");
        Self { served, stop: Some(stop), left_behind, expected: Vec::new(), _only_server: only_server }
    }

    /// Where it is reached.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.served.address)
    }

    /// Where it is reached, as an address.
    pub fn address(&self) -> SocketAddr {
        self.served.address
    }

    /// One who calls it.
    pub fn caller(&self) -> Caller {
        Caller::new(self.base_url())
    }

    /// What it keeps is here.
    pub fn data_dir(&self) -> &Path {
        self.served.folder.path()
    }

    /// The service as a value.
    pub fn app(&self) -> &Arc<App> {
        &self.served.app
    }

    /// The embedded model.
    pub fn local(&self) -> &Arc<Local> {
        self.served.local.as_ref().expect("this server answers from the embedded model")
    }

    /// One who calls it with an admin key; from then on nobody calls it without a key.
    pub async fn admin(&self) -> Caller {
        let (key, secret) = Key::new("test".to_owned(), Scope::Admin, Moment::of_system(), None);
        self.app().store().add_key(key).await.expect("the store works");
        until("the key is known", || !self.app().directory().is_open()).await;
        self.caller().with_key(secret.expose_secret())
    }

    /// Makes a project of this name that may spend so much a day, and waits until that is known.
    pub async fn limit_money(&self, name: &str, nanos_per_day: i64) {
        let day = Limit { tokens: None, nanos: Some(nanos_per_day) };
        let limits = Limits { windows: [day, Limit::default(), Limit::default()], ..Limits::default() };
        let id = ProjectId::parse(name).expect("a name");
        let project = Project { id: id.clone(), limits, created_by_use: false };
        self.app().store().set_project(project).await.expect("the store works");
        until("the limit is known", || self.app().directory().project(&id).is_some()).await;
    }

    /// Calls that wait for their turn at the backend, as health says.
    pub fn calls_waiting(&self) -> usize {
        let backend = self.app().backends()[0].name();
        let health = self.app().health();
        let detail = health.services[backend].detail.as_ref().expect("every backend says how many calls it has");
        let waiting = detail.rsplit_once(", ").and_then(|(_, waiting)| waiting.strip_suffix(" waiting"));
        waiting
            .and_then(|count| count.parse().ok())
            .unwrap_or_else(|| panic!("no count of waiting calls in {detail:?}"))
    }

    /// Workers of Claude Code that are ready, as health says.
    pub fn workers_ready(&self) -> usize {
        let health = self.app().health();
        let detail = health.services["claude_code"].detail.clone().unwrap_or_default();
        let ready = detail.split_once(" ready").and_then(|(count, _)| count.parse().ok());
        ready.unwrap_or_else(|| panic!("no count of ready workers in {detail:?}"))
    }

    /// From now on a WARN or ERROR that has `text` in it is no reason to fail.
    pub fn expect_logged(&mut self, text: &'static str) {
        self.expected.push(text);
    }

    /// Tells the service to stop, and does not wait for it.
    pub fn begin_shutdown(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Stops the service and checks the world, as dropping it does.
    pub fn shutdown(self) {}
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.begin_shutdown();
        let reported = self.left_behind.recv_timeout(STOP_TIMEOUT);
        if thread::panicking() {
            return; // The test has failed already; a second panic would hide why.
        }
        let mut left_behind = reported.unwrap_or_else(|error| panic!("the server did not stop: {error}"));
        left_behind
            .extend(log::take().into_iter().filter(|line| !self.expected.iter().any(|text| line.contains(text))));
        assert!(left_behind.is_empty(), "the server left behind: {left_behind:#?}");
    }
}

/// What a server's answers come from.
struct Answering {
    backend: Arc<dyn Backend>,
    local: Option<Arc<Local>>,
}

impl Answering {
    fn local(local: Arc<Local>) -> Self {
        Self { backend: Arc::clone(&local) as Arc<dyn Backend>, local: Some(local) }
    }

    fn simulated(config: &Config) -> Self {
        Self { backend: simulated(config), local: None }
    }

    async fn by_claude_code(config: &Config, data_dir: &Path) -> Self {
        // So that workers can have users of their own.
        set_permissions(data_dir, Permissions::from_mode(0o755)).expect("it is ours");
        let upstream = Upstream { api: simulated(config), login: None };
        let opened = ClaudeCode::open(&config.claude_code, upstream, data_dir).await;
        let backend = opened.unwrap_or_else(|error| panic!("{error}; `make sdk` runs this test on one that does"));
        Self { backend: Arc::new(backend), local: None }
    }
}

fn simulated(config: &Config) -> Arc<Anthropic> {
    let mut anthropic = config.anthropic.clone();
    if anthropic.api_keys.is_empty() {
        anthropic.api_keys.push(KEY.to_owned().into());
    }
    Arc::new(Anthropic::new(&anthropic).expect("the simulator has a URL"))
}

fn load(config: &Config) -> Arc<Local> {
    Arc::new(Local::load(&model_file(), &config.local).unwrap_or_else(|error| panic!("{error}")))
}

fn run(
    settings: &Settings,
    answering: impl AsyncFnOnce(&Config, &Path) -> Answering,
    ready: oneshot::Sender<Served>,
    stopped: oneshot::Receiver<()>,
    report: &mpsc::Sender<Vec<String>>,
) {
    let config = Config::from_settings(settings).expect("the test's settings are in range");
    // It goes last: while the runtime is there, workers may start in it.
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listeners = Listeners::bind(config.listen).await.expect("a free port");
        let address = listeners.address().expect("bound");
        let Answering { backend, local } = answering(&config, folder.path()).await;
        let store: Arc<dyn Store> = match &config.database_url {
            Some(url) => {
                let options = postgres::Options { ttl: config.replica_ttl };
                Arc::new(Postgres::open(url.expose_secret(), options).await.expect("a new ledger"))
            }
            None => Arc::new(Sqlite::open(folder.path(), Options::default()).expect("a new ledger")),
        };
        let auto = Auto::open(&config.auto).expect("a router");
        let app = App::open(vec![backend], store, config.limits, config.prices, auto).await.expect("a new ledger");
        let served = Served { app: Arc::clone(&app), local: local.clone(), address, folder: Arc::clone(&folder) };
        let _ = ready.send(served);
        let told = async { drop(stopped.await) };
        serve(Arc::clone(&app), listeners, told).await.expect("the server serves");
        // Nobody listens when the test gave up waiting.
        let _ = report.send(left_behind(&app, local.as_deref()).await);
    });
}

/// What should not be there once the service has stopped; given [`BOUND`] to go away.
async fn left_behind(app: &App, local: Option<&Local>) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let (reservations, slots) = (app.open_reservations().count(), local.map_or(0, Local::calls_running));
        if reservations == 0 && slots == 0 {
            let verified = app.store().verify().await.expect("the ledger can be read");
            let held = (verified.reservations > 0).then(|| format!("{} holds in the ledger", verified.reservations));
            return verified.differences.into_iter().chain(held).collect();
        }
        if begun.elapsed() > BOUND {
            return vec![format!("{reservations} open reservations, {slots} busy slots")];
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

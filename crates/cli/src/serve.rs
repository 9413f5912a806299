//! `serve`: from a configuration to a running service.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    iter::{once, repeat},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::ArgMatches;
use claude_code_api_service::{
    Listeners,
    app::App,
    backend::{
        Backend,
        absent::Absent,
        anthropic::Anthropic,
        claude_code::{ClaudeCode, login::Login, upstream::Upstream},
    },
    call::Auto,
    config::{BackendName, Config, Durability, Listen, LogFormat},
    operator, serve,
    store::{
        Store,
        postgres::{self, Postgres},
        sqlite::{self, Options, Sqlite},
    },
    window::Moment,
};
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::Source;

/// How many threads read the ledger, and count the tokens of the embedded model, at most.
const READERS_MAX: usize = 64;

pub(crate) fn run(source: Source, matches: Option<&ArgMatches>) -> anyhow::Result<ExitCode> {
    let config = source.resolve(matches)?;
    start_log(&config)?;
    check_data_dir(&config.data_dir)?;
    runtime()?.block_on(serve_until_told(config))
}

/// Threads that read the ledger stay: where the system has no room for another one, there are some all the same.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    const STAY: Duration = Duration::from_hours(24 * 365);
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.enable_all().thread_keep_alive(STAY).max_blocking_threads(READERS_MAX).build()
}

async fn serve_until_told(config: Config) -> anyhow::Result<ExitCode> {
    // The port first: when it is in use, that is known at once and not after the model has been loaded.
    let listeners = Listeners::bind(config.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; stop what listens there, or choose another port with --listen",
            describe(config.listen)
        )
    })?;
    let address = listeners.address()?;
    let auto = Auto::open(&config.auto).map_err(anyhow::Error::msg)?;
    let store = store(&config).await?;
    let directory = store.directory(None).await?.unwrap_or_default();
    let is_open = directory.is_open();
    ensure!(
        !(is_open && config.listen.is_reached_by_others()),
        "listen takes a loopback address while there are no keys, as whoever reached {address} could spend; make a key \
         first, with `claude-code-api key create --admin`"
    );
    ensure!(
        config.limits.project_keys || !directory.has_project_keys(Moment::of_system()),
        "claude_code_login is the operator's own login, and projects have keys here: by Anthropic's terms it is not for others. Use \
         ANTHROPIC_API_KEY instead; or revoke these keys, with `claude-code-api key revoke`; or, if everyone who has one may use that \
         login, set claude_code_login_shared = true"
    );
    let backends = backends(&config).await?;
    let (named, on_login) = (config.backends.clone(), config.claude_code.login.is_some());
    let app = App::open(backends, store, config.limits, config.prices, auto).await?;
    let _folder = open_door(&app, &config.data_dir, config.database_url.is_some());
    // Who reads that it listens may stop it at once.
    let told_to_stop = told_to_stop()?;
    // Who started the service may have stopped reading; that is no reason to stop serving.
    let _ = show_banner(address, &named, on_login, is_open);
    serve(app, listeners, told_to_stop).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Opens the operator's door. A ledger in the folder has that to itself; one in a database takes it for as long as what this returns.
fn open_door(app: &Arc<App>, folder: &Path, is_in_a_database: bool) -> Option<fs::File> {
    let opened = || -> anyhow::Result<Option<fs::File>> {
        let lock = if is_in_a_database { Some(sqlite::lock(folder)?) } else { None };
        operator::open(app, folder)?;
        Ok(lock)
    };
    opened().unwrap_or_else(|error| {
        tracing::warn!(%error, "there is no socket in the data folder: commands such as `key create` do not reach this service by it");
        None
    })
}

fn show_banner(address: SocketAddr, backends: &[BackendName], on_login: bool, is_open: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "Claude Code API {} listens on http://{address}", env!("CARGO_PKG_VERSION"))?;
    for (backend, answers) in backends.iter().zip(once("Answers come").chain(repeat("Else they come"))) {
        writeln!(out, "{answers} {}", source(*backend, on_login))?;
    }
    if *backends == [BackendName::Local] {
        writeln!(
            out,
            "No Claude backend is configured; to add one set ANTHROPIC_API_KEY, or anthropic_api_key in the \
             configuration file."
        )?;
    }
    let key = if is_open {
        writeln!(
            out,
            "There are no keys: every program on this machine may call. `claude-code-api key create` makes one."
        )?;
        ""
    } else {
        " -H \"authorization: Bearer $CLAUDE_CODE_API_API_KEY\""
    };
    writeln!(
        out,
        "Try it:  curl http://{address}/v1/complete{key} -H 'content-type: application/json' -d '{{\"prompt\": \"Hello\"}}'"
    )?;
    writeln!(out, "Read on: http://{address}/docs")
}

fn source(backend: BackendName, on_login: bool) -> &'static str {
    match backend {
        BackendName::Local => {
            "from the small model embedded in this program: good for trying things out, free, often wrong."
        }
        BackendName::ClaudeCode if on_login => {
            "from Claude, through the Claude Code CLI, on your own login: by Anthropic's terms for your own use only."
        }
        BackendName::ClaudeCode => "from Claude, through the Claude Code CLI, and cost money.",
        BackendName::Anthropic => "from Claude, over the Messages API, and cost money.",
    }
}

async fn store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    if let Some(url) = &config.database_url {
        return Ok(Arc::new(Postgres::open(url.expose_secret(), postgres::Options { ttl: config.replica_ttl }).await?));
    }
    let power_loss_safe = config.durability == Durability::PowerLoss;
    Ok(Arc::new(Sqlite::open(&config.data_dir, Options { power_loss_safe, ..Options::default() })?))
}

/// Those that are configured. Where there are several, one that cannot be opened keeps none of the others from serving.
async fn backends(config: &Config) -> anyhow::Result<Vec<Arc<dyn Backend>>> {
    // Its keys rest and work again for both backends that have it.
    let api = Anthropic::new(&config.anthropic).map(Arc::new);
    let (mut all, mut failed) = (Vec::<Arc<dyn Backend>>::new(), Vec::new());
    for name in &config.backends {
        match backend(config, *name, &api).await {
            Ok(backend) => all.push(backend),
            Err(error) if config.backends.len() == 1 => return Err(error),
            Err(error) => {
                tracing::error!("backend {} cannot be used: {error:#}", name.as_str());
                all.push(Arc::new(Absent::new(name.as_str(), format!("{error:#}"))));
                failed.push(error);
            }
        }
    }
    match failed.pop() {
        Some(last) if failed.len() + 1 == all.len() => Err(last),
        _ => Ok(all),
    }
}

async fn backend(
    config: &Config,
    name: BackendName,
    api: &Result<Arc<Anthropic>, String>,
) -> anyhow::Result<Arc<dyn Backend>> {
    let api = || api.clone().map_err(anyhow::Error::msg);
    match name {
        BackendName::Local => embedded(config),
        BackendName::Anthropic => Ok(api()?),
        BackendName::ClaudeCode => {
            let login = config.claude_code.login.clone().map(Login::new);
            let api = match &login {
                Some(_) => Arc::new(Anthropic::on_login(&config.anthropic).map_err(anyhow::Error::msg)?),
                None => api()?,
            };
            let opened = ClaudeCode::open(&config.claude_code, Upstream { api, login }, &config.data_dir).await;
            Ok(Arc::new(opened.map_err(|why| anyhow::anyhow!("backend claude_code cannot serve: {why}"))?))
        }
    }
}

#[cfg(feature = "local")]
fn embedded(config: &Config) -> anyhow::Result<Arc<dyn Backend>> {
    use claude_code_api_service::{
        backend::local::{Local, model_path},
        config::data_dir_default,
    };
    let path = model_path(config.local.model_path.as_deref(), &config.data_dir, &data_dir_default());
    Ok(Arc::new(Local::load(&path, &config.local)?))
}

#[cfg(not(feature = "local"))]
fn embedded(_: &Config) -> anyhow::Result<Arc<dyn Backend>> {
    bail!(
        "this program was built without the embedded model; build it with the feature `local`, or use another backend"
    )
}

/// Creates the data folder, and finds out now whether it can be written to.
fn check_data_dir(folder: &Path) -> anyhow::Result<()> {
    let probe = folder.join(".write-probe");
    let probed =
        fs::create_dir_all(folder).and_then(|()| fs::write(&probe, b"")).and_then(|()| fs::remove_file(&probe));
    if let Err(error) = probed {
        bail!("cannot write to the data folder {}: {error}; choose another one with --data-dir", folder.display());
    }
    Ok(())
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log).with_context(|| {
        format!("log takes a level or tracing directives, such as info,hyper=debug; it was {:?}", config.log)
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        // They would be told on standard error, too: where that cannot be written to, telling would be a panic.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn describe(listen: Listen) -> String {
    match listen {
        Listen::Localhost { port } => format!("localhost:{port}"),
        Listen::Address(address) => address.to_string(),
    }
}

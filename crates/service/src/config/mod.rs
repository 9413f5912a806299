//! Configuration: flags, then environment, then file, then defaults. The only place that reads the environment.
//!
//! [`Settings`] is all three layers at once. [`Config`] is what is in force; [`InForce`] says where each value came from.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ArgMatches;
use claude_code_api_wire::Routing;
use secrecy::{ExposeSecret, SecretString};

mod layers;
mod listen;
mod local;
mod prices;
mod settings;

use crate::{model::Tier, price::PriceTable};
use layers::Layers;
pub use listen::Listen;
pub use local::Local;
pub use prices::{PriceSetting, Usd};
pub use settings::{Allowance, BackendName, Durability, LogFormat, Settings, WorkerIsolation};

/// What the service takes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Hosts besides the loopback ones that requests may name.
    pub allowed_hosts: Vec<String>,
    /// How long running calls may take to finish during shutdown.
    pub drain_timeout: Duration,
    /// The most bytes in the body of a request.
    pub body_bytes_max: usize,
    /// The most connections at a time.
    pub connections_max: usize,
    /// Tokens a month of a project that its first call makes; `None`: without limit.
    pub default_tokens_per_month: Option<i64>,
    /// How long a call may wait for what other calls of its project hold.
    pub budget_wait: Duration,
    /// How long the answer of a call is kept for its idempotency key; zero: keys are ignored.
    pub idempotency_ttl: Duration,
    /// How long a stored batch is kept once it has ended.
    pub batch_ttl: Duration,
    /// How long it is looked for a submitted slice of an economy batch of which nothing is known.
    pub economy_unknown_after: Duration,
    /// Whether projects may have keys: not on a login that is the operator's alone.
    pub project_keys: bool,
}

/// What is gone by where the service chooses the model.
#[derive(Clone, Debug)]
pub struct Auto {
    /// What may be lost to save money.
    pub routing: Routing,
    /// The tier for what the router knows too little of.
    pub tier_default: Tier,
    /// The router's model file; `None`: the one of this build.
    pub router_path: Option<PathBuf>,
}

/// Settings of Claude through the Claude Code CLI.
#[derive(Clone, Debug)]
pub struct ClaudeCode {
    /// The CLI, when it was named.
    pub path: Option<PathBuf>,
    /// Calls worked on at a time, and workers that are ready besides.
    pub workers: usize,
    /// What a worker serves.
    pub isolation: WorkerIsolation,
    /// Calls that may wait.
    pub queue_max: usize,
    /// The token of the operator's own login, where that is used instead of keys.
    pub login: Option<SecretString>,
    /// Whether others may use it, too.
    pub is_login_shared: bool,
}

/// Settings of Claude over the Messages API.
#[derive(Clone, Debug)]
pub struct Anthropic {
    /// The keys, when any is set: the first is used for as long as it may be.
    pub api_keys: Vec<SecretString>,
    /// Where the API is.
    pub base_url: String,
    /// What haiku means.
    pub model_haiku: String,
    /// What sonnet means.
    pub model_sonnet: String,
    /// What opus means.
    pub model_opus: String,
    /// `max_tokens` of calls that set none.
    pub max_tokens_default: u32,
    /// Calls sent at a time.
    pub concurrency_max: usize,
    /// Calls that may wait.
    pub queue_max: usize,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Folder for what the service keeps.
    pub data_dir: PathBuf,
    /// The database that the ledger is in; `None`: a file in the data folder.
    pub database_url: Option<SecretString>,
    /// How long a process may be silent before the others on its database take it for dead.
    pub replica_ttl: Duration,
    /// What answers calls, in the order in which they are asked; never empty.
    pub backends: Vec<BackendName>,
    /// What the service takes.
    pub limits: Limits,
    /// Settings of Claude over the Messages API.
    pub anthropic: Anthropic,
    /// Settings of Claude through the Claude Code CLI.
    pub claude_code: ClaudeCode,
    /// What tokens cost.
    pub prices: PriceTable,
    /// What is gone by where the service chooses the model.
    pub auto: Auto,
    /// Settings of the embedded model.
    pub local: Local,
    /// What the ledger survives.
    pub durability: Durability,
    /// What to log.
    pub log: String,
    /// How to write it.
    pub log_format: LogFormat,
    /// Every setting with its value and where that came from.
    pub in_force: Vec<InForce>,
}

/// One setting, as `config check` prints it.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Its name in the file.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Where that came from.
    pub source: String,
}

/// A configuration that cannot be used, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration file {path} is wrong in line {line}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A value is out of range.
    #[error("{name} (from {origin}) {problem}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Where its value came from.
        origin: String,
        /// What is wrong, and what it takes.
        problem: String,
    },
}

/// The folder that `data_dir` defaults to: the platform's place for a user's data.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub fn data_dir_default() -> PathBuf {
    let from = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    from("XDG_DATA_HOME")
        .or_else(|| Some(from("HOME")?.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("claude-code-api")
}

/// Folders of programs, as a shell looks for them.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

impl Config {
    /// Puts the layers together. `given` and `matches` are what clap made of the command line and the environment.
    pub fn resolve(given: &Settings, matches: &ArgMatches, file: Option<&Path>) -> Result<Self, ConfigError> {
        let from_file = file.map(layers::read).transpose()?.unwrap_or_default();
        Layers { matches: Some(matches), file, in_force: Vec::new() }.resolve(given, &from_file)
    }

    /// The prices in force with this file.
    ///
    /// # Errors
    /// The file cannot be read, or holds what cannot be.
    pub fn prices_of(file: Option<&Path>) -> Result<PriceTable, ConfigError> {
        let settings = file.map(layers::read).transpose()?.unwrap_or_default();
        Layers { matches: None, file, in_force: Vec::new() }.prices(&Settings::default(), &settings)
    }

    /// The defaults, and what `given` sets.
    pub fn from_settings(given: &Settings) -> Result<Self, ConfigError> {
        Layers { matches: None, file: None, in_force: Vec::new() }.resolve(given, &Settings::default())
    }
}

impl Layers<'_> {
    fn resolve(mut self, given: &Settings, file: &Settings) -> Result<Config, ConfigError> {
        let listen = self.pick("listen", given.listen.clone(), file.listen.clone(), || "localhost:8080".to_owned());
        let listen = self.checked("listen", listen.parse())?;
        let api_key = self.secret(
            "anthropic_api_key",
            "ANTHROPIC_API_KEY",
            given.anthropic_api_key.clone(),
            file.anthropic_api_key.clone(),
        );
        let api_keys = self.keys(api_key, given.anthropic_api_keys.clone(), file.anthropic_api_keys.clone());
        let backend_default = if api_keys.is_empty() { BackendName::Local } else { BackendName::Anthropic };
        let backends = self.pick("backend", given.backend.clone(), file.backend.clone(), || vec![backend_default]);
        let is_sound = !backends.is_empty() && (1..backends.len()).all(|at| !backends[..at].contains(&backends[at]));
        self.checked(
            "backend",
            if is_sound { Ok(()) } else { Err("names at least one backend, and none twice".to_owned()) },
        )?;
        let claude_code = self.claude_code(given, file)?;
        let is_own =
            backends.contains(&BackendName::ClaudeCode) && claude_code.login.is_some() && !claude_code.is_login_shared;
        let config = Config {
            listen,
            data_dir: self.pick("data_dir", given.data_dir.clone(), file.data_dir.clone(), data_dir_default),
            database_url: self.secret_setting("database_url", given.database_url.clone(), file.database_url.clone()),
            replica_ttl: {
                let seconds =
                    self.within("replica_ttl", given.replica_ttl, file.replica_ttl, || 10.0, 0.5..=3_600.0)?;
                Duration::from_secs_f64(seconds)
            },
            backends,
            limits: Limits { project_keys: !is_own, ..self.limits(given, file)? },
            anthropic: Anthropic {
                api_keys,
                base_url: self.base_url(given.anthropic_base_url.clone(), file.anthropic_base_url.clone()),
                model_haiku: self.model(
                    "model_haiku",
                    given.model_haiku.clone(),
                    file.model_haiku.clone(),
                    "claude-haiku-5-5",
                ),
                model_sonnet: self.model(
                    "model_sonnet",
                    given.model_sonnet.clone(),
                    file.model_sonnet.clone(),
                    "claude-sonnet-5-5",
                ),
                model_opus: self.model(
                    "model_opus",
                    given.model_opus.clone(),
                    file.model_opus.clone(),
                    "claude-opus-5-5",
                ),
                max_tokens_default: self.within(
                    "claude_max_tokens_default",
                    given.claude_max_tokens_default,
                    file.claude_max_tokens_default,
                    || 4_096,
                    1..=1_000_000,
                )?,
                concurrency_max: self.within(
                    "anthropic_concurrency_max",
                    given.anthropic_concurrency_max,
                    file.anthropic_concurrency_max,
                    || 256,
                    1..=1_000_000,
                )?,
                queue_max: self.within(
                    "anthropic_queue_max",
                    given.anthropic_queue_max,
                    file.anthropic_queue_max,
                    || 4_096,
                    1..=1_000_000,
                )?,
            },
            claude_code,
            prices: self.prices(given, file)?,
            auto: Auto {
                routing: self.pick("routing", given.routing, file.routing, || Routing::Balanced),
                tier_default: self.pick("tier_default", given.tier_default, file.tier_default, || Tier::Sonnet),
                router_path: self.pick_optional("router_path", given.router_path.clone(), file.router_path.clone()),
            },
            local: self.local(given, file)?,
            durability: self.pick("durability", given.durability, file.durability, || Durability::Process),
            log: self.pick("log", given.log.clone(), file.log.clone(), || "info".to_owned()),
            log_format: self.pick("log_format", given.log_format, file.log_format, || LogFormat::Text),
            in_force: Vec::new(),
        };
        Ok(Config { in_force: self.in_force, ..config })
    }

    fn claude_code(&mut self, given: &Settings, file: &Settings) -> Result<ClaudeCode, ConfigError> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let path =
            self.pick_optional("claude_code_path", given.claude_code_path.clone(), file.claude_code_path.clone());
        Ok(ClaudeCode {
            path,
            workers: self.within(
                "claude_code_workers",
                given.claude_code_workers,
                file.claude_code_workers,
                || (2 * cores).max(4),
                1..=100,
            )?,
            isolation: self.pick(
                "claude_code_isolation",
                given.claude_code_isolation,
                file.claude_code_isolation,
                || WorkerIsolation::Project,
            ),
            queue_max: self.within(
                "claude_code_queue_max",
                given.claude_code_queue_max,
                file.claude_code_queue_max,
                || 256,
                1..=1_000_000,
            )?,
            login: self.login(given, file)?,
            is_login_shared: self.pick(
                "claude_code_login_shared",
                given.claude_code_login_shared,
                file.claude_code_login_shared,
                || false,
            ),
        })
    }

    /// A login's token, where a login is to be used.
    fn login(&mut self, given: &Settings, file: &Settings) -> Result<Option<SecretString>, ConfigError> {
        let token = self.secret(
            "claude_code_oauth_token",
            "CLAUDE_CODE_OAUTH_TOKEN",
            given.claude_code_oauth_token.clone(),
            file.claude_code_oauth_token.clone(),
        );
        let is_used = self.pick("claude_code_login", given.claude_code_login, file.claude_code_login, || false);
        let is_token = |token: &SecretString| token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        if !is_used {
            return Ok(None);
        }
        let lacking = "takes a token besides: make one with `claude setup-token`, and set CLAUDE_CODE_OAUTH_TOKEN, or \
                       claude_code_oauth_token in the configuration file";
        self.checked("claude_code_login", token.filter(is_token).map(Some).ok_or_else(|| lacking.to_owned()))
    }

    fn limits(&mut self, given: &Settings, file: &Settings) -> Result<Limits, ConfigError> {
        let hosts = (given.allowed_hosts.clone(), file.allowed_hosts.clone());
        let allowance = (given.default_tokens_per_month, file.default_tokens_per_month);
        let all = 1..=1_000_000;
        Ok(Limits {
            allowed_hosts: self.pick("allowed_hosts", hosts.0, hosts.1, Vec::new),
            drain_timeout: self.seconds("drain_timeout", given.drain_timeout, file.drain_timeout, 30.0)?,
            body_bytes_max: self.within(
                "body_bytes_max",
                given.body_bytes_max,
                file.body_bytes_max,
                || 16 << 20,
                1..=1 << 30,
            )?,
            connections_max: self.within(
                "connections_max",
                given.connections_max,
                file.connections_max,
                || 4096,
                all,
            )?,
            default_tokens_per_month: self
                .pick("default_tokens_per_month", allowance.0, allowance.1, || Allowance(Some(100_000_000)))
                .0,
            budget_wait: self.seconds("budget_wait", given.budget_wait, file.budget_wait, 10.0)?,
            idempotency_ttl: self.seconds("idempotency_ttl", given.idempotency_ttl, file.idempotency_ttl, 3_600.0)?,
            batch_ttl: self.seconds("batch_ttl", given.batch_ttl, file.batch_ttl, 604_800.0)?,
            project_keys: true,
            economy_unknown_after: self.seconds(
                "economy_unknown_after",
                given.economy_unknown_after,
                file.economy_unknown_after,
                600.0,
            )?,
        })
    }

    fn seconds(
        &mut self,
        name: &'static str,
        given: Option<f64>,
        file: Option<f64>,
        default: f64,
    ) -> Result<Duration, ConfigError> {
        let seconds = self.pick(name, given, file, || default);
        self.checked(name, duration(seconds))
    }

    /// One key, and others that take over from it.
    fn keys(
        &mut self,
        first: Option<SecretString>,
        given: Option<Vec<SecretString>>,
        file: Option<Vec<SecretString>>,
    ) -> Vec<SecretString> {
        let others = self.pick("anthropic_api_keys", given, file, Vec::new);
        if let Some(told) = self.in_force.last_mut() {
            told.value = format!("{} key(s) besides", others.len());
        }
        first.into_iter().chain(others).collect()
    }

    fn prices(&mut self, given: &Settings, file: &Settings) -> Result<PriceTable, ConfigError> {
        let rows = self.pick("prices", given.prices.clone(), file.prices.clone(), Vec::new);
        if let Some(told) = self.in_force.last_mut() {
            told.value = format!("the published ones, and {} row(s) besides", rows.len());
        }
        let rows = rows.iter().map(PriceSetting::row).collect();
        self.checked("prices", rows).map(PriceTable::with)
    }
}

fn duration(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| "takes seconds, 0 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named_with_its_origin() {
        let zero = Settings { local_slots: Some(0), ..Settings::default() };
        let error = Config::from_settings(&zero).expect_err("no slots").to_string();
        assert_eq!(error, "local_slots (from command line) takes 1 to 64; it was 0");
    }
}

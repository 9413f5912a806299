//! Configuration: flags, then environment, then file, then defaults. The only place that reads the environment.
//!
//! [`Settings`] is all three layers at once: clap fills it from flags and environment, serde from the file. [`Config`] is
//! what is in force; [`InForce`] says where each value came from.

use std::{
    fmt::Debug,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{ArgMatches, parser::ValueSource};
use secrecy::SecretString;
use serde::Deserialize;

/// Every setting, none of them required.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where to listen. `localhost` means 127.0.0.1, and the same of IPv6 where it exists; port 0 takes a free one
    /// [default: localhost:8080]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Folder for what the service keeps, created when missing [default: ~/.local/share/claude-code-api]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What answers calls [default: anthropic where a key is set, else local, the embedded model]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_BACKEND", value_enum)]
    pub backend: Option<BackendName>,
    /// A name besides the loopback ones that requests may carry in their Host header; may be given several times
    #[arg(
        long = "allowed-host",
        env = "CLAUDE_CODE_API_SERVER_ALLOWED_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub allowed_hosts: Option<Vec<String>>,
    /// Seconds that running calls may take to finish after SIGTERM [default: 30]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_DRAIN_TIMEOUT", value_name = "SECONDS")]
    pub drain_timeout: Option<f64>,
    /// The most bytes in the body of a request [default: 16777216]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_BODY_BYTES_MAX", value_name = "BYTES")]
    pub body_bytes_max: Option<usize>,
    /// The most connections open at a time; more wait [default: 4096]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CONNECTIONS_MAX", value_name = "COUNT")]
    pub connections_max: Option<usize>,
    /// Tokens a month of a project that its first call makes; `none` is without limit [default: 100000000]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_DEFAULT_TOKENS_PER_MONTH", value_name = "TOKENS")]
    pub default_tokens_per_month: Option<Allowance>,
    /// Seconds that a call may wait for what running calls of its project hold of the budget [default: 10]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_BUDGET_WAIT", value_name = "SECONDS")]
    pub budget_wait: Option<f64>,
    /// When an answer leaves that was paid for: once the operating system has its entry, or the disk [default: process]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_DURABILITY", value_enum)]
    pub durability: Option<Durability>,
    /// The key of the Messages API; also read from `ANTHROPIC_API_KEY`. There is no flag, as others would see it
    #[arg(skip)]
    pub anthropic_api_key: Option<SecretString>,
    /// Where the Messages API is; also read from `ANTHROPIC_BASE_URL` [default: `https://api.anthropic.com`]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_ANTHROPIC_BASE_URL", value_name = "URL")]
    pub anthropic_base_url: Option<String>,
    /// The model that haiku means [default: claude-haiku-5-5]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_MODEL_HAIKU", value_name = "ID")]
    pub model_haiku: Option<String>,
    /// The model that sonnet means [default: claude-sonnet-5-5]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_MODEL_SONNET", value_name = "ID")]
    pub model_sonnet: Option<String>,
    /// The model that opus means [default: claude-opus-5-5]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_MODEL_OPUS", value_name = "ID")]
    pub model_opus: Option<String>,
    /// `max_tokens` on Claude of calls that set none [default: 4096]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CLAUDE_MAX_TOKENS_DEFAULT", value_name = "TOKENS")]
    pub claude_max_tokens_default: Option<u32>,
    /// GGUF file of the embedded model [default: the one that `model install` put in place]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_MODEL_PATH", value_name = "FILE")]
    pub model_path: Option<PathBuf>,
    /// Threads that the embedded model generates one answer on [default: half of the cores, at least 1, at most 4]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOCAL_THREADS", value_name = "COUNT")]
    pub local_threads: Option<u32>,
    /// Threads that it reads prompts and generates several answers on [default: the cores, at most 8]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOCAL_BATCH_THREADS", value_name = "COUNT")]
    pub local_batch_threads: Option<u32>,
    /// Calls that the embedded model works on at a time [default: 16]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOCAL_SLOTS", value_name = "COUNT")]
    pub local_slots: Option<u32>,
    /// Calls that may wait for the embedded model; more are `overloaded` [default: 64]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOCAL_QUEUE_MAX", value_name = "COUNT")]
    pub local_queue_max: Option<usize>,
    /// Tokens, prompts and answers of all calls together, that the embedded model holds at a time; 23 KB of memory each
    /// [default: 16384]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOCAL_CACHE_TOKENS", value_name = "TOKENS")]
    pub local_cache_tokens: Option<u32>,
    /// `max_tokens` on the embedded model of calls that set none [default: 256]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOCAL_MAX_TOKENS_DEFAULT", value_name = "TOKENS")]
    pub local_max_tokens_default: Option<u32>,
    /// What to log: a level, or tracing directives such as `info,hyper=debug` [default: info]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to write the log, to standard error [default: text]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

/// The backends there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendName {
    /// Claude, over the Messages API
    Anthropic,
    /// A small model embedded in the service: no key, no cost, weak answers
    Local,
}

/// What the ledger survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The death of the process; a power failure loses at most about the last second
    Process,
    /// A power failure too; each commit waits for the disk
    PowerLoss,
}

/// So many, or any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Allowance(pub Option<i64>);

impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let count = text.parse().ok().filter(|count| *count >= 0);
        count.map(|count| Self(Some(count))).ok_or_else(|| "takes a whole number, 0 or more, or none".to_owned())
    }
}

impl TryFrom<toml::Value> for Allowance {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse()
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Both loopback addresses.
    Localhost {
        /// 0: a free one.
        port: u16,
    },
    /// One loopback address.
    Address(SocketAddr),
}

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
}

/// Settings of the embedded model.
#[derive(Clone, Debug)]
pub struct Local {
    /// The GGUF file, when one was named.
    pub model_path: Option<PathBuf>,
    /// Threads to generate one answer on.
    pub threads: u32,
    /// Threads to read prompts and generate several answers on.
    pub batch_threads: u32,
    /// Calls worked on at a time.
    pub slots: u32,
    /// Calls that may wait.
    pub queue_max: usize,
    /// Tokens held at a time, by all calls together.
    pub cache_tokens: u32,
    /// `max_tokens` of calls that set none.
    pub max_tokens_default: u32,
}

/// Settings of Claude over the Messages API.
#[derive(Clone, Debug)]
pub struct Anthropic {
    /// The key, when one is set.
    pub api_key: Option<SecretString>,
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
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Folder for what the service keeps.
    pub data_dir: PathBuf,
    /// What answers calls.
    pub backend: BackendName,
    /// What the service takes.
    pub limits: Limits,
    /// Settings of Claude over the Messages API.
    pub anthropic: Anthropic,
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

impl Config {
    /// Puts the layers together. `given` and `matches` are what clap made of the command line and the environment.
    pub fn resolve(given: Settings, matches: &ArgMatches, file: Option<&Path>) -> Result<Self, ConfigError> {
        let from_file = file.map(read).transpose()?.unwrap_or_default();
        Layers { matches: Some(matches), file, in_force: Vec::new() }.resolve(given, from_file)
    }

    /// The defaults, and what `given` sets.
    pub fn from_settings(given: Settings) -> Result<Self, ConfigError> {
        Layers { matches: None, file: None, in_force: Vec::new() }.resolve(given, Settings::default())
    }
}

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        ConfigError::Malformed { path: path.to_owned(), line, problem: error.message().replace('\n', " ") }
    })
}

/// As many sequences as llama.cpp keeps apart in one context.
const LOCAL_SLOTS_MAX: u32 = 64;

struct Layers<'a> {
    matches: Option<&'a ArgMatches>,
    file: Option<&'a Path>,
    in_force: Vec<InForce>,
}

impl Layers<'_> {
    fn resolve(mut self, given: Settings, file: Settings) -> Result<Config, ConfigError> {
        let listen = self.pick("listen", given.listen, file.listen, || "localhost:8080".to_owned());
        let listen = self.checked("listen", listen.parse())?;
        let api_key =
            self.secret("anthropic_api_key", "ANTHROPIC_API_KEY", given.anthropic_api_key, file.anthropic_api_key);
        let backend_default = if api_key.is_some() { BackendName::Anthropic } else { BackendName::Local };
        let config = Config {
            listen,
            data_dir: self.pick("data_dir", given.data_dir, file.data_dir, data_dir_default),
            backend: self.pick("backend", given.backend, file.backend, || backend_default),
            limits: Limits {
                allowed_hosts: self.pick("allowed_hosts", given.allowed_hosts, file.allowed_hosts, Vec::new),
                drain_timeout: {
                    let seconds = self.pick("drain_timeout", given.drain_timeout, file.drain_timeout, || 30.0);
                    self.checked("drain_timeout", duration(seconds))?
                },
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
                    1..=1_000_000,
                )?,
                default_tokens_per_month: {
                    let (given, file) = (given.default_tokens_per_month, file.default_tokens_per_month);
                    self.pick("default_tokens_per_month", given, file, || Allowance(Some(100_000_000))).0
                },
                budget_wait: {
                    let seconds = self.pick("budget_wait", given.budget_wait, file.budget_wait, || 10.0);
                    self.checked("budget_wait", duration(seconds))?
                },
            },
            anthropic: Anthropic {
                api_key,
                base_url: self.base_url(given.anthropic_base_url, file.anthropic_base_url),
                model_haiku: self.model("model_haiku", given.model_haiku, file.model_haiku, "claude-haiku-5-5"),
                model_sonnet: self.model("model_sonnet", given.model_sonnet, file.model_sonnet, "claude-sonnet-5-5"),
                model_opus: self.model("model_opus", given.model_opus, file.model_opus, "claude-opus-5-5"),
                max_tokens_default: self.within(
                    "claude_max_tokens_default",
                    given.claude_max_tokens_default,
                    file.claude_max_tokens_default,
                    || 4_096,
                    1..=1_000_000,
                )?,
            },
            local: Local {
                model_path: self.pick_optional("model_path", given.model_path, file.model_path),
                threads: self.within(
                    "local_threads",
                    given.local_threads,
                    file.local_threads,
                    threads_default,
                    1..=256,
                )?,
                batch_threads: self.within(
                    "local_batch_threads",
                    given.local_batch_threads,
                    file.local_batch_threads,
                    batch_threads_default,
                    1..=256,
                )?,
                slots: self.within("local_slots", given.local_slots, file.local_slots, || 16, 1..=LOCAL_SLOTS_MAX)?,
                queue_max: self.within(
                    "local_queue_max",
                    given.local_queue_max,
                    file.local_queue_max,
                    || 64,
                    1..=1_000_000,
                )?,
                cache_tokens: self.within(
                    "local_cache_tokens",
                    given.local_cache_tokens,
                    file.local_cache_tokens,
                    || 16_384,
                    256..=1 << 20,
                )?,
                max_tokens_default: self.within(
                    "local_max_tokens_default",
                    given.local_max_tokens_default,
                    file.local_max_tokens_default,
                    || 256,
                    1..=1_000_000,
                )?,
            },
            durability: self.pick("durability", given.durability, file.durability, || Durability::Process),
            log: self.pick("log", given.log, file.log, || "info".to_owned()),
            log_format: self.pick("log_format", given.log_format, file.log_format, || LogFormat::Text),
            in_force: Vec::new(),
        };
        Ok(Config { in_force: self.in_force, ..config })
    }

    /// The value of the first layer that has one.
    fn pick<T: Debug>(
        &mut self,
        name: &'static str,
        given: Option<T>,
        file: Option<T>,
        default: impl FnOnce() -> T,
    ) -> T {
        let (value, source) = match (given, file) {
            (Some(value), _) => (value, self.source_of(name)),
            (None, Some(value)) => (value, self.file.map_or_else(String::new, |path| path.display().to_string())),
            (None, None) => (default(), "default".to_owned()),
        };
        self.in_force.push(InForce { name, value: format!("{value:?}"), source });
        value
    }

    fn pick_optional<T: Debug>(&mut self, name: &'static str, given: Option<T>, file: Option<T>) -> Option<T> {
        self.pick(name, given.map(Some), file.map(Some), || None)
    }

    fn model(&mut self, name: &'static str, given: Option<String>, file: Option<String>, default: &str) -> String {
        self.pick(name, given, file, || default.to_owned())
    }

    fn base_url(&mut self, given: Option<String>, file: Option<String>) -> String {
        const VARIABLE: &str = "ANTHROPIC_BASE_URL";
        let from_environment = if given.is_none() { self.environment(VARIABLE) } else { None };
        let Some(url) = from_environment else {
            return self.pick("anthropic_base_url", given, file, || "https://api.anthropic.com".to_owned());
        };
        let (value, source) = (format!("{url:?}"), format!("environment {VARIABLE}"));
        self.in_force.push(InForce { name: "anthropic_base_url", value, source });
        url
    }

    /// A value that is told as "set", and never shown.
    fn secret(
        &mut self,
        name: &'static str,
        variable: &'static str,
        given: Option<SecretString>,
        file: Option<SecretString>,
    ) -> Option<SecretString> {
        let from_environment = self.environment(variable).map(SecretString::from);
        let (value, source) = match (given, from_environment, file) {
            (Some(value), ..) => (Some(value), "command line".to_owned()),
            (None, Some(value), _) => (Some(value), format!("environment {variable}")),
            (None, None, Some(value)) => {
                (Some(value), self.file.map_or_else(String::new, |path| path.display().to_string()))
            }
            (None, None, None) => (None, "default".to_owned()),
        };
        let shown = if value.is_some() { "set" } else { "not set" };
        self.in_force.push(InForce { name, value: shown.to_owned(), source });
        value
    }

    /// A variable that others than us have named. Read only where there is a command line: a test has an environment of its own.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
    fn environment(&self, variable: &str) -> Option<String> {
        self.matches?;
        std::env::var(variable).ok().filter(|value| !value.is_empty())
    }

    fn within<T: Debug + PartialOrd>(
        &mut self,
        name: &'static str,
        given: Option<T>,
        file: Option<T>,
        default: impl FnOnce() -> T,
        range: RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        let value = self.pick(name, given, file, default);
        let within = if range.contains(&value) {
            Ok(value)
        } else {
            Err(format!("takes {:?} to {:?}; it was {value:?}", range.start(), range.end()))
        };
        self.checked(name, within)
    }

    fn checked<T>(&self, name: &'static str, result: Result<T, String>) -> Result<T, ConfigError> {
        let origin = || self.in_force.last().map_or_else(String::new, |setting| setting.source.clone());
        result.map_err(|problem| ConfigError::Value { name, origin: origin(), problem })
    }

    fn source_of(&self, name: &'static str) -> String {
        let from_environment =
            self.matches.is_some_and(|matches| matches.value_source(name) == Some(ValueSource::EnvVariable));
        if from_environment {
            format!("environment CLAUDE_CODE_API_SERVER_{}", name.to_ascii_uppercase())
        } else {
            "command line".to_owned()
        }
    }
}

fn duration(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| "takes seconds, 0 or more".to_owned())
}

/// The model's threads spin at barriers: for the little work of one token, beside other work, fewer are faster.
fn threads_default() -> u32 {
    (cores() / 2).clamp(1, 4)
}

fn batch_threads_default() -> u32 {
    cores().min(8)
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("takes HOST:PORT, such as localhost:8080 or 127.0.0.1:0; it was {text:?}");
        let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
        let port: u16 = port.parse().map_err(|_| shape())?;
        if host == "localhost" {
            return Ok(Self::Localhost { port });
        }
        let address: SocketAddr = text.parse().map_err(|_| shape())?;
        if !address.ip().is_loopback() {
            return Err(format!(
                "takes a loopback address: the service has no keys, so that whoever reached {address} could spend; put a \
                 proxy that authenticates in front of it"
            ));
        }
        Ok(Self::Address(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_is_refused_with_the_reason() {
        assert_eq!("localhost:0".parse(), Ok(Listen::Localhost { port: 0 }));
        assert!("127.0.0.1:8080".parse::<Listen>().is_ok());
        assert!("[::1]:8080".parse::<Listen>().is_ok());
        for foreign in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
            assert!(foreign.parse::<Listen>().expect_err(foreign).contains("no keys"));
        }
        for malformed in ["", "8080", "localhost", "localhost:x", "example.com:80"] {
            assert!(malformed.parse::<Listen>().expect_err(malformed).contains("HOST:PORT"));
        }
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_origin() {
        let zero = Settings { local_slots: Some(0), ..Settings::default() };
        let error = Config::from_settings(zero).expect_err("no slots").to_string();
        assert_eq!(error, "local_slots (from command line) takes 1 to 64; it was 0");
    }
}

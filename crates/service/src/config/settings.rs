//! Every setting as it is given: clap fills it from flags and environment, serde from the file.

use std::{
    fmt::{self, Debug},
    path::PathBuf,
    str::FromStr,
};

use claude_code_api_wire::Routing;
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer, SeqAccess, Visitor},
};

use super::PriceSetting;
use crate::model::{self, Tier};

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
    /// PostgreSQL database to keep the ledger in, `postgres://user:password@host/database`, from which any number of processes
    /// may serve [default: a file in the data folder]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<SecretString>,
    /// Seconds that a process may be silent before the others on its database take it for dead, and charge what it held
    /// [default: 10]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_REPLICA_TTL", value_name = "SECONDS")]
    pub replica_ttl: Option<f64>,
    /// What answers calls; of several, separated by commas, the first that does [default: anthropic where a key is set, else
    /// local, the embedded model]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_BACKEND", value_enum, value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_more")]
    pub backend: Option<Vec<BackendName>>,
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
    /// Seconds that an answer is kept for its idempotency key, in the data folder; 0 keeps none, and ignores the keys
    /// [default: 3600]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_IDEMPOTENCY_TTL", value_name = "SECONDS")]
    pub idempotency_ttl: Option<f64>,
    /// Seconds that a stored batch is kept with its prompts and results once it has ended [default: 604800, a week]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_BATCH_TTL", value_name = "SECONDS")]
    pub batch_ttl: Option<f64>,
    /// Seconds that it is looked for prompts of an economy batch whose submission was cut off, before they count as paid for and
    /// lost [default: 600]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_ECONOMY_UNKNOWN_AFTER", value_name = "SECONDS")]
    pub economy_unknown_after: Option<f64>,
    /// When an answer leaves that was paid for: once the operating system has its entry, or the disk [default: process]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_DURABILITY", value_enum)]
    pub durability: Option<Durability>,
    /// The key of the Messages API; also read from `ANTHROPIC_API_KEY`. There is no flag, as others would see it
    #[arg(skip)]
    pub anthropic_api_key: Option<SecretString>,
    /// More keys of the Messages API, which take over while the one before them may not be used; in the file only
    #[arg(skip)]
    pub anthropic_api_keys: Option<Vec<SecretString>>,
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
    /// Calls that Claude is sent at a time; more wait for their turn [default: 256]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_ANTHROPIC_CONCURRENCY_MAX", value_name = "COUNT")]
    pub anthropic_concurrency_max: Option<usize>,
    /// Calls that may wait for Claude, and as many items of batches; more are `overloaded` [default: 4096]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_ANTHROPIC_QUEUE_MAX", value_name = "COUNT")]
    pub anthropic_queue_max: Option<usize>,
    /// The Claude Code CLI [default: the one that `claude install` put in place, else `claude` on the PATH]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CLAUDE_CODE_PATH", value_name = "FILE")]
    pub claude_code_path: Option<PathBuf>,
    /// Calls that Claude Code works on at a time, and workers that are kept for them, of 190 to 350 MB each; as many more as come
    /// to be wanted are kept ready [default: twice the cores, at least 4]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CLAUDE_CODE_WORKERS", value_name = "COUNT")]
    pub claude_code_workers: Option<usize>,
    /// What a worker of Claude Code serves: one call, or calls of one project, one after the other [default: project]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CLAUDE_CODE_ISOLATION", value_enum)]
    pub claude_code_isolation: Option<WorkerIsolation>,
    /// Calls that may wait for Claude Code, and as many items of batches; more are `overloaded` [default: 256]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CLAUDE_CODE_QUEUE_MAX", value_name = "COUNT")]
    pub claude_code_queue_max: Option<usize>,
    /// Whether Claude Code is used on the operator's own login, whose token is in `CLAUDE_CODE_OAUTH_TOKEN`, instead of the service's
    /// keys. It is for the operator's own use, by Anthropic's terms [default: false]
    #[arg(
        long,
        env = "CLAUDE_CODE_API_SERVER_CLAUDE_CODE_LOGIN",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub claude_code_login: Option<bool>,
    /// Whether projects may have keys while Claude Code is used on a login: yes only if everyone who has one may use that login
    /// [default: false]
    #[arg(
        long,
        env = "CLAUDE_CODE_API_SERVER_CLAUDE_CODE_LOGIN_SHARED",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub claude_code_login_shared: Option<bool>,
    /// The token of that login, as `claude setup-token` makes it; also read from `CLAUDE_CODE_OAUTH_TOKEN`. There is no flag, as
    /// others would see it
    #[arg(skip)]
    pub claude_code_oauth_token: Option<SecretString>,
    /// Prices that are added to the published ones, or replace those of a model; in the file only, as `[[prices]]`
    #[arg(skip)]
    pub prices: Option<Vec<PriceSetting>>,
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
    /// Calls that may wait for the embedded model, and as many items of batches; more are `overloaded` [default: 64]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOCAL_QUEUE_MAX", value_name = "COUNT")]
    pub local_queue_max: Option<usize>,
    /// Tokens, prompts and answers of all calls together, that the embedded model holds at a time; 23 KB of memory each
    /// [default: 16384]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOCAL_CACHE_TOKENS", value_name = "TOKENS")]
    pub local_cache_tokens: Option<u32>,
    /// `max_tokens` on the embedded model of calls that set none [default: 256]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOCAL_MAX_TOKENS_DEFAULT", value_name = "TOKENS")]
    pub local_max_tokens_default: Option<u32>,
    /// What `auto` may lose to save money, against always asking the strongest model: economy (5 %), balanced (3 %), quality (1 %) of the
    /// answers that would be right, or per cent of your own [default: balanced]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_ROUTING", value_name = "economy|balanced|quality|PERCENT", value_parser = Routing::parse)]
    pub routing: Option<Routing>,
    /// The tier that `auto` picks for what is too little like what the router knows [default: sonnet]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_TIER_DEFAULT", value_name = "haiku|sonnet|opus", value_parser = tier)]
    #[serde(deserialize_with = "tier_of")]
    pub tier_default: Option<Tier>,
    /// Model file of the router, as `claude-code-api router` writes it [default: the one that is part of this program]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_ROUTER_PATH", value_name = "FILE")]
    pub router_path: Option<PathBuf>,
    /// What to log: a level, or tracing directives such as `info,hyper=debug` [default: info]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to write the log, to standard error [default: text]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

fn tier(name: &str) -> Result<Tier, String> {
    model::tier(name).ok_or_else(|| "takes haiku, sonnet or opus".to_owned())
}

fn tier_of<'de, D: Deserializer<'de>>(given: D) -> Result<Option<Tier>, D::Error> {
    tier(&String::deserialize(given)?).map(Some).map_err(de::Error::custom)
}

/// The backends there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendName {
    /// Claude, over the Messages API
    Anthropic,
    /// Claude, through the Claude Code CLI: a pool of its processes
    #[value(name = "claude_code")]
    ClaudeCode,
    /// A small model embedded in the service: no key, no cost, weak answers
    Local,
}

impl BackendName {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::ClaudeCode => "claude_code",
            Self::Local => "local",
        }
    }
}

/// A name, or a list of names.
fn one_or_more<'de, D: Deserializer<'de>>(given: D) -> Result<Option<Vec<BackendName>>, D::Error> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<BackendName>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("the name of a backend, or a list of them")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
            Ok(vec![BackendName::deserialize(name.into_deserializer())?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(name) = names.next_element()? {
                all.push(name);
            }
            Ok(all)
        }
    }
    given.deserialize_any(Names).map(Some)
}

/// What a worker of Claude Code serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerIsolation {
    /// One call; then it is killed
    Process,
    /// Calls of one project, one after the other
    Project,
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
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Allowance(pub Option<i64>);

impl Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(count) => write!(f, "{count}"),
            None => f.write_str("none"),
        }
    }
}

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

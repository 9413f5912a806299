//! `project` and `ledger`: what is done to the ledger by hand. It is done on the data folder, while no service has it.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use claude_code_api_service::{
    config::data_dir_default,
    ledger::{Clamp, Limits, Project},
    money::Nanos,
    project::ProjectId,
    store::{
        Store,
        sqlite::{Options, Sqlite},
    },
    window::PERIODS,
};

/// The ledger's folder.
#[derive(Args)]
pub(crate) struct Folder {
    /// Folder of the ledger [default: ~/.local/share/claude-code-api]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_DATA_DIR", value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

impl Folder {
    fn open(self) -> anyhow::Result<Sqlite> {
        let folder = self.data_dir.unwrap_or_else(data_dir_default);
        Ok(Sqlite::open(&folder, Options::default())?)
    }
}

#[derive(Subcommand)]
pub(crate) enum ProjectCommand {
    /// Make a project, or change its limits; what is not given stays as it is
    Set(Box<Set>),
    /// Show every project with its limits
    List,
    /// Show one project with its limits
    Show {
        /// Its name
        name: String,
    },
}

#[derive(Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Set {
    /// The project's name: letters, digits, '.', '_', '-' and ':'
    name: String,
    /// Tokens a day, in and out; none: without limit
    #[arg(long, value_name = "TOKENS")]
    tokens_per_day: Option<Most<i64>>,
    /// Tokens a week, from Monday on
    #[arg(long, value_name = "TOKENS")]
    tokens_per_week: Option<Most<i64>>,
    /// Tokens a month
    #[arg(long, value_name = "TOKENS")]
    tokens_per_month: Option<Most<i64>>,
    /// USD a day, such as 12.50; none: without limit
    #[arg(long, value_name = "USD")]
    usd_per_day: Option<Most<Nanos>>,
    /// USD a week, from Monday on
    #[arg(long, value_name = "USD")]
    usd_per_week: Option<Most<Nanos>>,
    /// USD a month
    #[arg(long, value_name = "USD")]
    usd_per_month: Option<Most<Nanos>>,
    /// Calls that may run at a time; more wait for their turn
    #[arg(long, value_name = "COUNT")]
    calls_max: Option<Most<u32>>,
    /// When `max_tokens` is lowered to what the budget covers: never, when the caller set none, or always
    #[arg(long, value_enum)]
    clamp: Option<ClampName>,
}

/// So many, or `none`.
#[derive(Clone, Copy)]
struct Most<T>(Option<T>);

impl<T: FromStr + Default + PartialOrd> FromStr for Most<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let count = text.parse().ok().filter(|count| *count >= T::default());
        count.map(|count| Self(Some(count))).ok_or_else(|| "takes a number, 0 or more, or none".to_owned())
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum ClampName {
    Never,
    Unset,
    Always,
}

impl ProjectCommand {
    pub(crate) fn run(self, folder: Folder) -> anyhow::Result<ExitCode> {
        let named = |name: &str| {
            ProjectId::parse(name).with_context(|| {
                format!("{name:?} is no project; a name has 1 to 128 letters, digits, '.', '_', '-' and ':'")
            })
        };
        let store = folder.open()?;
        let projects = match self {
            Self::List => on_store(store.projects())?,
            Self::Show { name } => {
                let found = on_store(store.project(named(&name)?))?;
                vec![
                    found
                        .with_context(|| format!("there is no project {name}; `project list` shows which there are"))?,
                ]
            }
            Self::Set(set) => {
                let id = named(&set.name)?;
                let before = on_store(store.project(id.clone()))?.map(|project| project.limits).unwrap_or_default();
                let project = Project { id, limits: set.limits(before), created_by_use: false };
                on_store(store.set_project(project.clone()))?;
                vec![project]
            }
        };
        for project in projects {
            writeln!(io::stdout(), "{}", described(&project))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Set {
    fn limits(&self, before: Limits) -> Limits {
        let mut limits = before;
        let tokens = [self.tokens_per_day, self.tokens_per_week, self.tokens_per_month];
        let money = [self.usd_per_day, self.usd_per_week, self.usd_per_month];
        for (window, (tokens, money)) in limits.windows.iter_mut().zip(tokens.into_iter().zip(money)) {
            window.tokens = tokens.map_or(window.tokens, |most| most.0);
            window.nanos = money.map_or(window.nanos, |most| most.0.map(|nanos| nanos.0));
        }
        limits.calls_max = self.calls_max.map_or(limits.calls_max, |most| most.0);
        limits.clamp = self.clamp.map_or(limits.clamp, |clamp| match clamp {
            ClampName::Never => Clamp::Never,
            ClampName::Unset => Clamp::Unset,
            ClampName::Always => Clamp::Always,
        });
        limits
    }
}

/// A project on one line.
fn described(project: &Project) -> String {
    let limits = &project.limits;
    let windows = PERIODS.into_iter().flat_map(|period| {
        let (limit, period) = (limits.of(period), period.as_str());
        let tokens = limit.tokens.map(|tokens| format!("{tokens} tokens a {period}"));
        let money = limit.nanos.map(|nanos| format!("${} a {period}", Nanos(nanos).usd()));
        tokens.into_iter().chain(money)
    });
    let calls = limits.calls_max.map(|calls| format!("{calls} calls at a time"));
    let mut all: Vec<String> = windows.chain(calls).collect();
    if all.is_empty() {
        all.push("without limit".to_owned());
    }
    format!("{}: {}; clamp {}", project.id.as_str(), all.join(", "), limits.clamp.as_str())
}

#[derive(Subcommand)]
pub(crate) enum LedgerCommand {
    /// Prove every counter equal to the sum of its entries; exit code 1 and every difference when one is not
    Verify,
}

impl LedgerCommand {
    pub(crate) fn run(self, folder: Folder) -> anyhow::Result<ExitCode> {
        let Self::Verify = self;
        let store = folder.open()?;
        let verified = on_store(store.verify())?;
        ensure!(
            verified.differences.is_empty(),
            "the counters are not the sums of the entries:\n{}",
            verified.differences.join("\n")
        );
        let spent = verified.spent;
        writeln!(
            io::stdout(),
            "ok: {} entries, {} tokens, ${}",
            verified.entries,
            spent.tokens,
            Nanos(spent.nanos).usd()
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

fn on_store<T>(
    operation: impl Future<Output = Result<T, claude_code_api_service::store::StoreError>>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(operation)?)
}

//! `config check`, and the settings that `serve` shares with it.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{ArgMatches, Args};
use claude_code_api_service::config::{Config, Settings};

/// Where settings come from: flags, then environment, then file, then defaults.
#[derive(Args)]
pub(crate) struct Source {
    /// Settings in TOML; the names are those of the flags, with underscores
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Source {
    pub(crate) fn resolve(self, matches: Option<&ArgMatches>) -> anyhow::Result<Config> {
        let matches = matches.expect("clap made these settings from the matches of this subcommand");
        Ok(Config::resolve(&self.settings, matches, self.config.as_deref())?)
    }
}

pub(crate) fn check(source: Source, matches: Option<&ArgMatches>) -> anyhow::Result<ExitCode> {
    let config = source.resolve(matches)?;
    let width = |column: fn(&claude_code_api_service::config::InForce) -> &str| {
        config.in_force.iter().map(|setting| column(setting).len()).max().unwrap_or(0)
    };
    let (names, values) = (width(|setting| setting.name), width(|setting| &setting.value).min(48));
    for setting in &config.in_force {
        writeln!(io::stdout(), "{:names$}  {:values$}  {}", setting.name, setting.value, setting.source)?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `claude`: the Claude Code CLI on this machine.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use claude_code_api_service::config::data_dir_default;

mod doctor;
mod install;
mod words;

#[derive(Subcommand)]
pub(crate) enum ClaudeCommand {
    /// Fetch the pinned version (175 MB) from the npm registry, check it and put it in place; no Node.js is needed
    Install(install::Install),
    /// Show which CLI is used, how it is isolated here, and whether it does what is relied on; exit code 10 when it does not
    Doctor(doctor::Doctor),
}

impl ClaudeCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Install(install) => install.run(),
            Self::Doctor(doctor) => doctor.run(),
        }
    }
}

#[derive(Args)]
struct Folder {
    /// Data folder of the service [default: ~/.local/share/claude-code-api]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Folder {
    fn path(self) -> PathBuf {
        self.data_dir.unwrap_or_else(data_dir_default)
    }
}

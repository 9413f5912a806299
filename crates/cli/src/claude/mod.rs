//! `claude`: the Claude Code CLI on this machine.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use claude_code_api_service::config::data_dir_default;

use crate::exit::Interrupted;

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

/// Does it, until Ctrl-C: what it has begun is then cleared away.
fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        tokio::select! {
            // First, so that it is listened for before anything begins.
            biased;
            interrupted = tokio::signal::ctrl_c() => Err(interrupted.map_or_else(Into::into, |()| Interrupted.into())),
            done = work => done,
        }
    });
    // What other threads still do has nowhere to go any more.
    runtime.shutdown_background();
    done
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

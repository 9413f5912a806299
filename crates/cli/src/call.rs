//! `complete` and `health`: the client commands.

use std::process::ExitCode;

use clap::Args;

#[derive(Args)]
pub(crate) struct Complete {
    prompt: String,
}

impl Complete {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not yet {}", self.prompt)
    }
}

#[derive(Args)]
pub(crate) struct Health {}

impl Health {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not yet")
    }
}

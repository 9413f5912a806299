//! `router train`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use claude_code_api_router::{data::Folder, train};

use super::write;

#[derive(Args)]
pub(crate) struct Train {
    /// The folder; docs/router.md says how it is made
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the router goes
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

impl Train {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = Folder::read(&self.data)?;
        for note in &folder.notes {
            eprintln!("left out: {note}");
        }
        eprintln!("training takes some ten seconds");
        write(&train::train(&folder)?, &self.output)?;
        Ok(ExitCode::SUCCESS)
    }
}

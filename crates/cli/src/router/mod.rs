//! `router`: the model behind `auto` is trained, judged, and fitted to an operator's own outcomes. Without a service.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Subcommand;
use claude_code_api_router::Router;

mod bench;
mod calibrate;
mod train;

pub(crate) const EXAMPLES: &str = "\
Examples:
  claude-code-api router bench --data prompts/
  claude-code-api router calibrate outcomes.jsonl -o router.bin && claude-code-api serve --router-path router.bin
  claude-code-api router train --data prompts/ -o router.bin";

#[derive(Subcommand)]
pub(crate) enum RouterCommand {
    /// Judge a router, or the way in which it is trained, on a folder of prompts with outcomes
    Bench(bench::Bench),
    /// Fit a router to what came of calls of your own; at least 100 outcomes
    #[command(after_help = calibrate::FORMAT)]
    Calibrate(calibrate::Calibrate),
    /// Train a router on a folder of prompts with outcomes
    Train(train::Train),
}

impl RouterCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Bench(bench) => bench.run(),
            Self::Calibrate(calibrate) => calibrate.run(),
            Self::Train(train) => train.run(),
        }
    }
}

/// That of this program, or of a file.
fn opened(path: Option<&PathBuf>) -> anyhow::Result<Router> {
    let Some(path) = path else { return Ok(Router::shipped().clone()) };
    let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Router::parse(&file).with_context(|| format!("{} cannot be used", path.display()))
}

/// Writes a router, whole or not at all.
fn write(router: &Router, path: &Path) -> anyhow::Result<()> {
    let (file, beside) = (router.to_bytes(), path.with_extension("partial"));
    let written = fs::write(&beside, &file).and_then(|()| fs::rename(&beside, path));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(io::stdout(), "{}: router {}, {} bytes", path.display(), router.version(), file.len())?;
    Ok(())
}

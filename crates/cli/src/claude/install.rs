//! `claude install`: the pinned CLI, with a bar.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use claude_code_api_service::backend::claude_code::{
    install::{self, Installed, REGISTRY, Step},
    package::{Package, VERSION},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Folder, unless_interrupted};

/// How long the registry may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// As its package says.
const TERMS: &str = "https://code.claude.com/docs/en/legal-and-compliance";

const TEMPLATE: &str = "{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} to go";

#[derive(Args)]
pub(crate) struct Install {
    #[command(flatten)]
    folder: Folder,
    /// Fetch it even when an intact one is there
    #[arg(long)]
    force: bool,
    /// The npm registry to fetch it from
    #[arg(long, env = "npm_config_registry", hide_env_values = true, value_name = "URL", default_value = REGISTRY)]
    registry: String,
}

impl Install {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let package = Package::of_this_machine().context(
            "Claude Code has no package for this machine; it has some for Linux and macOS, on x64 and arm64",
        )?;
        let data_dir = self.folder.path();
        let install = install::Install {
            package,
            registry: &self.registry,
            data_dir: &data_dir,
            force: self.force,
            silence_max: SILENCE_MAX,
        };
        let (program, was_there) = match unless_interrupted(with_bar(&install))? {
            Installed::Before(program) => (program, "already "),
            Installed::Now(program) => (program, ""),
        };
        writeln!(io::stdout(), "Claude Code {VERSION} is {was_there}in place: {}", program.display())?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn with_bar(install: &install::Install<'_>) -> anyhow::Result<Installed> {
    let style = ProgressStyle::with_template(TEMPLATE).expect("a template").progress_chars("=> ");
    let bar = ProgressBar::hidden().with_style(style);
    let mut before = None;
    let installed = install
        .run(&mut |step| {
            if before.replace(std::mem::discriminant(&step)) != Some(std::mem::discriminant(&step)) {
                announce(&bar, step);
            }
            if let Step::Fetching { bytes, of } = step {
                bar.set_length(of.unwrap_or(bytes));
                bar.set_position(bytes);
            }
        })
        .await;
    bar.finish_and_clear();
    Ok(installed?)
}

fn announce(bar: &ProgressBar, step: Step) {
    match step {
        Step::Waiting => eprintln!("Another installation runs; waiting for it"),
        Step::Fetching { .. } => {
            eprintln!("Fetching Claude Code {VERSION}; its use is subject to Anthropic's terms: {TERMS}");
            // It draws nothing where standard error is no terminal.
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        Step::Unpacking => {
            bar.finish_and_clear();
            eprintln!("Unpacking it");
        }
    }
}

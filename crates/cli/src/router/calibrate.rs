//! `router calibrate`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use claude_code_api_router::calibrate::{Judged, calibrate};

use super::{opened, write};

pub(crate) const FORMAT: &str = "\
A line of the outcomes:
  {\"prompt\": \"What is 17 * 23?\", \"tier\": \"haiku\", \"right\": 1}";

#[derive(Args)]
pub(crate) struct Calibrate {
    /// What came of calls: a line of JSON each
    #[arg(value_name = "OUTCOMES")]
    outcomes: PathBuf,
    /// Where the router goes
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The router that is fitted [default: that of this program]
    #[arg(long, value_name = "FILE")]
    router: Option<PathBuf>,
}

impl Calibrate {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let shown = self.outcomes.display();
        let text = fs::read_to_string(&self.outcomes).with_context(|| format!("cannot read {shown}"))?;
        let mut outcomes: Vec<Judged> = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            outcomes.push(serde_json::from_str(line).with_context(|| format!("{shown}, line {number}"))?);
        }
        let router = calibrate(&opened(self.router.as_ref())?, &outcomes).with_context(|| shown.to_string())?;
        write(&router, &self.output)?;
        Ok(ExitCode::SUCCESS)
    }
}

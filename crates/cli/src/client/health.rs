//! `health`: how a running service is.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use claude_code_api_client::{Health as Report, HealthStatus};

use super::{Service, seconds, show_json};
use crate::exit::Exit;

#[derive(Args)]
pub(crate) struct Health {
    /// Seconds to wait for the answer
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Print the whole response as JSON, and an error too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: Service,
}

impl Health {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let report = self.service.client(self.timeout)?.health()?;
        if self.json {
            show_json(&report)?;
        } else {
            io::stdout().write_all(table(&report).as_bytes())?;
        }
        Ok(if report.status == HealthStatus::Ok { ExitCode::SUCCESS } else { Exit::NotOk.into() })
    }
}

fn table(report: &Report) -> String {
    let mut text = format!("{} (version {})\n", report.status, report.version);
    for (name, service) in &report.services {
        let detail = service.detail.as_deref().unwrap_or_default();
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {name}: {}  {detail}", service.status);
    }
    text
}

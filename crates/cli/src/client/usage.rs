//! `usage`: what a project has used, and what is left of its budget.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use claude_code_api_client::{ModelUsage, Period, UsageReport};

use super::{Service, given, seconds, show_json};

#[derive(Args)]
pub(crate) struct Usage {
    /// The project [default: the key's own]
    #[arg(long, env = "CLAUDE_CODE_API_PROJECT_ID")]
    project: Option<String>,
    /// The calendar window, in UTC, that is now
    #[arg(long, value_enum, default_value = "month")]
    period: Window,
    /// Seconds to wait for the answer
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Print the whole response as JSON, and an error too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: Service,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Window {
    Day,
    Week,
    Month,
}

impl From<Window> for Period {
    fn from(window: Window) -> Self {
        match window {
            Window::Day => Self::Day,
            Window::Week => Self::Week,
            Window::Month => Self::Month,
        }
    }
}

impl Usage {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let report =
            self.service.client(self.timeout)?.usage(self.project.and_then(given).as_deref(), self.period.into())?;
        if self.json {
            show_json(&report)?;
        } else {
            io::stdout().write_all(table(&report).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(report: &UsageReport) -> String {
    let without = || "without limit".to_owned();
    let tokens_left = report.remaining.map_or_else(without, |left| format!("{left} left"));
    let money_left = report.cost_remaining.map_or_else(without, |left| format!("${left:.6} left"));
    let mut text = format!(
        "{}, {} from {} to {}\n  {} tokens ({tokens_left}), {} held\n  ${:.6} ({money_left})\n",
        report.project_id,
        report.period.as_str(),
        report.period_start,
        report.period_end,
        report.total_tokens,
        report.held_tokens,
        report.total_cost,
    );
    if report.notional_cost > 0.0 {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  ${:.6} notional: paid for by a subscription", report.notional_cost);
    }
    for (model, usage) in &report.by_model {
        let ModelUsage { requests, input_tokens, output_tokens, cost, .. } = usage;
        let _ =
            writeln!(text, "  {model}: {requests} calls, {input_tokens} tokens in, {output_tokens} out, ${cost:.6}");
    }
    text
}

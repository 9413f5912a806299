//! `complete`, `usage` and `health`: the client commands, on the client library.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use claude_code_api_client::{ClientBuilder, HealthStatus, ModelUsage, Period, Request, UsageReport, blocking};

/// Which service to call.
#[derive(Args)]
pub(crate) struct Service {
    /// URL of the service
    #[arg(long, env = "CLAUDE_CODE_API_BASE_URL", default_value = "http://localhost:8080", value_name = "URL")]
    url: String,
    /// Key to send
    #[arg(long, env = "CLAUDE_CODE_API_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
}

impl Service {
    pub(crate) fn client(self, timeout: Duration) -> anyhow::Result<blocking::Client> {
        let mut builder = ClientBuilder::default().base_url(self.url).timeout(timeout);
        if let Some(key) = self.api_key {
            builder = builder.api_key(key);
        }
        Ok(builder.build()?.into())
    }
}

#[derive(Args)]
pub(crate) struct Complete {
    /// The prompt; `-` or nothing reads it from standard input
    prompt: Option<String>,
    /// auto, haiku, sonnet, opus, or a concrete model id
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// Instructions that stand above the prompt
    #[arg(long, short)]
    system: Option<String>,
    /// The most tokens to generate
    #[arg(long)]
    max_tokens: Option<u32>,
    /// The project that pays
    #[arg(long, env = "CLAUDE_CODE_API_PROJECT_ID")]
    project: Option<String>,
    /// Print the whole response as JSON
    #[arg(long)]
    json: bool,
    /// Seconds to wait for the answer; on a terminal, where it is shown as it comes, for its first text
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS")]
    timeout: f64,
    #[command(flatten)]
    service: Service,
}

impl Complete {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let timeout = Duration::try_from_secs_f64(self.timeout).context("--timeout takes seconds above 0")?;
        let client = self.service.client(timeout)?;
        let mut request = Request::new(read_prompt(self.prompt)?).model(self.model);
        if let Some(system) = self.system {
            request = request.system(system);
        }
        if let Some(max_tokens) = self.max_tokens {
            request = request.max_tokens(max_tokens);
        }
        if let Some(project) = self.project {
            request = request.project_id(project);
        }
        if self.json {
            writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&client.complete(request)?)?)?;
        } else if io::stdout().is_terminal() {
            show_as_it_comes(&client, request)?;
        } else {
            writeln!(io::stdout(), "{}", client.complete(request)?.content)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read_prompt(given: Option<String>) -> anyhow::Result<String> {
    match given {
        Some(prompt) if prompt != "-" => Ok(prompt),
        given => {
            let forgotten = given.is_none() && io::stdin().is_terminal();
            ensure!(!forgotten, "no prompt; give it as an argument, or on standard input");
            let mut prompt = String::new();
            io::stdin().read_to_string(&mut prompt).context("cannot read the prompt from standard input")?;
            Ok(prompt)
        }
    }
}

fn show_as_it_comes(client: &blocking::Client, request: Request) -> anyhow::Result<()> {
    let mut stream = client.stream(request)?;
    let mut out = io::stdout();
    for text in &mut stream {
        out.write_all(text?.as_bytes())?;
        out.flush()?;
    }
    writeln!(out)?;
    if let Some(response) = stream.inner().and_then(|stream| stream.response()) {
        let usage = response.usage;
        eprintln!(
            "[{}: {} tokens in, {} out, ${:.6}]",
            response.model_id, usage.input_tokens, usage.output_tokens, response.cost
        );
    }
    Ok(())
}

#[derive(Args)]
pub(crate) struct Usage {
    /// The project [default: the key's own]
    #[arg(long, env = "CLAUDE_CODE_API_PROJECT_ID")]
    project: Option<String>,
    /// The calendar window, in UTC, that is now
    #[arg(long, value_enum, default_value = "month")]
    period: Window,
    /// Print the whole response as JSON
    #[arg(long)]
    json: bool,
    /// Seconds to wait for the answer
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    timeout: f64,
    #[command(flatten)]
    service: Service,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Window {
    Day,
    Week,
    Month,
}

impl Usage {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let timeout = Duration::try_from_secs_f64(self.timeout).context("--timeout takes seconds above 0")?;
        let period = match self.period {
            Window::Day => Period::Day,
            Window::Week => Period::Week,
            Window::Month => Period::Month,
        };
        let report = self.service.client(timeout)?.usage(self.project.as_deref(), period)?;
        let mut out = io::stdout();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        } else {
            write!(out, "{}", table(&report))?;
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
    for (model, usage) in &report.by_model {
        let ModelUsage { requests, input_tokens, output_tokens, cost, .. } = usage;
        // Writing to a text cannot fail.
        let _ =
            writeln!(text, "  {model}: {requests} calls, {input_tokens} tokens in, {output_tokens} out, ${cost:.6}");
    }
    text
}

#[derive(Args)]
pub(crate) struct Health {
    /// Print the whole response as JSON
    #[arg(long)]
    json: bool,
    /// Seconds to wait for the answer
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    timeout: f64,
    #[command(flatten)]
    service: Service,
}

impl Health {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let timeout = Duration::try_from_secs_f64(self.timeout).context("--timeout takes seconds above 0")?;
        let health = self.service.client(timeout)?.health()?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&health)?);
        } else {
            println!("{} (version {})", word(&health.status)?, health.version);
            for (name, service) in &health.services {
                println!("  {name}: {}  {}", word(&service.status)?, service.detail.as_deref().unwrap_or_default());
            }
        }
        Ok(if health.status == HealthStatus::Ok { ExitCode::SUCCESS } else { ExitCode::from(2) })
    }
}

/// A status as it stands in JSON.
fn word(status: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_value(status)?.as_str().unwrap_or_default().to_owned())
}

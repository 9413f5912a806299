//! `route`: which model `auto` would pick, and why.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use claude_code_api_client::{Request, RouteResponse, RouteTier, Routing};

use super::{Service, given, number, prompt::read, seconds, show_json, with};

pub(crate) const EXAMPLES: &str = "\
Examples:
  claude-code-api route \"Prove that there are infinitely many primes\"
  claude-code-api route --routing economy < prompt.txt
  claude-code-api route --json \"Count to 5\" | jq -r .model";

#[derive(Args)]
pub(crate) struct Route {
    /// The prompt; `-` or nothing reads it from standard input
    #[arg(value_name = "PROMPT")]
    text: Option<String>,
    /// What may be lost to save money: economy, balanced, quality, or per cent [default: what the project or the service has it be]
    #[arg(long, value_name = "economy|balanced|quality|PERCENT", value_parser = Routing::parse)]
    routing: Option<Routing>,
    /// Instructions that stand above the prompt
    #[arg(long, short, value_name = "TEXT")]
    system: Option<String>,
    /// The most tokens to generate
    #[arg(long, value_name = "COUNT")]
    max_tokens: Option<u32>,
    /// The most that the call may cost, in USD
    #[arg(long, value_name = "USD", value_parser = number)]
    max_cost: Option<f64>,
    /// The project that would pay [default: the key's own]
    #[arg(long, env = "CLAUDE_CODE_API_PROJECT_ID")]
    project: Option<String>,
    /// Seconds to wait for the answer
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Print the whole response as JSON, and an error too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: Service,
}

impl Route {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let request = Request::new(read(self.text)?);
        let request = with(request, self.routing, Request::routing);
        let request = with(request, self.system, Request::system);
        let request = with(request, self.max_tokens, Request::max_tokens);
        let request = with(request, self.max_cost, Request::max_cost);
        let request = with(request, self.project.and_then(given), Request::project_id);
        let response = self.service.client(self.timeout)?.route(request)?;
        if self.json {
            show_json(&response)?;
        } else {
            io::stdout().write_all(table(&response).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writing to a text cannot fail.
fn table(response: &RouteResponse) -> String {
    let route = &response.route;
    let mut text = format!("{} ({} on {})\n  {}\n\n", route.tier, response.model_id, response.backend, route.reason);
    let _ = writeln!(text, "  {:<8}{:>8}{:>14}", "tier", "right", "cost");
    for RouteTier { tier, right, cost, excluded, .. } in &route.tiers {
        let mark = if *tier == route.tier { "*" } else { " " };
        let excluded = excluded.as_ref().map_or_else(String::new, |why| format!("  {why}"));
        let _ = writeln!(text, "{mark} {tier:<8}{:>6.1} %{:>14}{excluded}", 100.0 * right, format!("${cost:.6}"));
    }
    let _ = writeln!(text);
    for reason in &route.reasons {
        let _ = writeln!(text, "  {reason}");
    }
    if let (Some(routing), Some(worth)) = (route.routing, route.worth) {
        let _ = writeln!(text, "  routing {routing}: a right answer is taken to be worth ${worth:.4}");
    }
    if let (Some(familiarity), Some(router)) = (route.familiarity, &route.router) {
        let percent = 100.0 * familiarity;
        let _ = writeln!(text, "  {percent:.0} % like the prompts that the router knows, version {router}");
    }
    text
}

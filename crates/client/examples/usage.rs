//! What a project has used this month, by model, and what is left of its budget.
//!
//! `cargo run -p claude-code-api-client --example usage -- team-a`

use claude_code_api_client::{Client, Error, Period};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let project = std::env::args().nth(1);
    let report = Client::new()?.usage(project.as_deref(), Period::Month).await?;
    println!("{}, this {}, until {}:", report.project_id, report.period, report.period_end);
    for (model, usage) in &report.by_model {
        println!("  {model}: {} calls, {} tokens, ${:.6}", usage.requests, usage.tokens, usage.cost);
    }
    let left = |left: Option<String>| left.unwrap_or_else(|| "no limit".to_owned());
    println!("  tokens left: {}", left(report.remaining.map(|tokens| tokens.to_string())));
    println!("  money left: {}", left(report.cost_remaining.map(|usd| format!("${usd:.2}"))));
    Ok(())
}

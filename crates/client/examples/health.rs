//! How the service is, part by part. The exit code says it too.
//!
//! `cargo run -p claude-code-api-client --example health`

use std::process::ExitCode;

use claude_code_api_client::{Client, Error, HealthStatus};

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let health = Client::new()?.health().await?;
    println!("{} (version {})", health.status, health.version);
    for (name, part) in &health.services {
        println!("  {name}: {} {}", part.status, part.detail.as_deref().unwrap_or_default());
    }
    Ok(if health.status == HealthStatus::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

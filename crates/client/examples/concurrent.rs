//! Many calls at a time through one client: its clones share their connections, and what it knows of failures.
//!
//! `cargo run -p claude-code-api-client --example concurrent -- 20`

use std::time::Instant;

use claude_code_api_client::{Client, Request};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u32 = std::env::args().nth(1).map_or(Ok(20), |count| count.parse())?;
    let client = Client::new()?;
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for number in 1..=count {
        let client = client.clone();
        calls.spawn(
            async move { client.complete(Request::new(format!("Write {number} in words")).max_tokens(16)).await },
        );
    }
    let mut tokens = 0;
    while let Some(answer) = calls.join_next().await {
        tokens += answer??.usage.total_tokens;
    }
    println!("{count} answers, {tokens} tokens, {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

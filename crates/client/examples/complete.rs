//! One prompt, one answer, and what it took.
//!
//! `cargo run -p claude-code-api-client --example complete -- "Write a haiku about Rust"`

use claude_code_api_client::{Client, Error, Request};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let prompt = std::env::args().nth(1).unwrap_or_else(|| "Write a haiku about Rust".to_owned());
    let client = Client::new()?;
    let answer = client.complete(Request::new(prompt).system("Be brief.").max_tokens(200)).await?;
    println!("{}", answer.content);
    println!("[{}: {} tokens, ${:.6}, {}]", answer.model, answer.usage.total_tokens, answer.cost, answer.stop_reason);
    Ok(())
}

//! An answer as it comes, and what it took, which its end says.
//!
//! `cargo run -p claude-code-api-client --example stream -- "Tell me a story"`

use std::io::Write;

use claude_code_api_client::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prompt = std::env::args().nth(1).unwrap_or_else(|| "Tell me a story".to_owned());
    let mut stream = Client::new()?.stream(prompt).await?;
    while let Some(text) = stream.next().await {
        print!("{}", text?);
        std::io::stdout().flush()?;
    }
    if let Some(response) = stream.response() {
        println!("\n[{} tokens, ${:.6}]", response.usage.total_tokens, response.cost);
    }
    Ok(())
}

//! Streams without async are iterators: a text as it comes, the results of a batch as they come.
//!
//! `cargo run -p claude-code-api-client --example blocking_stream -- "Tell me a story"`

use std::io::Write;

use claude_code_api_client::{Batch, blocking::Client};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prompt = std::env::args().nth(1).unwrap_or_else(|| "Tell me a story".to_owned());
    let client = Client::new()?;
    let mut stream = client.stream(prompt)?;
    for text in &mut stream {
        print!("{}", text?);
        std::io::stdout().flush()?;
    }
    if let Some(response) = stream.response() {
        println!("\n[{} tokens, ${:.6}]", response.usage.total_tokens, response.cost);
    }
    for event in client.batch_stream(Batch::new(["Write a haiku", "Count to 5"]).max_tokens(50))? {
        let result = event?.result;
        println!("{}: {}", result.prompt, result.status);
    }
    Ok(())
}

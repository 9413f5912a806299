//! The results of many prompts as they come, with the progress. Whoever stops reading cancels what is unfinished.
//!
//! `cargo run -p claude-code-api-client --example batch_as_completed -- "Write a haiku" "Count to 5" "List 3 colours"`

use claude_code_api_client::{Batch, Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let prompts: Batch = std::env::args().skip(1).collect();
    let mut stream = Client::new()?.batch_stream(prompts.max_tokens(100)).await?;
    while let Some(event) = stream.next().await {
        let event = event?;
        let totals = stream.totals();
        println!(
            "[{}/{}] {}: {}",
            totals.completed + totals.failed,
            totals.total,
            event.result.prompt,
            event.result.status
        );
    }
    println!("[{} tokens, ${:.6}]", stream.totals().total_tokens, stream.totals().total_cost);
    Ok(())
}

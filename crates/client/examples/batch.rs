//! Many prompts at once, each under a name of its own. A prompt that fails is a result; the others have theirs.
//!
//! `cargo run -p claude-code-api-client --example batch -- "Write a haiku" "Count to 5" "List 3 colours"`

use claude_code_api_client::{Batch, BatchPrompt, BatchStatus, Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let prompts =
        std::env::args().skip(1).zip(1..).map(|(prompt, row)| BatchPrompt::with_id(format!("row-{row}"), prompt));
    let batch = Client::new()?.batch(Batch::new(prompts).max_tokens(100).max_concurrency(8)).await?;
    for result in &batch.results {
        let name = result.id.as_deref().unwrap_or_default();
        match result.status {
            BatchStatus::Completed => println!("{name}: {}", result.content.as_deref().unwrap_or_default()),
            BatchStatus::Failed => println!("{name} failed: {}", result.error.as_deref().unwrap_or_default()),
        }
    }
    println!("[{} answered, {} failed, ${:.6}]", batch.totals.completed, batch.totals.failed, batch.totals.total_cost);
    Ok(())
}

//! Many prompts as a batch that the service stores: this program could end after the first line, and come back by the id.
//!
//! `cargo run -p claude-code-api-client --example batch_job -- "Write a haiku" "Count to 5"`

use claude_code_api_client::{Batch, Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let prompts: Batch = std::env::args().skip(1).collect();
    let batches = Client::new()?.batches();
    let job = batches.create(prompts.max_tokens(100)).await?;
    println!("{} is stored", job.id);
    let job = batches.wait(&job.id, None, |job| println!("{} of {}", job.completed + job.failed, job.total)).await?;
    let mut results = batches.results(&job.id);
    while let Some(event) = results.next().await {
        let result = event?.result;
        println!("{}: {}", result.prompt, result.content.or(result.error).unwrap_or_default());
    }
    println!("[{}: {} answered, {} failed, ${:.6}]", job.status, job.completed, job.failed, job.total_cost);
    Ok(())
}

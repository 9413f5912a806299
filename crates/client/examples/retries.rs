//! How often and how long a call is tried; and a key of its own, so that a program that is restarted does not pay twice.
//!
//! `cargo run -p claude-code-api-client --example retries -- order-1234`, and once more

use std::time::Duration;

use claude_code_api_client::{Client, Error, Request};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let order = std::env::args().nth(1).unwrap_or_else(|| "order-1234".to_owned());
    let client = Client::builder()
        .max_retries(5)
        .retry_delay(Duration::from_millis(200))
        .max_retry_after(Duration::from_secs(10))
        .build()?;
    // The deadline covers every attempt and every wait between them.
    let request = Request::new(format!("Thank the customer for {order}.")).timeout(Duration::from_mins(1));
    let answer = client.complete(request.idempotency_key(format!("thanks-{order}"))).await?;
    let paid = if answer.replayed { "paid for by an earlier run" } else { "paid for now" };
    println!("{}\n[{}, ${:.6}, {paid}]", answer.content, answer.id, answer.cost);
    Ok(())
}

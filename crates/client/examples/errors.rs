//! What can go wrong, and what to do about each. What may pass was tried again before it comes here.
//!
//! `cargo run -p claude-code-api-client --example errors -- "Write a haiku"`

use claude_code_api_client::{Client, Error, Request};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let prompt = std::env::args().nth(1).unwrap_or_else(|| "Write a haiku".to_owned());
    let client = Client::builder().timeout(std::time::Duration::from_secs(2)).build()?;
    match client.complete(Request::new(prompt).max_tokens(50)).await {
        Ok(answer) => println!("{}", answer.content),
        Err(error) => println!("{}\n  {error}", advice(&error)),
    }
    Ok(())
}

fn advice(error: &Error) -> String {
    if let Some(budget) = error.budget() {
        format!("ask for less: of {} {} are {} left", budget.limit, budget.unit, budget.remaining)
    } else if error.is_rate_limited() || error.is_overloaded() {
        format!("come back in {:?}", error.retry_after().unwrap_or_default())
    } else if error.is_timeout() {
        "allow it more time, or ask for less".to_owned()
    } else if error.is_authentication() {
        "set CLAUDE_CODE_API_API_KEY to a key of this service".to_owned()
    } else if error.is_invalid_request() {
        "mend the request; as it stands it fails again".to_owned()
    } else if error.is_connection() {
        "start the service, or set CLAUDE_CODE_API_BASE_URL".to_owned()
    } else {
        format!("tell the operator: {}, {}", error.kind(), error.request_id().unwrap_or("no id"))
    }
}

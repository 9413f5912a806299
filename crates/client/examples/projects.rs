//! Who pays, and how much at most: for all calls of a client, and for one of them.
//!
//! `cargo run -p claude-code-api-client --example projects -- team-a team-b`

use claude_code_api_client::{Client, Error, Request};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut projects = std::env::args().skip(1);
    let ours = projects.next().unwrap_or_else(|| "team-a".to_owned());
    let theirs = projects.next().unwrap_or_else(|| "team-b".to_owned());
    let client = Client::builder().project_id(ours).build()?;

    let answer = client.complete(Request::new("Write a haiku").max_tokens(100)).await?;
    println!("{} paid ${:.6}", answer.project_id, answer.cost);
    let answer = client.complete(Request::new("Write a haiku").max_tokens(100).project_id(theirs)).await?;
    println!("{} paid ${:.6}", answer.project_id, answer.cost);

    match client.complete(Request::new("Write a novel").max_tokens(20_000).max_cost(0.01)).await {
        Err(error) if error.is_budget_exceeded() => println!("nobody paid: {}", error.message()),
        answer => println!("a novel for ${:.6}", answer?.cost),
    }
    Ok(())
}

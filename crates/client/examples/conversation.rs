//! A conversation: each turn is sent with all that was said before it, as the service remembers nothing.
//!
//! `cargo run -p claude-code-api-client --example conversation -- "My name is Ada." "What is my name?"`

use claude_code_api_client::{Client, Error, Message, Request};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::new()?;
    let mut said = Vec::new();
    for turn in std::env::args().skip(1) {
        println!("> {turn}");
        said.push(Message::user(turn));
        let answer = client.complete(Request::conversation(said.clone()).max_tokens(200)).await?;
        println!("{} [{} tokens read]", answer.content, answer.usage.input_tokens);
        said.push(Message::assistant(answer.content));
    }
    Ok(())
}

//! Who drops a future or a stream, stops paying: the service ends the generation.
//!
//! `cargo run -p claude-code-api-client --example cancel -- "Tell me a story that never ends"`

use std::time::Duration;

use claude_code_api_client::{Client, Error, Request};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let prompt = std::env::args().nth(1).unwrap_or_else(|| "Tell me a story that never ends".to_owned());
    let client = Client::new()?;

    let mut stream = client.stream(Request::new(&prompt).max_tokens(2_000)).await?;
    while stream.text().len() < 20 && stream.next().await.transpose()?.is_some() {}
    println!("enough after {:?}", stream.text());
    drop(stream);

    tokio::select! {
        answer = client.complete(Request::new(&prompt).max_tokens(2_000)) => println!("{}", answer?.content),
        () = tokio::time::sleep(Duration::from_millis(500)) => println!("it took too long, and was cancelled"),
    }
    Ok(())
}

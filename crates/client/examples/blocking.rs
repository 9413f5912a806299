//! The same without async: one client for all threads of a program.
//!
//! `cargo run -p claude-code-api-client --example blocking -- "Write a haiku" "Count to 5"`

use std::thread;

use claude_code_api_client::{Error, Period, Request, blocking::Client};

fn main() -> Result<(), Error> {
    let client = Client::new()?;
    let prompts: Vec<String> = std::env::args().skip(1).collect();
    thread::scope(|scope| {
        let ask = |prompt| client.complete(Request::new(prompt).max_tokens(100));
        let threads: Vec<_> = prompts.iter().map(|prompt| scope.spawn(move || ask(prompt))).collect();
        for (prompt, thread) in prompts.iter().zip(threads) {
            println!("{prompt}: {}", thread.join().expect("a call does not panic")?.content);
        }
        Ok::<(), Error>(())
    })?;
    println!("{} tokens today", client.usage(None, Period::Day)?.total_tokens);
    Ok(())
}

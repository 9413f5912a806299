//! `complete`: one prompt in, its whole answer out.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{
    prompt::{Prompt, tell_usage},
    seconds, show_json,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  claude-code-api complete \"Write a haiku about Rust\"
  git diff | claude-code-api complete --model sonnet --system \"Write a commit message.\"
  claude-code-api complete --json --max-cost 0.01 \"Count to 5\" | jq .cost";

#[derive(Args)]
pub(crate) struct Complete {
    #[command(flatten)]
    prompt: Prompt,
    /// Seconds to wait for the answer
    #[arg(long, default_value = "120", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Print the whole response as JSON, and an error too
    #[arg(long)]
    json: bool,
}

impl Complete {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (client, request) = self.prompt.prepare(self.timeout)?;
        let response = client.complete(request)?;
        if self.json {
            show_json(&response)?;
        } else {
            writeln!(io::stdout(), "{}", response.content)?;
            tell_usage(&response);
        }
        Ok(ExitCode::SUCCESS)
    }
}

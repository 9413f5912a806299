//! `stream`: one prompt in, its answer out as it comes. Whatever ends this process closes its connection, which ends the generation.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use claude_code_api_client::{CompleteResponse, Request, TextStream, blocking};
use serde::Serialize;

use super::{
    prompt::{Prompt, tell_usage},
    seconds, with, write_line,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  claude-code-api stream \"Tell me a story\"
  claude-code-api stream --timeout 60 --total-timeout 600 - < prompt.txt > answer.txt
  claude-code-api stream --json \"Count to 5\" | jq -j 'select(.type == \"delta\").text'";

#[derive(Args)]
pub(crate) struct Stream {
    #[command(flatten)]
    prompt: Prompt,
    /// Seconds to wait for the first text, the time in the service's queue left out, and for each one more
    #[arg(long, default_value = "120", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Seconds that the answer may take in all [default: as long as it goes on]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    total_timeout: Option<Duration>,
    /// Print a line of JSON for each event: `start`, `delta`s, and `done` with the whole response
    #[arg(long)]
    json: bool,
}

/// A line of `--json`: an event of the service, its name beside its data.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Start { id: &'a str, model: &'a str, model_id: &'a str },
    Delta { text: &'a str },
    Done(&'a CompleteResponse),
}

impl Stream {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (client, request) = self.prompt.prepare(self.timeout)?;
        let mut stream = client.stream(with(request, self.total_timeout, Request::total_timeout))?;
        if self.json {
            show_events(&mut stream)?;
        } else {
            let shown = show_texts(&mut stream);
            // An answer that broke off ends its line too.
            writeln!(io::stdout())?;
            shown?;
            stream.response().map(tell_usage);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show_texts(stream: &mut blocking::Stream) -> anyhow::Result<()> {
    let mut out = io::stdout();
    for text in stream {
        out.write_all(text?.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn show_events(stream: &mut blocking::Stream) -> anyhow::Result<()> {
    let mut out = io::stdout();
    if let Some(line) = stream.inner().and_then(start) {
        write_line(&mut out, &line)?;
    }
    for text in &mut *stream {
        write_line(&mut out, &Line::Delta { text: &text? })?;
    }
    if let Some(response) = stream.response() {
        write_line(&mut out, &Line::Done(response))?;
    }
    Ok(())
}

fn start(stream: &TextStream) -> Option<Line<'_>> {
    Some(Line::Start { id: stream.id()?, model: stream.model()?, model_id: stream.model_id()? })
}

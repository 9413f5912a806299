//! `batch`: a file of prompts in; a line for each result out, as they complete. What has come stays, however it ends. With a file for
//! the results it is a stored batch ([`Job`]).

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use claude_code_api_client::{Batch as Request, BatchPrompt, BatchTotals, blocking, blocking::BatchStream};

use super::{
    Service, Terms, given,
    job::Job,
    note::Note,
    progress::{self, Progress},
    results::Results,
    seconds, with,
};
use crate::exit::{Exit, Interrupt, Interrupted};

/// For connections and refusals; a batch itself takes as long as it takes.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) const EXAMPLES: &str = "\
Examples:
  claude-code-api batch prompts.jsonl -o results.jsonl
  jq -c '{prompt: .question, id}' rows.jsonl | claude-code-api batch -

  # After Ctrl-C, a failure or a restart: the same again goes on, and runs nothing twice
  claude-code-api batch prompts.jsonl -o results.jsonl

  # At half price, within 24 hours
  claude-code-api batch prompts.jsonl -o results.jsonl --economy

A line of the input is \"a prompt\" or {\"prompt\": \"...\", \"id\": \"row-1\"}.";

#[derive(Args)]
pub(crate) struct Batch {
    /// One prompt a line: a JSON string, or an object with `prompt` and `id`; `-` reads standard input
    #[arg(value_name = "PROMPTS.jsonl")]
    prompts: PathBuf,
    /// Write the results to this file, and not to standard output. The batch then goes on on the service when this program ends
    /// early, and the same command again goes on with it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Run it at half price, within 24 hours: only on models of Anthropic's, and with --output
    #[arg(long, requires = "output", conflicts_with_all = ["max_concurrency", "no_parallel", "timeout"])]
    economy: bool,
    #[command(flatten)]
    terms: Terms,
    /// How many prompts are worked on at a time [default: 16]
    #[arg(long, value_name = "COUNT")]
    max_concurrency: Option<u32>,
    /// Work on one prompt after the other
    #[arg(long, conflicts_with = "max_concurrency")]
    no_parallel: bool,
    /// Seconds that each prompt may take, from when it is its turn [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Print the whole response as JSON at the end, its results in the order of the prompts, and an error as JSON too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: Service,
}

impl Batch {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let prompts = read(&self.prompts)?;
        let total = prompts.len();
        let mut results = Results::open(self.output.as_deref(), self.json)?;
        let note = match &self.output {
            Some(output) if results.lock()? => {
                let asked = (&prompts, &self.terms, self.max_concurrency, self.no_parallel, self.timeout, self.economy);
                Some(Note::beside(output, &asked)?)
            }
            _ if self.economy => bail!("--economy: takes a file to write the results to, and no device or pipe"),
            _ => None,
        };
        let key = self.terms.idempotency_key.clone();
        let request = with(self.terms.batch(prompts), self.max_concurrency, Request::max_concurrency);
        let request = with(request, self.timeout, Request::timeout).economy(self.economy);
        let request = with(request, self.no_parallel.then_some(false), Request::parallel);
        let left = if self.economy { progress::within_a_day } else { progress::at_this_pace };
        let (builder, interrupt) = (self.service.builder(TIMEOUT), Interrupt::listen()?);
        let totals = match note {
            Some(note) => Job { builder, request, total, left, key, note, interrupt }.run(&mut results)?,
            None => stream(&builder.build_blocking()?, request, &mut results, &interrupt)?,
        };
        if !self.json {
            let _ = writeln!(io::stderr(), "{}", progress::line(totals));
        }
        Ok(if totals.completed == totals.total { ExitCode::SUCCESS } else { Exit::PromptsFailed.into() })
    }
}

impl Terms {
    fn batch(self, prompts: Vec<BatchPrompt>) -> Request {
        let request = Request::new(prompts).model(self.model);
        let request = with(request, self.system, Request::system);
        let request = with(request, self.max_tokens, Request::max_tokens);
        let request = with(request, self.max_cost, Request::max_cost);
        let request = with(request, self.project.and_then(given), Request::project_id);
        let request = with(request, self.routing, Request::routing);
        with(request, self.idempotency_key, Request::idempotency_key)
    }
}

/// Results over one connection, or as many as it takes; whoever leaves cancels what is unfinished.
fn stream(
    client: &blocking::Client,
    request: Request,
    results: &mut Results,
    interrupt: &Interrupt,
) -> anyhow::Result<BatchTotals> {
    let mut stream = client.batch_stream_unless(request, Some(&mut || interrupt.came()))?;
    results.begin()?;
    let read = read_results(&mut stream, results, interrupt);
    let totals = totals(&stream);
    results.end(totals)?;
    read.with_context(|| format!("after {} of {} results", totals.completed + totals.failed, totals.total))?;
    Ok(totals)
}

fn read_results(stream: &mut BatchStream, results: &mut Results, interrupt: &Interrupt) -> anyhow::Result<()> {
    let progress = Progress::of(totals(stream).total, progress::at_this_pace, results.cross_the_terminal());
    // The client asks only while it waits, and results may come without a wait.
    while !interrupt.came() {
        let Some(event) = stream.next_unless(Some(&mut || interrupt.came())) else { return Ok(()) };
        let event = event?;
        progress.beside(|| results.take(event))?;
        progress.show(totals(stream));
    }
    Err(Interrupted.into())
}

fn totals(stream: &BatchStream) -> BatchTotals {
    stream.inner().map(claude_code_api_client::BatchStream::totals).unwrap_or_default()
}

fn read(path: &Path) -> anyhow::Result<Vec<BatchPrompt>> {
    let source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot read the prompts from {}", path.display()))?)
    };
    let mut prompts = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(source).lines()) {
        let line = line.with_context(|| format!("cannot read the prompts from {}", path.display()))?;
        if !line.trim().is_empty() {
            let wrong =
                || format!("{}, line {number}: takes a JSON string, or an object with prompt and id", path.display());
            prompts.push(serde_json::from_str(&line).with_context(wrong)?);
        }
    }
    Ok(prompts)
}

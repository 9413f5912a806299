//! `batch`: a file of prompts in; a line for each result out, as they complete.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use claude_code_api_client::{Batch as Request, BatchPrompt, BatchTotals, blocking};

use crate::call::Service;

/// How often the progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// For connections and refusals; a batch itself takes as long as it takes.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Batch {
    /// One prompt a line: a JSON string, or an object with `prompt` and `id`; `-` reads standard input
    #[arg(value_name = "PROMPTS.jsonl")]
    prompts: PathBuf,
    /// Write the results to this file, and not to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// auto, haiku, sonnet, opus, or a concrete model id
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// Instructions that stand above each prompt
    #[arg(long, short)]
    system: Option<String>,
    /// The most tokens to generate for each prompt
    #[arg(long)]
    max_tokens: Option<u32>,
    /// How many prompts are worked on at a time [default: 16]
    #[arg(long, value_name = "COUNT")]
    max_concurrency: Option<u32>,
    /// The project that pays
    #[arg(long, env = "CLAUDE_CODE_API_PROJECT_ID")]
    project: Option<String>,
    /// Print the whole response as JSON, its results in the order of the prompts, instead of a line for each as it completes
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: Service,
}

impl Batch {
    /// Exit code 1 when a prompt has failed.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut request = Request::new(read(&self.prompts)?).model(self.model);
        if let Some(system) = self.system {
            request = request.system(system);
        }
        if let Some(max_tokens) = self.max_tokens {
            request = request.max_tokens(max_tokens);
        }
        if let Some(max_concurrency) = self.max_concurrency {
            request = request.max_concurrency(max_concurrency);
        }
        if let Some(project) = self.project {
            request = request.project_id(project);
        }
        let client = self.service.client(TIMEOUT)?;
        let mut out = output(self.output.as_deref())?;
        let totals = if self.json {
            let response = client.batch(request)?;
            writeln!(out, "{}", serde_json::to_string_pretty(&response)?)?;
            response.totals
        } else {
            as_they_complete(&client, request, &mut out)?
        };
        Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn as_they_complete(client: &blocking::Client, request: Request, out: &mut dyn Write) -> anyhow::Result<BatchTotals> {
    let mut stream = client.batch_stream(request)?;
    let is_shown = io::stderr().is_terminal();
    let mut totals = BatchTotals::default();
    let mut shown_at = None;
    while let Some(event) = stream.next() {
        writeln!(out, "{}", serde_json::to_string(&event?)?)?;
        totals = stream.inner().map(claude_code_api_client::BatchStream::totals).unwrap_or_default();
        if is_shown && shown_at.is_none_or(|at: Instant| at.elapsed() >= SHOW_EVERY) {
            eprint!("\r{}", progress(totals));
            shown_at = Some(Instant::now());
        }
    }
    eprintln!("{}{}", if is_shown { "\r" } else { "" }, progress(totals));
    Ok(totals)
}

fn progress(totals: BatchTotals) -> String {
    let BatchTotals { total, completed, failed, total_tokens, total_cost, .. } = totals;
    format!("[{}/{total}, {failed} failed: {total_tokens} tokens, ${total_cost:.6}]", completed + failed)
}

fn output(file: Option<&Path>) -> anyhow::Result<Box<dyn Write>> {
    Ok(match file {
        None => Box::new(io::stdout()),
        Some(path) => {
            Box::new(File::create(path).with_context(|| format!("cannot write the results to {}", path.display()))?)
        }
    })
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

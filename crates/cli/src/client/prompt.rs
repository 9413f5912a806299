//! One prompt, from the command line or standard input: what `complete` and `stream` have in common.

use std::{
    io::{self, IsTerminal, Read},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use claude_code_api_client::{CompleteResponse, Request, blocking};

use super::{Service, Terms, given, number, with};

#[derive(Args)]
pub(super) struct Prompt {
    /// The prompt; `-` or nothing reads it from standard input
    #[arg(value_name = "PROMPT")]
    text: Option<String>,
    #[command(flatten)]
    terms: Terms,
    /// Randomness, 0 to 1
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    temperature: Option<f64>,
    /// Nucleus sampling, above 0, at most 1
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    top_p: Option<f64>,
    /// A text at which generation ends; may be given several times
    #[arg(long = "stop-sequence", value_name = "TEXT")]
    stop_sequences: Vec<String>,
    /// Seed of the sampler; the embedded model only
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    #[command(flatten)]
    service: Service,
}

impl Prompt {
    /// The client, and what to send.
    pub(super) fn prepare(self, timeout: Duration) -> anyhow::Result<(blocking::Client, Request)> {
        let Terms { model, system, max_tokens, max_cost, project, routing, idempotency_key } = self.terms;
        let client = self.service.client(timeout)?;
        let request = Request::new(read(self.text)?).model(model);
        let request = with(request, system, Request::system);
        let request = with(request, max_tokens, Request::max_tokens);
        let request = with(request, max_cost, Request::max_cost);
        let request = with(request, project.and_then(given), Request::project_id);
        let request = with(request, routing, Request::routing);
        let request = with(request, idempotency_key, Request::idempotency_key);
        let request = with(request, self.temperature, Request::temperature);
        let request = with(request, self.top_p, Request::top_p);
        let request = with(request, self.seed, Request::seed);
        let stop_sequences = Some(self.stop_sequences).filter(|texts| !texts.is_empty());
        Ok((client, with(request, stop_sequences, Request::stop_sequences)))
    }
}

pub(super) fn read(given: Option<String>) -> anyhow::Result<String> {
    match given {
        Some(prompt) if prompt != "-" => Ok(prompt),
        given => {
            let forgotten = given.is_none() && io::stdin().is_terminal();
            ensure!(!forgotten, "no prompt; give it as an argument, or on standard input");
            let mut prompt = String::new();
            io::stdin().read_to_string(&mut prompt).context("cannot read the prompt from standard input")?;
            Ok(prompt)
        }
    }
}

/// Tells who looks on what the answer took.
pub(super) fn tell_usage(response: &CompleteResponse) {
    if io::stderr().is_terminal() {
        let CompleteResponse { model_id, usage, cost, .. } = response;
        eprintln!("[{model_id}: {} tokens in, {} out, ${cost:.6}]", usage.input_tokens, usage.output_tokens);
    }
}

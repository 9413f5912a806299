//! `batches`: those that the service stores, whoever has begun them.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use claude_code_api_client::{BatchJob, BatchTotals};

use super::{Service, given, progress, show_json, write_line};

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
pub(crate) enum Batches {
    /// List the batches of a project, the newest first
    List(List),
    /// Show how far a batch is
    Show(One),
    /// Cancel a batch: what runs is ended, what waits does not begin, and results that came stay
    Cancel(One),
    /// Print the results that a batch has, a line each, in the order in which they came
    Results(Results),
}

#[derive(Args)]
pub(crate) struct List {
    /// The project [default: the key's own]
    #[arg(long, env = "CLAUDE_CODE_API_PROJECT_ID")]
    project: Option<String>,
    /// Only batches that are older than this one
    #[arg(long, value_name = "ID")]
    before: Option<String>,
    /// Print the whole response as JSON, and an error too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: Service,
}

#[derive(Args)]
pub(crate) struct One {
    /// The batch
    id: String,
    /// Print the whole response as JSON, and an error too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: Service,
}

#[derive(Args)]
pub(crate) struct Results {
    /// The batch
    id: String,
    /// Leave out so many, those that came first
    #[arg(long, value_name = "COUNT", default_value = "0")]
    after: u64,
    #[command(flatten)]
    service: Service,
}

impl Batches {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(list) => list.run()?,
            Self::Show(One { id, json, service }) => show(&service.client(TIMEOUT)?.batches().get(&id)?, json)?,
            Self::Cancel(One { id, json, service }) => show(&service.client(TIMEOUT)?.batches().cancel(&id)?, json)?,
            Self::Results(Results { id, after, service }) => {
                for event in service.client(TIMEOUT)?.batches().results_after(&id, after)? {
                    write_line(&mut io::stdout(), &event?)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let batches = self.service.client(TIMEOUT)?.batches();
        let page = batches.list(self.project.and_then(given).as_deref(), self.before.as_deref())?;
        if self.json {
            return show_json(&page);
        }
        page.batches.iter().try_for_each(|job| show(job, false))
    }
}

fn show(job: &BatchJob, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return show_json(job);
    }
    let BatchJob { id, status, created_at, .. } = job;
    let economy = if job.economy { "economy " } else { "" };
    Ok(writeln!(io::stdout(), "{id} {status} since {created_at} {economy}{}", progress::line(BatchTotals::from(job)))?)
}

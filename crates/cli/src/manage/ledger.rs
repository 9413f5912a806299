//! `ledger`: the books, seen and corrected by hand.

use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, Subcommand};
use claude_code_api_service::money::Nanos;
use claude_code_api_wire::{LedgerCorrection, LedgerEntries, LedgerEntry, LedgerReport};

use super::{Folder, Method, lines, part};

#[derive(Subcommand)]
pub(crate) enum LedgerCommand {
    /// Prove every counter equal to the sum of its entries; exit code 1 and every difference when one is not
    Verify,
    /// Show the latest entries
    List(List),
    /// Correct an estimated entry by what the call really came to, as Anthropic's console says
    Resolve(Resolve),
}

#[derive(Args)]
pub(crate) struct List {
    /// Of this project only
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Only what is an estimate: answers that were cut off, and calls whose process died
    #[arg(long)]
    estimated: bool,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

#[derive(Args)]
pub(crate) struct Resolve {
    /// The entry's id, `entry_…`, as `ledger list --estimated` shows it
    id: String,
    /// Tokens in
    #[arg(long, value_name = "TOKENS")]
    input_tokens: u64,
    /// Tokens out
    #[arg(long, value_name = "TOKENS")]
    output_tokens: u64,
    /// What it cost
    #[arg(long, value_name = "USD")]
    usd: Nanos,
}

impl LedgerCommand {
    pub(crate) fn run(self, folder: Folder) -> anyhow::Result<ExitCode> {
        let service = folder.open()?;
        match self {
            Self::Verify => {
                let report: LedgerReport = service.get("/v1/ledger/verify")?;
                let differences = report.differences.join("\n");
                ensure!(report.differences.is_empty(), "the counters are not the sums of the entries:\n{differences}");
                service.show(&report, |report| {
                    let usd = Nanos(report.cost_nanos).usd();
                    let LedgerReport { entries, estimated, overruns, tokens, .. } = report;
                    let overruns =
                        if *overruns > 0 { format!(", {overruns} above what was held") } else { String::new() };
                    format!("ok: {entries} entries, {tokens} tokens, ${usd}; {estimated} estimated{overruns}\n")
                })?;
            }
            Self::List(list) => {
                let project = list.project.map_or_else(String::new, |name| format!("&project_id={}", part(&name)));
                let path = format!("/v1/ledger/entries?estimated={}&limit={}{project}", list.estimated, list.limit);
                let entries: LedgerEntries = service.get(&path)?;
                service.show(&entries, |found| lines(&found.entries, described))?;
            }
            Self::Resolve(resolve) => {
                let path = format!("/v1/ledger/entries/{}/resolve", part(&resolve.id));
                let correction = LedgerCorrection {
                    input_tokens: resolve.input_tokens,
                    output_tokens: resolve.output_tokens,
                    cost_nanos: resolve.usd.0,
                };
                let entry: LedgerEntry = service.send(Method::POST, &path, &correction)?;
                service.show(&entry, |entry| described(entry) + "\n")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An entry on one line.
fn described(entry: &LedgerEntry) -> String {
    let certainty = if entry.exact { "exact" } else { "estimated" };
    let notional = match entry.notional_cost_nanos {
        0 => String::new(),
        nanos => format!(" (${} notional)", Nanos(nanos).usd()),
    };
    format!(
        "{}  {}  {}  {}: {} tokens in, {} out, ${}{notional}; {}, {certainty}, by {}",
        entry.settled_at,
        entry.id,
        entry.project_id,
        entry.model,
        entry.input_tokens,
        entry.output_tokens,
        Nanos(entry.cost_nanos).usd(),
        entry.ended,
        entry.settled_by,
    )
}

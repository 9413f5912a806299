//! `prices`: the table that calls are charged by.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use claude_code_api_service::{config::Config, money::Nanos, price::Row};
use serde_json::json;

#[derive(Args)]
pub(crate) struct Prices {
    /// Settings in TOML, whose `[[prices]]` are added to the published ones
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print it as JSON, in nano-dollars for a million tokens
    #[arg(long)]
    json: bool,
}

impl Prices {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (table, mut out) = (Config::prices_of(self.config.as_deref())?, io::stdout());
        if self.json {
            let rows: Vec<_> = table.rows().iter().map(as_json).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(
            out,
            "USD for a million tokens; a price holds from its date on, and a band for every token of the call.\n"
        )?;
        writeln!(
            out,
            "{:18} {:>16} {:>10} {:>7} {:>7} {:>12} {:>9} {:>10}",
            "model", "prompt up to", "from", "input", "output", "write 5 min", "write 1 h", "cache read"
        )?;
        for row in table.rows() {
            let [input, output, five_minutes, an_hour, read] = columns(row).map(|nanos| Nanos(nanos).usd());
            let (band, from) = (band(row), from(row).unwrap_or_default());
            writeln!(
                out,
                "{:18} {band:>16} {from:>10} {input:>7} {output:>7} {five_minutes:>12} {an_hour:>9} {read:>10}",
                row.model
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn columns(row: &Row) -> [i64; 5] {
    let rate = &row.rate;
    [rate.input, rate.output, rate.cache_write_5m, rate.cache_write_1h, rate.cache_read]
}

fn band(row: &Row) -> String {
    if row.prompt_tokens_max == u64::MAX { "any".to_owned() } else { format!("{} tokens", row.prompt_tokens_max) }
}

fn from(row: &Row) -> Option<String> {
    (row.from.0 > 0).then(|| row.from.rfc3339()[..10].to_owned())
}

fn as_json(row: &Row) -> serde_json::Value {
    let [input, output, five_minutes, an_hour, read] = columns(row);
    let most = (row.prompt_tokens_max != u64::MAX).then_some(row.prompt_tokens_max);
    json!({
        "model": row.model, "prompt_tokens_max": most, "from": from(row), "input": input, "output": output,
        "cache_write_5m": five_minutes, "cache_write_1h": an_hour, "cache_read": read,
    })
}

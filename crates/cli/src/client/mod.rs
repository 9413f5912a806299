//! The client commands, on the client library.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use claude_code_api_client::{ClientBuilder, Routing, blocking};
use serde::Serialize;

pub(crate) mod batch;
pub(crate) mod batches;
pub(crate) mod complete;
pub(crate) mod health;
mod job;
mod note;
mod progress;
mod prompt;
mod results;
pub(crate) mod route;
pub(crate) mod stream;
pub(crate) mod usage;

const HEADING: &str = "The service";

/// Which service to call.
#[derive(Args)]
struct Service {
    /// URL of the service
    #[arg(
        long,
        env = "CLAUDE_CODE_API_BASE_URL",
        hide_env_values = true,
        default_value = "http://localhost:8080",
        value_name = "URL",
        help_heading = HEADING
    )]
    url: String,
    /// Key to send
    #[arg(
        long,
        env = "CLAUDE_CODE_API_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        help_heading = HEADING
    )]
    api_key: Option<String>,
}

impl Service {
    fn client(self, timeout: Duration) -> anyhow::Result<blocking::Client> {
        Ok(self.builder(timeout).build_blocking()?)
    }

    fn builder(self, timeout: Duration) -> ClientBuilder {
        let builder = ClientBuilder::default().timeout(timeout);
        let builder = with(builder, given(self.url), ClientBuilder::base_url);
        with(builder, self.api_key.and_then(given), ClientBuilder::api_key)
    }
}

/// What a prompt is answered by and within, and who pays.
#[derive(Args, Serialize)]
struct Terms {
    /// auto, haiku, sonnet, opus, or a concrete model id
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// Instructions that stand above a prompt
    #[arg(long, short, value_name = "TEXT")]
    system: Option<String>,
    /// The most tokens to generate for a prompt
    #[arg(long, value_name = "COUNT")]
    max_tokens: Option<u32>,
    /// The most that a prompt may cost, in USD
    #[arg(long, value_name = "USD", value_parser = number)]
    max_cost: Option<f64>,
    /// What `auto` may lose to save money: economy, balanced, quality, or per cent [default: what the project or the service has it be]
    #[arg(long, value_name = "economy|balanced|quality|PERCENT", value_parser = Routing::parse)]
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<Routing>,
    /// The project that pays [default: the key's own]
    #[arg(long, env = "CLAUDE_CODE_API_PROJECT_ID")]
    project: Option<String>,
    /// What is sent again under the same key is paid for once [default: a new one]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// What is empty, as a variable of the environment may be, is not given.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The builder with a value, where there is one.
fn with<B, T>(builder: B, value: Option<T>, set: impl FnOnce(B, T) -> B) -> B {
    match value {
        Some(value) => set(builder, value),
        None => builder,
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|seconds| !seconds.is_zero()).ok_or_else(|| "takes seconds above 0".to_owned())
}

/// A number that JSON can say: what is none would be left out, a limit with it.
fn number(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "takes a number".to_owned())
}

/// Prints a whole response.
fn show_json(response: &impl Serialize) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string_pretty(response)?)?;
    Ok(())
}

/// Writes a line of JSON in one piece: whoever ends this program leaves no half of it.
fn write_line(out: &mut dyn Write, value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_above_0_and_numbers_are_some() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["0", "-1", "NaN", "inf", "1e400", "soon", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(number("0.25"), Ok(0.25));
        for wrong in ["NaN", "-inf", "1e400", "much", ""] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }
}

//! `project`, `key` and `ledger`: what an operator does, on a running service or, while none runs, on its data folder.

use std::{io, io::Write, path::PathBuf};

use clap::Args;
use claude_code_api_service::{
    config::data_dir_default,
    operator::{Method, Operator, OperatorError},
};
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;

mod key;
mod ledger;
mod project;

pub(crate) use key::KeyCommand;
pub(crate) use ledger::LedgerCommand;
pub(crate) use project::ProjectCommand;

/// The service's folder.
#[derive(Args)]
pub(crate) struct Folder {
    /// Data folder of the service [default: ~/.local/share/claude-code-api]
    #[arg(
        long,
        env = "CLAUDE_CODE_API_SERVER_DATA_DIR",
        value_name = "DIR",
        global = true,
        help_heading = "The service"
    )]
    data_dir: Option<PathBuf>,
    /// Database of the service, where it keeps its ledger in one: `postgres://user:password@host/database`
    #[arg(
        long,
        env = "CLAUDE_CODE_API_SERVER_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true,
        help_heading = "The service"
    )]
    database_url: Option<SecretString>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

impl Folder {
    fn open(self) -> anyhow::Result<Service> {
        let folder = self.data_dir.unwrap_or_else(data_dir_default);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let operator = runtime.block_on(Operator::of(&folder, self.database_url.as_ref()))?;
        Ok(Service { runtime, operator, json: self.json })
    }
}

/// What a command is carried out on.
struct Service {
    runtime: Runtime,
    operator: Operator,
    json: bool,
}

impl Service {
    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, OperatorError> {
        self.runtime.block_on(self.operator.ask(Method::GET, path, None))
    }

    fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let body = serde_json::to_value(body)?;
        Ok(self.runtime.block_on(self.operator.ask(method, path, Some(body)))?)
    }

    /// Prints an answer: for people, or as it is.
    fn show<T: Serialize>(&self, answer: &T, for_people: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(answer)? + "\n" } else { for_people(answer) };
        io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }
}

/// One line for each.
fn lines<T>(all: &[T], line: impl Fn(&T) -> String) -> String {
    all.iter().map(|one| line(one) + "\n").collect()
}

/// A name as a part of a path: what is no name stays one part, for the service to refuse.
fn part(name: &str) -> String {
    name.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

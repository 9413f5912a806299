//! `key`: who may call.

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use claude_code_api_wire::{Key, KeyList, KeyRequest, NewKey};

use super::{Folder, Method, lines, part};

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and show it, this once
    Create(Create),
    /// Show every key that was made, without the keys themselves
    List,
    /// Refuse a key from now on; running calls go on
    Revoke {
        /// The key's id, `key_…`, as `key list` shows it
        id: String,
    },
}

#[derive(Args)]
#[command(group = ArgGroup::new("scope").required(true).args(["project", "admin"]))]
pub(crate) struct Create {
    /// The project that it spends for; `project set` makes one
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// For every project, and for managing projects and keys over HTTP
    #[arg(long)]
    admin: bool,
    /// What to call it
    #[arg(long)]
    name: Option<String>,
    /// Days until it is refused [default: never]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    expires_in_days: Option<u64>,
}

impl KeyCommand {
    pub(crate) fn run(self, folder: Folder) -> anyhow::Result<ExitCode> {
        let service = folder.open()?;
        match self {
            Self::Create(create) => {
                let request = KeyRequest {
                    name: create.name,
                    project_id: create.project,
                    admin: create.admin,
                    expires_in: create.expires_in_days.map(|days| days * 86_400),
                };
                let new: NewKey = service.send(Method::POST, "/v1/keys", &request)?;
                if !service.json {
                    eprintln!("{}\nKeep it: it is not shown again.", described(&new.about));
                }
                service.show(&new, |new| format!("{}\n", new.key))?;
            }
            Self::List => {
                let list: KeyList = service.get("/v1/keys")?;
                service.show(&list, |list| lines(&list.keys, described))?;
            }
            Self::Revoke { id } => {
                let path = format!("/v1/keys/{}", part(&id));
                let key: Key = service.send(Method::DELETE, &path, &())?;
                service.show(&key, |key| described(key) + "\n")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A key on one line.
fn described(key: &Key) -> String {
    let whose = key.project_id.as_ref().map_or_else(|| "admin".to_owned(), |project| format!("project {project}"));
    let name = if key.name.is_empty() { String::new() } else { format!(", {:?}", key.name) };
    let end = match (&key.revoked_at, &key.expires_at) {
        (Some(at), _) => format!(", revoked {at}"),
        (None, Some(at)) => format!(", expires {at}"),
        (None, None) => String::new(),
    };
    format!("{}  ccak_…{}  {whose}{name}, made {}{end}", key.id, key.hint, key.created_at)
}

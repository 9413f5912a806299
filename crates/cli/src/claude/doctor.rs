//! `claude doctor`: which CLI, how isolated, and whether it does what is relied on.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use claude_code_api_service::{
    backend::claude_code::{
        check::{Outcome, Point},
        find::{Origin, find},
        isolate::Isolation,
        login::Login,
        measure::Measure,
        package::{Package, VERSION},
        self_test,
        slot::Slots,
    },
    config,
    digest::sha256_of,
};
use serde::Serialize;

use super::{
    Folder, unless_interrupted,
    words::{of_check, of_measure, of_origin},
};
use crate::exit::Exit;

#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    folder: Folder,
    /// The CLI [default: the one that `claude install` put in place, else `claude` on the PATH]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CLAUDE_CODE_PATH", value_name = "FILE")]
    claude_code_path: Option<PathBuf>,
    /// Try it as it is used on a login, which is made up here
    #[arg(
        long,
        env = "CLAUDE_CODE_API_SERVER_CLAUDE_CODE_LOGIN",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    claude_code_login: Option<bool>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// What is said, as JSON.
#[derive(Serialize)]
struct Report {
    is_well: bool,
    /// Whether it was tried as it is used on a login.
    on_login: bool,
    program: Program,
    isolation: Vec<Applied>,
    self_test: Vec<Point>,
}

#[derive(Serialize)]
struct Program {
    path: PathBuf,
    origin: Origin,
    version: Option<String>,
    sha256: String,
    is_pinned: bool,
    pinned_version: &'static str,
}

#[derive(Serialize)]
struct Applied {
    measure: Measure,
    in_force: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let as_json = self.json;
        let report = unless_interrupted(self.examine())?;
        let text = if as_json { serde_json::to_string_pretty(&report)? + "\n" } else { for_people(&report) };
        io::stdout().write_all(text.as_bytes())?;
        Ok(if report.is_well { ExitCode::SUCCESS } else { Exit::NotOk.into() })
    }

    async fn examine(self) -> anyhow::Result<Report> {
        let data_dir = self.folder.path();
        let found = find(self.claude_code_path.as_deref(), &data_dir, &config::search_path())?;
        let sha256 = sha256_of(&found.path).with_context(|| format!("cannot read {}", found.path.display()))?;
        let is_pinned = Package::of_this_machine().is_some_and(|package| package.program_sha256 == sha256);
        let slots = Slots::open(&data_dir)
            .with_context(|| format!("cannot use {}; choose another folder with --data-dir", data_dir.display()))?;
        let isolation = Isolation::of_system(&found.path, slots.folder()).context("cannot start a process")?;
        let login = self.claude_code_login.unwrap_or_default().then(Login::made_up);
        let tested = self_test::run_all(&found.path, &slots, &isolation, login.as_ref()).await;
        let passed = tested.points.iter().all(|point| matches!(point.outcome, Outcome::Passed | Outcome::NotSeen(_)));
        let is_well = passed && (is_pinned || found.origin != Origin::Installed);
        let program = Program {
            path: found.path,
            origin: found.origin,
            version: tested.version,
            sha256,
            is_pinned,
            pinned_version: VERSION,
        };
        Ok(Report {
            is_well,
            on_login: login.is_some(),
            program,
            isolation: applied(&isolation),
            self_test: tested.points,
        })
    }
}

fn applied(isolation: &Isolation) -> Vec<Applied> {
    let applied = Measure::ALL.into_iter().map(|measure| {
        let why_not = isolation.missing(measure).map(str::to_owned);
        Applied { measure, in_force: why_not.is_none(), why_not }
    });
    applied.collect()
}

fn for_people(report: &Report) -> String {
    let Program { path, origin, version, is_pinned, sha256, .. } = &report.program;
    let pinned = match (is_pinned, origin) {
        (true, _) => "the pinned program, by its SHA-256".to_owned(),
        (false, Origin::Installed) => {
            format!("NOT the pinned program; SHA-256 {sha256}; run `claude-code-api claude install --force`")
        }
        (false, _) => format!("not the pinned program; SHA-256 {sha256}"),
    };
    let version = version.as_deref().unwrap_or("unknown");
    let program = format!("{}\n  {}\n  version {version}, {pinned}\n", path.display(), of_origin(*origin));
    let isolation = report.isolation.iter().map(|applied| {
        let state = applied.why_not.as_ref().map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
        format!("  {:35} {state}\n", of_measure(applied.measure))
    });
    let self_test = report.self_test.iter().map(|point| {
        let (name, time, outcome) = (of_check(point.check), format!("{} ms", point.time_ms), outcome(&point.outcome));
        format!("  {name:35} {time:>8}  {outcome}\n")
    });
    let on_login = if report.on_login { ", on a login that was made up for it" } else { "" };
    let verdict = if report.is_well { "It does what is relied on." } else { "It CANNOT be relied on." };
    format!(
        "{program}\nIsolation of a worker\n{}\nSelf-test{on_login}\n{}\n{verdict}\n",
        isolation.collect::<String>(),
        self_test.collect::<String>()
    )
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "passed".to_owned(),
        Outcome::Failed(why) => format!("FAILED: {why}"),
        Outcome::NotSeen(why) => format!("not seen: {why}"),
        Outcome::NotTried => "not tried".to_owned(),
    }
}

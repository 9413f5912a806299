//! Backend `claude_code`: the Claude Code CLI, headless. Workers are started ahead, each answers calls of one project, and none reaches
//! anything but the gateway in this process: what goes upstream is the call as the anthropic backend asks it, with its keys; or, on the
//! operator's own [`login`], as the worker does.

use std::{path::Path, sync::Arc, time::Duration};

use claude_code_api_wire::{ServiceHealth, ServiceStatus};
use futures_core::future::BoxFuture;

use super::{Answering, Asked, Backend, Capacity, Cost, Failure, Offer, Prompt, Reason, Spend};
use crate::{config, model::ModelChoice};
use check::Outcome;
use isolate::Isolation;
use login::Login;
use pool::{Kit, Pool};
use slot::Slots;
use upstream::Upstream;

pub mod apart;
pub mod brief;
mod call;
pub mod check;
pub mod find;
pub mod gateway;
pub mod grammar;
pub mod install;
pub mod isolate;
pub mod line;
pub mod login;
pub mod measure;
mod observe;
pub mod package;
mod pool;
mod processes;
mod round;
pub mod self_test;
pub mod slot;
mod slots;
mod start;
mod tee;
mod unpack;
pub mod upstream;
mod user;
pub mod worker;

/// The Claude Code CLI, in a pool of workers.
pub struct ClaudeCode {
    upstream: Upstream,
    pool: Pool,
    settings: config::ClaudeCode,
}

impl ClaudeCode {
    /// Finds the CLI, tries whether it does what is relied on, and begins to start workers. `upstream` answers what they ask.
    ///
    /// # Errors
    /// There is no CLI, or it fails the self-test, in words.
    pub async fn open(settings: &config::ClaudeCode, upstream: Upstream, data_dir: &Path) -> Result<Self, String> {
        let found = find::find(settings.path.as_deref(), data_dir, &config::search_path());
        let program = found.map_err(|error| error.to_string())?.path;
        let slots = Slots::open(data_dir).map_err(|error| {
            format!("cannot use {}: {error}; choose another folder with --data-dir", data_dir.display())
        })?;
        let isolation = Isolation::of_system(&program, slots.folder())
            .map_err(|error| format!("cannot start a process: {error}"))?;
        isolation.log();
        // No word of the real one is told before it is known what the CLI does with one.
        let made_up = upstream.login.as_ref().map(|_| Login::made_up());
        for point in self_test::run_all(&program, &slots, &isolation, made_up.as_ref()).await.points {
            if let Outcome::Failed(why) = point.outcome {
                return Err(format!(
                    "{} does not do what is relied on: {:?}: {why}; `claude-code-api claude doctor` tells more, and \
                     `claude-code-api claude install` puts the right one in place, both with `--data-dir {}`",
                    program.display(),
                    point.check,
                    data_dir.display()
                ));
            }
        }
        let kit = Kit {
            program,
            slots,
            isolation,
            login: upstream.login.clone(),
            workers: settings.workers,
            recycles: upstream.login.is_none() && settings.isolation == config::WorkerIsolation::Project,
        };
        Ok(Self { upstream, pool: Pool::new(kit), settings: settings.clone() })
    }

    async fn answer(&self, model_id: &str, prompt: Prompt) -> Result<Answering, Failure> {
        let brief = self.upstream.brief(model_id, &prompt).map_err(unspent)?;
        let worker = self.pool.take(&prompt.affinity).await?;
        call::answer(self.upstream.clone(), worker, brief, prompt).await
    }
}

fn unspent(reason: Reason) -> Failure {
    Failure { spend: Spend::Unspent, reason }
}

impl Backend for ClaudeCode {
    fn name(&self) -> &'static str {
        "claude_code"
    }

    fn offer(&self, choice: &ModelChoice) -> Option<Offer> {
        let offer = self.upstream.api.offer(choice)?;
        let cost = if self.upstream.login.is_some() { Cost::Notional } else { offer.cost };
        Some(Offer { cost, ..offer })
    }

    fn names(&self) -> Vec<String> {
        self.upstream.api.names()
    }

    fn ids(&self) -> Vec<String> {
        self.upstream.api.ids()
    }

    fn capacity(&self) -> Capacity {
        Capacity { calls_max: self.settings.workers, waiting_max: self.settings.queue_max }
    }

    fn health(&self) -> ServiceHealth {
        let (ready, wrong) = self.pool.health();
        let upstream = self.upstream.api.health();
        let status = if wrong.is_some() { ServiceStatus::Down } else { upstream.status };
        let wrong = wrong.map(|wrong| format!("; the last could not be started: {wrong}")).unwrap_or_default();
        let beyond = upstream.detail.unwrap_or_default();
        ServiceHealth { status, detail: Some(format!("{ready} ready{wrong}; {beyond}")) }
    }

    fn count(&self, model_id: &str, request: Arc<Asked>) -> BoxFuture<'_, Result<u64, Failure>> {
        if self.upstream.login.is_some() {
            let message =
                "tokens cannot be counted on a login of Claude Code, which has no way to ask for that".to_owned();
            let failure = unspent(Reason::Refused { status: 404, message });
            return Box::pin(async { Err(failure) });
        }
        self.upstream.api.count(model_id, request)
    }

    fn count_margin(&self, counted: u64) -> u64 {
        self.upstream.api.count_margin(counted)
    }

    fn call(&self, model_id: &str, prompt: Prompt) -> BoxFuture<'_, Result<Answering, Failure>> {
        let model_id = model_id.to_owned();
        Box::pin(async move { self.answer(&model_id, prompt).await })
    }

    fn ready_in(&self, model_id: &str) -> Duration {
        self.upstream.api.ready_in(model_id)
    }
}

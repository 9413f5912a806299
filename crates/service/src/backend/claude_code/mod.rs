//! Backend `claude_code`: the Claude Code CLI, headless. Workers are started ahead, each answers calls of one project, and none reaches
//! anything but the gateway in this process: what goes upstream is the call as the anthropic backend asks it, with its keys.

use std::{path::Path, sync::Arc, time::Duration};

use claude_code_api_wire::{ServiceHealth, ServiceStatus};
use futures_core::future::BoxFuture;

use super::{Answering, Asked, Backend, Capacity, Failure, Offer, Prompt, Spend};
use crate::{config, model::ModelChoice};
use brief::Brief;
use check::Outcome;
use isolate::Isolation;
use pool::{Kit, Pool};
use slot::Slots;

pub mod brief;
mod call;
pub mod check;
pub mod find;
pub mod gateway;
pub mod grammar;
pub mod install;
pub mod isolate;
pub mod line;
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
mod user;
pub mod worker;

/// The Claude Code CLI, in a pool of workers.
pub struct ClaudeCode {
    upstream: Arc<dyn Backend>,
    pool: Pool,
    settings: config::ClaudeCode,
}

impl ClaudeCode {
    /// Finds the CLI, tries whether it does what is relied on, and begins to start workers. `upstream` answers what they ask.
    ///
    /// # Errors
    /// There is no CLI, or it fails the self-test, in words.
    pub async fn open(
        settings: &config::ClaudeCode,
        upstream: Arc<dyn Backend>,
        data_dir: &Path,
    ) -> Result<Self, String> {
        let found = find::find(settings.path.as_deref(), data_dir, &config::search_path());
        let program = found.map_err(|error| error.to_string())?.path;
        let slots = Slots::open(data_dir).map_err(|error| {
            format!("cannot use {}: {error}; choose another folder with --data-dir", data_dir.display())
        })?;
        let isolation = Isolation::of_system(&program, slots.folder())
            .map_err(|error| format!("cannot start a process: {error}"))?;
        for point in self_test::run_all(&program, &slots, &isolation).await.points {
            if let Outcome::Failed(why) = point.outcome {
                return Err(format!(
                    "{} does not do what is relied on: {:?}: {why}; `claude-code-api claude doctor` tells more, and \
                     `claude-code-api claude install` puts the right one in place",
                    program.display(),
                    point.check
                ));
            }
        }
        let kit = Kit {
            program,
            slots,
            isolation,
            workers: settings.workers,
            recycles: settings.isolation == config::WorkerIsolation::Project,
        };
        Ok(Self { upstream, pool: Pool::new(kit), settings: settings.clone() })
    }

    async fn answer(&self, model_id: &str, prompt: Prompt) -> Result<Answering, Failure> {
        let brief = Brief::of(model_id, &prompt).map_err(|reason| Failure { spend: Spend::Unspent, reason })?;
        let worker = self.pool.take(&prompt.affinity).await?;
        call::answer(Arc::clone(&self.upstream), worker, brief, prompt).await
    }
}

impl Backend for ClaudeCode {
    fn name(&self) -> &'static str {
        "claude_code"
    }

    fn offer(&self, choice: &ModelChoice) -> Option<Offer> {
        self.upstream.offer(choice)
    }

    fn names(&self) -> Vec<String> {
        self.upstream.names()
    }

    fn ids(&self) -> Vec<String> {
        self.upstream.ids()
    }

    fn capacity(&self) -> Capacity {
        Capacity { calls_max: self.settings.workers, waiting_max: self.settings.queue_max }
    }

    fn health(&self) -> ServiceHealth {
        let (ready, wrong) = self.pool.health();
        let upstream = self.upstream.health();
        let status = if wrong.is_some() { ServiceStatus::Down } else { upstream.status };
        let wrong = wrong.map(|wrong| format!("; the last could not be started: {wrong}")).unwrap_or_default();
        let beyond = upstream.detail.unwrap_or_default();
        ServiceHealth { status, detail: Some(format!("{ready} ready{wrong}; {beyond}")) }
    }

    fn count(&self, model_id: &str, request: Arc<Asked>) -> BoxFuture<'_, Result<u64, Failure>> {
        self.upstream.count(model_id, request)
    }

    fn count_margin(&self, counted: u64) -> u64 {
        self.upstream.count_margin(counted)
    }

    fn call(&self, model_id: &str, prompt: Prompt) -> BoxFuture<'_, Result<Answering, Failure>> {
        let model_id = model_id.to_owned();
        Box::pin(async move { self.answer(&model_id, prompt).await })
    }

    fn ready_in(&self) -> Duration {
        self.upstream.ready_in()
    }
}

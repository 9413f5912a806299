//! A backend that could not be opened, where there are others: it is seen, and answers nothing.

use std::{sync::Arc, time::Duration};

use claude_code_api_wire::{ServiceHealth, ServiceStatus};
use futures_core::future::BoxFuture;

use super::{Answering, Asked, Backend, Capacity, Failure, Offer, Prompt, Reason, Spend};
use crate::model::ModelChoice;

/// What is known of it.
pub struct Absent {
    name: &'static str,
    why: String,
}

impl Absent {
    /// One of this name, which was not opened for this reason.
    pub fn new(name: &'static str, why: String) -> Self {
        Self { name, why }
    }

    fn failure(&self) -> Failure {
        let message = format!("is not there: {}", self.why);
        Failure { spend: Spend::Unspent, reason: Reason::Broken { message: message.into(), retryable: false } }
    }
}

impl Backend for Absent {
    fn name(&self) -> &'static str {
        self.name
    }

    fn offer(&self, _: &ModelChoice) -> Option<Offer> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn ids(&self) -> Vec<String> {
        Vec::new()
    }

    fn capacity(&self) -> Capacity {
        Capacity { calls_max: 1, waiting_max: 0 }
    }

    fn health(&self) -> ServiceHealth {
        ServiceHealth { status: ServiceStatus::Down, detail: Some(self.why.clone()) }
    }

    fn count(&self, _: &str, _: Arc<Asked>) -> BoxFuture<'_, Result<u64, Failure>> {
        Box::pin(async { Err(self.failure()) })
    }

    fn count_margin(&self, _: u64) -> u64 {
        0
    }

    fn call(&self, _: &str, _: Prompt) -> BoxFuture<'_, Result<Answering, Failure>> {
        Box::pin(async { Err(self.failure()) })
    }

    fn ready_in(&self, _: &str) -> Duration {
        Duration::ZERO
    }
}

//! Backend `local`: a small instruct model in the process, on llama.cpp. No key, no cost; real generation, token counts,
//! streaming and cancellation. It is a weak model, and every answer names it.
//!
//! [`Local::call`] checks and tokenizes on the caller's side; one thread (`scheduler`) owns the model's context and works
//! on all calls at once.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use claude_code_api_wire::{Message, ServiceHealth, ServiceStatus, StopReason};
use futures_core::future::BoxFuture;
use http::HeaderMap;
use llama_cpp_2::{model::LlamaModel, token::LlamaToken};
use tokio::sync::mpsc;

use super::{Answering, Asked, Backend, Capacity, Cost, Failure, Offer, Prompt, Reason, Spend};
use crate::{config, model::ModelChoice};
use request::Conversation;

mod answer;
mod chat;
mod load;
mod request;
mod scheduler;
mod slot;
mod text;

pub use load::{LoadError, MODEL_FILE, MODEL_SHA256, check_cpu, is_intact, model_path};

/// The most tokens of one call, prompt and answer together.
pub const CONTEXT_TOKENS: u32 = 8_192;

/// The embedded model.
pub struct Local {
    model: Arc<LlamaModel>,
    model_id: String,
    /// `None` once this is being dropped.
    jobs: Option<slot::JobSender>,
    scheduler: Option<JoinHandle<()>>,
    capacity: Capacity,
    context_tokens: u32,
    max_tokens_default: u32,
    /// Bytes of the longest token: a bound on how few tokens a text can have.
    token_bytes_max: usize,
    busy: Arc<scheduler::Busy>,
}

impl Local {
    /// Loads the model at `path` and starts its scheduler thread, which ends when this is dropped.
    pub fn load(path: &Path, settings: &config::Local) -> Result<Self, LoadError> {
        let (llama, model) = load::load(path)?;
        let context_tokens = CONTEXT_TOKENS.min(settings.cache_tokens).min(model.n_ctx_train());
        let token_bytes_max = model.tokens(true).map(|(_, bytes)| bytes.len()).max().unwrap_or(1).max(1);
        let (jobs, coming) = mpsc::unbounded_channel();
        let busy = Arc::new(scheduler::Busy::default());
        let scheduler = scheduler::spawn(scheduler::Setup {
            llama,
            model: Arc::clone(&model),
            threads: settings.threads,
            batch_threads: settings.batch_threads,
            slots: settings.slots,
            cache_tokens: settings.cache_tokens,
            jobs: coming,
            busy: Arc::clone(&busy),
        })?;
        let model_id = load::model_id(path);
        Ok(Self {
            model,
            model_id,
            jobs: Some(jobs),
            capacity: Capacity { calls_max: settings.slots as usize, waiting_max: settings.queue_max },
            context_tokens,
            max_tokens_default: settings.max_tokens_default,
            token_bytes_max,
            busy,
            scheduler: Some(scheduler),
        })
    }

    /// Calls that the model works on now.
    pub fn calls_running(&self) -> usize {
        self.busy.slots.load(Ordering::Relaxed)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // Closing the channel ends the thread; llama.cpp must be done before the process takes its statics down.
        drop(self.jobs.take());
        if let Some(scheduler) = self.scheduler.take() {
            // A scheduler that panicked has said so.
            let _ = scheduler.join();
        }
    }
}

impl Backend for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn offer(&self, choice: &ModelChoice) -> Option<Offer> {
        let fits = match choice {
            ModelChoice::Auto | ModelChoice::Tier(_) => true,
            ModelChoice::Id(id) => *id == self.model_id,
        };
        let model_id = self.model_id.clone();
        let max_tokens_default = self.max_tokens_default;
        fits.then_some(Offer { model_id, tier: None, max_tokens_default, is_embedded: true, cost: Cost::Nothing })
    }

    fn names(&self) -> Vec<String> {
        ["haiku", "sonnet", "opus", &self.model_id].map(str::to_owned).to_vec()
    }

    fn ids(&self) -> Vec<String> {
        vec![self.model_id.clone()]
    }

    fn capacity(&self) -> Capacity {
        self.capacity
    }

    fn health(&self) -> ServiceHealth {
        let status = if self.jobs().is_closed() { ServiceStatus::Down } else { ServiceStatus::Ok };
        ServiceHealth { status, detail: Some(self.model_id.clone()) }
    }

    fn count(&self, _: &str, request: Arc<Asked>) -> BoxFuture<'_, Result<u64, Failure>> {
        Box::pin(async move {
            let conversation = request::read(&request).map_err(unspent)?;
            let tokens = self.tokens(conversation.system, conversation.messages).await.map_err(unspent)?;
            Ok(tokens.len() as u64)
        })
    }

    fn count_margin(&self, _: u64) -> u64 {
        0
    }

    fn call(&self, model_id: &str, prompt: Prompt) -> BoxFuture<'_, Result<Answering, Failure>> {
        let model_id = model_id.to_owned();
        Box::pin(async move {
            let Conversation { system, messages, sampling } = request::read(&prompt.request).map_err(unspent)?;
            let max_tokens = prompt.max_tokens;
            let tokens = self.tokens(system, messages).await.map_err(unspent)?;
            let room = self.context_tokens - u32::try_from(tokens.len()).expect("within the context");
            let (words, reader) = mpsc::unbounded_channel();
            let full = if max_tokens <= room { StopReason::MaxTokens } else { StopReason::ModelContextWindowExceeded };
            let job = slot::Job { model_id, prompt: tokens, tokens_max: max_tokens.min(room), full, sampling, words };
            self.jobs().send(job).map_err(|_| unspent(ended()))?;
            Ok(Answering { headers: HeaderMap::new(), events: Box::pin(answer::Answer::new(reader)) })
        })
    }

    /// What has its turn here is taken at once.
    fn ready_in(&self, _: &str) -> Duration {
        Duration::ZERO
    }
}

fn unspent(reason: Reason) -> Failure {
    Failure { spend: Spend::Unspent, reason }
}

fn ended() -> Reason {
    Reason::Broken { message: "the embedded model has ended".into(), retryable: true }
}

impl Local {
    fn jobs(&self) -> &slot::JobSender {
        self.jobs.as_ref().expect("taken only by drop")
    }

    /// The tokens of a conversation that fits the context with room for at least one token of an answer.
    async fn tokens(&self, system: Option<String>, messages: Vec<Message>) -> Result<Vec<LlamaToken>, Reason> {
        let bytes = messages.iter().map(|message| message.content.len()).sum::<usize>()
            + system.as_ref().map_or(0, String::len);
        let tokens_min = (bytes / self.token_bytes_max).max(messages.len());
        if tokens_min >= self.context_tokens as usize {
            return Err(self.too_long(&format!("at least {tokens_min}")));
        }
        let model = Arc::clone(&self.model);
        // Milliseconds of computing for a long prompt: not on a thread that serves connections.
        let tokenized = tokio::task::spawn_blocking(move || chat::tokens(&model, system.as_deref(), &messages));
        let tokens = tokenized.await.map_err(|_| "the tokenizer panicked".to_owned()).and_then(|tokens| tokens);
        let tokens = tokens.map_err(|message| Reason::Broken { message: message.into(), retryable: true })?;
        if tokens.len() >= self.context_tokens as usize {
            return Err(self.too_long(&tokens.len().to_string()));
        }
        Ok(tokens)
    }

    fn too_long(&self, tokens: &str) -> Reason {
        let context = self.context_tokens;
        let message = format!(
            "prompt: has {tokens} tokens, and {} takes {context} in all, the answer's among them; send a shorter one",
            self.model_id
        );
        Reason::Invalid { field: "prompt".into(), message }
    }
}

//! Settings of the embedded model.

use std::path::PathBuf;

use super::{ConfigError, Settings, layers::Layers};

/// As many sequences as llama.cpp keeps apart in one context.
const LOCAL_SLOTS_MAX: u32 = 64;

/// Settings of the embedded model.
#[derive(Clone, Debug)]
pub struct Local {
    /// The GGUF file, when one was named.
    pub model_path: Option<PathBuf>,
    /// Threads to generate one answer on.
    pub threads: u32,
    /// Threads to read prompts and generate several answers on.
    pub batch_threads: u32,
    /// Calls worked on at a time.
    pub slots: u32,
    /// Calls that may wait.
    pub queue_max: usize,
    /// Tokens held at a time, by all calls together.
    pub cache_tokens: u32,
    /// `max_tokens` of calls that set none.
    pub max_tokens_default: u32,
}

impl Layers<'_> {
    pub(super) fn local(&mut self, given: &Settings, file: &Settings) -> Result<Local, ConfigError> {
        Ok(Local {
            model_path: self.pick_optional("model_path", given.model_path.clone(), file.model_path.clone()),
            threads: self.within("local_threads", given.local_threads, file.local_threads, threads_default, 1..=256)?,
            batch_threads: self.within(
                "local_batch_threads",
                given.local_batch_threads,
                file.local_batch_threads,
                batch_threads_default,
                1..=256,
            )?,
            slots: self.within("local_slots", given.local_slots, file.local_slots, || 16, 1..=LOCAL_SLOTS_MAX)?,
            queue_max: self.within(
                "local_queue_max",
                given.local_queue_max,
                file.local_queue_max,
                || 64,
                1..=1_000_000,
            )?,
            cache_tokens: self.within(
                "local_cache_tokens",
                given.local_cache_tokens,
                file.local_cache_tokens,
                || 16_384,
                256..=1 << 20,
            )?,
            max_tokens_default: self.within(
                "local_max_tokens_default",
                given.local_max_tokens_default,
                file.local_max_tokens_default,
                || 256,
                1..=1_000_000,
            )?,
        })
    }
}

/// The model's threads spin at barriers: for the little work of one token, beside other work, fewer are faster.
fn threads_default() -> u32 {
    (cores() / 2).clamp(1, 4)
}

fn batch_threads_default() -> u32 {
    cores().min(8)
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

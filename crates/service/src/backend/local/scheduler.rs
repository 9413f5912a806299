//! The one thread that owns the model's context. Each step reads one token of every call that is generating and a chunk of
//! one prompt (continuous batching), so that all calls progress together and a cancelled one is gone after one step.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use llama_cpp_2::{
    context::{LlamaContext, params::LlamaContextParams},
    llama_backend::LlamaBackend,
    llama_batch::LlamaBatch,
    model::LlamaModel,
};
use tokio::sync::mpsc::error::TryRecvError;

use super::{
    LoadError,
    slot::{Job, Jobs, Progress, Slot},
};

/// Tokens of prompts read in one step. More read faster, and make a cancellation and every other call wait longer.
const PROMPT_CHUNK_TOKENS: usize = 32;

/// `LLAMA_FLASH_ATTN_TYPE_DISABLED`
const FLASH_ATTENTION_OFF: i32 = 0;

pub(super) struct Setup {
    pub(super) llama: &'static LlamaBackend,
    pub(super) model: Arc<LlamaModel>,
    pub(super) threads: u32,
    pub(super) batch_threads: u32,
    pub(super) slots: u32,
    pub(super) cache_tokens: u32,
    pub(super) jobs: Jobs,
    pub(super) busy: Arc<Busy>,
}

/// What the scheduler is doing, for tests.
#[derive(Default)]
pub(super) struct Busy {
    pub(super) slots: AtomicUsize,
}

/// Starts the thread. It ends when the channel that jobs come by is closed.
pub(super) fn spawn(setup: Setup) -> Result<thread::JoinHandle<()>, LoadError> {
    let (ready, started) = mpsc::channel();
    let run = move || {
        let model = Arc::clone(&setup.model);
        match context(&model, &setup) {
            Ok(context) => {
                let _ = ready.send(Ok(()));
                Scheduler::new(context, &model, setup).run();
            }
            Err(problem) => drop(ready.send(Err(problem))),
        }
    };
    let not_started = |problem: String| LoadError::NotStarted { problem };
    let thread = thread::Builder::new().name("local-model".to_owned()).spawn(run);
    let thread = thread.map_err(|error| not_started(error.to_string()))?;
    started.recv().unwrap_or_else(|_| Err("it died".to_owned())).map_err(not_started)?;
    Ok(thread)
}

fn context<'a>(model: &'a LlamaModel, setup: &Setup) -> Result<LlamaContext<'a>, String> {
    let threads = |count: u32| i32::try_from(count).map_err(|_| "too many threads");
    let batch_tokens = setup.slots + u32::try_from(PROMPT_CHUNK_TOKENS).expect("a small constant");
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(setup.cache_tokens))
        .with_n_batch(batch_tokens)
        .with_n_ubatch(batch_tokens)
        .with_n_seq_max(setup.slots)
        // One cache for all calls: a long one may take what short ones leave.
        .with_kv_unified(true)
        // On a CPU its kernel is slower than plain attention: a prompt of 2,300 tokens took 1.6 times as long with it.
        .with_flash_attention_policy(FLASH_ATTENTION_OFF)
        .with_n_threads(threads(setup.threads)?)
        .with_n_threads_batch(threads(setup.batch_threads)?);
    model.new_context(setup.llama, params).map_err(|error| error.to_string())
}

struct Scheduler<'a> {
    context: LlamaContext<'a>,
    model: &'a LlamaModel,
    /// A slot's place is its sequence in the cache.
    slots: Vec<Option<Slot>>,
    batch: LlamaBatch<'a>,
    cache_tokens: usize,
    jobs: Jobs,
    /// Jobs that have come and wait for room in the cache, in their order.
    waiting: VecDeque<Job>,
    busy: Arc<Busy>,
}

impl<'a> Scheduler<'a> {
    fn new(context: LlamaContext<'a>, model: &'a LlamaModel, setup: Setup) -> Self {
        let slots = setup.slots as usize;
        Self {
            context,
            model,
            slots: std::iter::repeat_with(|| None).take(slots).collect(),
            batch: LlamaBatch::new(slots + PROMPT_CHUNK_TOKENS, 1),
            cache_tokens: setup.cache_tokens as usize,
            jobs: setup.jobs,
            waiting: VecDeque::new(),
            busy: setup.busy,
        }
    }

    fn run(mut self) {
        while self.take_in() {
            self.drop_abandoned();
            self.admit();
            if self.is_idle() {
                continue;
            }
            if let Err(problem) = self.step() {
                tracing::error!(problem, "the embedded model failed; the calls in it are ended");
                self.fail_all(&problem);
            }
        }
    }

    /// Takes in the jobs that have come, and waits for one where there is nothing else to do; false when none will come any more.
    fn take_in(&mut self) -> bool {
        if self.is_idle() {
            self.waiting.extend(self.jobs.blocking_recv());
        }
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.slots.iter().all(Option::is_none)
    }

    /// Gives jobs their slots, first come, first served. Nothing overtakes the first: a large call is not starved by small ones.
    fn admit(&mut self) {
        for place in 0..self.slots.len() {
            if self.slots[place].is_some() {
                continue;
            }
            let taken: usize = self.slots.iter().flatten().map(Slot::cache_tokens).sum();
            let free = self.cache_tokens - taken;
            let Some(job) = self.waiting.pop_front_if(|job| job.cache_tokens() <= free) else { break };
            self.slots[place] = Some(Slot::begin(job, self.model));
        }
        self.count();
    }

    fn drop_abandoned(&mut self) {
        self.waiting.retain(|job| !job.is_abandoned());
        for place in 0..self.slots.len() {
            if self.slots[place].as_ref().is_some_and(Slot::is_abandoned) {
                self.vacate(place);
            }
        }
    }

    /// Reads one batch and picks the tokens that follow.
    fn step(&mut self) -> Result<(), String> {
        let picks = self.fill()?;
        self.context.decode(&mut self.batch).map_err(|error| error.to_string())?;
        for (place, index) in picks {
            let slot = self.slots[place].as_mut().expect("filled from this slot");
            let context = &self.context;
            if slot.pick(self.model, |sampler| sampler.sample(context, index)) == Progress::Ended {
                self.vacate(place);
            }
        }
        Ok(())
    }

    /// Fills the batch; returns whose logits will stand where in it.
    fn fill(&mut self) -> Result<Vec<(usize, i32)>, String> {
        self.batch.clear();
        let mut picks = Vec::with_capacity(self.slots.len());
        let mut prompt_tokens = PROMPT_CHUNK_TOKENS;
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            let sequence = [i32::try_from(place).expect("few slots")];
            let mut add = |token, position: usize, logits| {
                let position = i32::try_from(position).expect("within the context");
                self.batch.add(token, position, &sequence, logits).map_err(|error| error.to_string())
            };
            if let Some((token, position)) = slot.next_token() {
                add(token, position, true)?;
            } else if prompt_tokens > 0 {
                let (tokens, begin) = slot.read_prompt(prompt_tokens);
                prompt_tokens -= tokens.len();
                let (chunk, last) = (tokens.to_vec(), tokens.len().saturating_sub(1));
                let complete = slot.has_read_prompt();
                for (offset, token) in chunk.into_iter().enumerate() {
                    add(token, begin + offset, complete && offset == last)?;
                }
                if !complete {
                    continue;
                }
            } else {
                continue;
            }
            picks.push((place, self.batch.n_tokens() - 1));
        }
        Ok(picks)
    }

    fn vacate(&mut self, place: usize) {
        self.slots[place] = None;
        let sequence = u32::try_from(place).expect("few slots");
        self.context.clear_kv_cache_seq(Some(sequence), None, None).expect("a small number");
        self.count();
    }

    fn fail_all(&mut self, problem: &str) {
        for slot in self.slots.iter_mut().filter_map(Option::take) {
            slot.fail(problem.to_owned());
        }
        self.context.clear_kv_cache();
        self.count();
    }

    fn count(&self) {
        self.busy.slots.store(self.slots.iter().flatten().count(), Ordering::Relaxed);
    }
}

//! One call on the embedded model: a [`Job`] until there is room for it in the cache, then in a [`Slot`].

use claude_code_api_wire::StopReason;
use llama_cpp_2::{model::LlamaModel, sampling::LlamaSampler, token::LlamaToken};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::{answer::Word, request::Sampling, text::Text};
use crate::{
    backend::{Failure, Reason, Spend},
    usage::Usage,
};

/// Where the words of a call go. Unbounded, yet bounded: a call has at most as many words as its context has tokens.
pub(super) type WordSender = UnboundedSender<Result<Word, Failure>>;

/// Where calls go. Unbounded, yet bounded: a call has its turn before it comes here, and one that nobody waits for any more is
/// dropped within a step.
pub(super) type JobSender = UnboundedSender<Job>;
pub(super) type Jobs = UnboundedReceiver<Job>;

/// A call as the model is given it.
pub(super) struct Job {
    pub(super) model_id: String,
    pub(super) prompt: Vec<LlamaToken>,
    /// The most tokens to generate, and the reason to give when they are.
    pub(super) tokens_max: u32,
    pub(super) full: StopReason,
    pub(super) sampling: Sampling,
    pub(super) words: WordSender,
}

impl Job {
    /// Nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.words.is_closed()
    }

    /// Places in the cache that it may come to need.
    pub(super) fn cache_tokens(&self) -> usize {
        self.prompt.len() + self.tokens_max as usize
    }
}

/// A call that is worked on.
pub(super) struct Slot {
    job: Job,
    sampler: LlamaSampler,
    text: Text,
    /// Tokens of the prompt that are in the cache.
    prompt_read: usize,
    output_tokens: u32,
    /// The token that was picked last and is to be read next.
    next: Option<LlamaToken>,
}

/// Whether a slot goes on.
#[derive(PartialEq, Eq)]
pub(super) enum Progress {
    Goes,
    Ended,
}

impl Slot {
    pub(super) fn begin(job: Job, model: &LlamaModel) -> Self {
        let sampler = sampler(&job.sampling, model);
        let text = Text::new(job.sampling.stop_sequences.clone());
        let slot = Self { sampler, text, prompt_read: 0, output_tokens: 0, next: None, job };
        slot.send(Word::Start { model_id: slot.job.model_id.clone(), input_tokens: slot.job.prompt.len() as u64 });
        slot
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.job.is_abandoned()
    }

    pub(super) fn cache_tokens(&self) -> usize {
        self.job.cache_tokens()
    }

    /// The token to read next and its position, when the prompt has been read.
    pub(super) fn next_token(&self) -> Option<(LlamaToken, usize)> {
        // The last token picked is not in the cache yet.
        self.next.map(|token| (token, self.job.prompt.len() + self.output_tokens as usize - 1))
    }

    /// The next tokens of the prompt, with the position of the first; moves on past them.
    pub(super) fn read_prompt(&mut self, tokens_max: usize) -> (&[LlamaToken], usize) {
        let begin = self.prompt_read;
        self.prompt_read = self.job.prompt.len().min(begin + tokens_max);
        (&self.job.prompt[begin..self.prompt_read], begin)
    }

    pub(super) fn has_read_prompt(&self) -> bool {
        self.prompt_read == self.job.prompt.len()
    }

    /// Picks the next token from the logits at `index`, and tells the reader what it adds.
    pub(super) fn pick(&mut self, model: &LlamaModel, pick: impl FnOnce(&mut LlamaSampler) -> LlamaToken) -> Progress {
        let token = pick(&mut self.sampler);
        let vocab = model.vocab();
        if vocab.is_eog(token) {
            return self.end(StopReason::EndTurn);
        }
        self.next = Some(token);
        self.output_tokens += 1;
        let piece = self.text.push(&vocab.token_to_piece(token, false, None));
        self.send_text(piece.text);
        if piece.stopped.is_some() {
            return self.say_end(StopReason::StopSequence, piece.stopped);
        }
        if self.output_tokens >= self.job.tokens_max { self.end(self.job.full) } else { Progress::Goes }
    }

    /// The model broke.
    pub(super) fn fail(self, message: String) {
        let failure = Failure {
            spend: Spend::Spent(self.usage()),
            reason: Reason::Broken { message: message.into(), retryable: true },
        };
        // A reader that has gone needs no answer.
        let _ = self.job.words.send(Err(failure));
    }

    fn end(&mut self, stop_reason: StopReason) -> Progress {
        let rest = self.text.finish();
        self.send_text(rest);
        self.say_end(stop_reason, None)
    }

    fn say_end(&self, stop_reason: StopReason, stop_sequence: Option<String>) -> Progress {
        self.send(Word::End { stop_reason, stop_sequence, usage: self.usage() });
        Progress::Ended
    }

    fn send_text(&self, text: String) {
        if !text.is_empty() {
            self.send(Word::Text(text));
        }
    }

    fn send(&self, word: Word) {
        // A reader that has gone is noticed before the next step.
        let _ = self.job.words.send(Ok(word));
    }

    fn usage(&self) -> Usage {
        Usage {
            input_tokens: self.job.prompt.len() as u64,
            output_tokens: self.output_tokens.into(),
            ..Usage::default()
        }
    }
}

const TEMPERATURE_DEFAULT: f64 = 0.2;
const TOP_P_DEFAULT: f64 = 0.9;
/// Picking among the best 40 changes next to nothing at this temperature and saves sorting the whole vocabulary.
const TOP_K: i32 = 40;
const REPEAT_PENALTY: f32 = 1.1;
const REPEAT_WINDOW_TOKENS: i32 = 64;

#[expect(clippy::cast_possible_truncation, reason = "sampling in f32 is what llama.cpp does")]
fn sampler(sampling: &Sampling, model: &LlamaModel) -> LlamaSampler {
    let temperature = sampling.temperature.unwrap_or(TEMPERATURE_DEFAULT) as f32;
    let penalties = LlamaSampler::penalties(model.n_vocab(), REPEAT_WINDOW_TOKENS, REPEAT_PENALTY, 0.0, 0.0);
    if temperature == 0.0 {
        return LlamaSampler::chain_simple([penalties, LlamaSampler::greedy()]);
    }
    let top_p = sampling.top_p.unwrap_or(TOP_P_DEFAULT) as f32;
    let seed = sampling.seed.unwrap_or_else(random_seed);
    LlamaSampler::chain_simple([
        penalties,
        LlamaSampler::top_k(TOP_K),
        LlamaSampler::top_p(top_p, 1),
        LlamaSampler::temp(temperature),
        LlamaSampler::dist(seed),
    ])
}

/// The end of a UUID of version 7 is random.
fn random_seed() -> u32 {
    let [.., a, b, c, d] = uuid::Uuid::now_v7().into_bytes();
    u32::from_le_bytes([a, b, c, d])
}

//! Whose outcomes a ranking is judged on, and what it is compared with.

use super::curve::Trial;
use crate::{
    Reading,
    data::{Row, Source},
    train::{Example, examples::claude_mark},
};

/// A weak and a strong model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) name: &'static str,
    models: Models,
    /// The tiers whose difference is the score.
    tiers: [usize; 2],
}

#[derive(Clone, Copy, Debug)]
enum Models {
    /// By the beginnings of their names.
    Named([&'static str; 2]),
    /// The shares of all that stand for a small and for a large tier.
    Sizes,
}

pub(super) const PAIRS: [Pair; 4] = [
    Pair { name: "Claude 3 haiku → opus", models: Models::Named(["claude-3-haiku", "claude-3-opus"]), tiers: [0, 2] },
    Pair {
        name: "Claude 3.5 haiku → sonnet",
        models: Models::Named(["claude-3-5-haiku", "claude-3-5-sonnet"]),
        tiers: [0, 1],
    },
    Pair { name: "Mixtral → GPT-4", models: Models::Named(["mistralai/Mixtral-8x7B", "gpt-4-1106"]), tiers: [0, 2] },
    Pair { name: "small → large, all vendors", models: Models::Sizes, tiers: [0, 2] },
];

impl Pair {
    /// How the router ranks this row, and what came of it; `None` where the pair was not asked.
    pub(super) fn trial(&self, source: &Source, row: &Row, example: &Example, reading: &Reading) -> Option<Trial> {
        let [weak, strong] = self.outcome(source, row, example)?;
        let score = reading.right[self.tiers[1]] - reading.right[self.tiers[0]];
        Some(Trial { score, weak, strong, group: example.group })
    }

    fn outcome(&self, source: &Source, row: &Row, example: &Example) -> Option<[f64; 2]> {
        match self.models {
            Models::Named([weak, strong]) => {
                let mark = |model| claude_mark(source, row, model).map(|right| f64::from(u8::from(right)));
                Some([mark(weak)?, mark(strong)?])
            }
            Models::Sizes => {
                let [small, large] = example.targets;
                (small.weight > 0.0 && large.weight > 0.0).then_some([small.share, large.share])
            }
        }
    }
}

/// A router that takes longer prompts for harder.
pub(super) fn length_score(prompt: &str) -> f64 {
    prompt.len() as f64
}

/// A router of keywords: what asks for a list or the like goes to haiku, the rest to sonnet.
pub(super) fn keyword_score(prompt: &str) -> f64 {
    const EASY: [&str; 10] =
        ["list", "what is", "define", "translate", "summarize", "count", "name the", "hello", "simple", "format"];
    const HARD: [&str; 8] = ["analyze", "explain", "compare", "design", "implement", "evaluate", "debug", "refactor"];
    let prompt = prompt.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| prompt.contains(word));
    if has(&EASY) && !has(&HARD) { 0.0 } else { 1.0 }
}

//! Whose outcomes a ranking is judged on, and what it is compared with.

use super::{curve::Trial, predict::Predicted};
use crate::{
    data::{Row, Source},
    train::{
        Example,
        examples::{claude_mark, share},
        sizes::Size,
    },
};

/// A weak and a strong model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) name: &'static str,
    models: Models,
    score: Score,
}

/// What ranks the prompts: a difference of chances.
#[derive(Clone, Copy, Debug)]
enum Score {
    /// Of two tiers, as a caller is told them.
    Tiers(usize, usize),
    /// Of the two heads: other vendors' models are no tiers of Claude's, whose levels the chances of tiers are fitted to.
    Heads,
}

#[derive(Clone, Copy, Debug)]
enum Models {
    /// By the beginnings of their names.
    Named([&'static str; 2]),
    /// The shares of all that stand for a small and for a large tier.
    Sizes,
}

pub(super) const PAIRS: [Pair; 4] = [
    Pair {
        name: "Claude 3 haiku → opus",
        models: Models::Named(["claude-3-haiku", "claude-3-opus"]),
        score: Score::Tiers(0, 2),
    },
    Pair {
        name: "Claude 3.5 haiku → sonnet",
        models: Models::Named(["claude-3-5-haiku", "claude-3-5-sonnet"]),
        score: Score::Tiers(0, 1),
    },
    Pair {
        name: "Mixtral → GPT-4",
        models: Models::Named(["mistralai/Mixtral-8x7B", "gpt-4-1106"]),
        score: Score::Heads,
    },
    Pair { name: "small → large, all vendors", models: Models::Sizes, score: Score::Heads },
];

impl Pair {
    /// How the router ranks this row, and what came of it; `None` where the pair was not asked.
    pub(super) fn trial(&self, source: &Source, row: &Row, example: &Example, predicted: &Predicted) -> Option<Trial> {
        let [weak, strong] = self.outcome(source, row)?;
        let score = match self.score {
            Score::Tiers(weak, strong) => predicted.reading.right[strong] - predicted.reading.right[weak],
            Score::Heads => predicted.heads[1] - predicted.heads[0],
        };
        Some(Trial { score, weak, strong, group: example.group })
    }

    fn outcome(&self, source: &Source, row: &Row) -> Option<[f64; 2]> {
        match self.models {
            Models::Named([weak, strong]) => {
                let mark = |model| claude_mark(source, row, model).map(|right| f64::from(u8::from(right)));
                Some([mark(weak)?, mark(strong)?])
            }
            Models::Sizes => Some([share(source, row, Size::Small)?, share(source, row, Size::Large)?]),
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

//! What a choice should not hang on, and how long it takes.

use std::time::Instant;

use serde::Serialize;

use super::Prices;
use crate::{Dial, Facts, Router, decide::decide, train::examples::tokens};

/// How many choices change when a prompt is changed in a way that leaves its task alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flips {
    /// What is changed.
    pub change: &'static str,
    /// The share of choices that differ.
    pub share: f64,
}

/// How long a reading takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Characters of the prompts.
    pub chars: usize,
    /// Microseconds of half of them, and of 99 in 100.
    pub p50_us: f64,
    /// See `p50_us`.
    pub p99_us: f64,
}

type Change = (&'static str, fn(&str) -> String);

const CHANGES: [Change; 4] = [
    ("blank lines added", |prompt| format!("\n\n{}\n\n", prompt.replace('\n', "\n\n"))),
    ("\"Please\" in front", |prompt| format!("Please {prompt}")),
    ("all in lower case", str::to_lowercase),
    ("all in upper case", str::to_uppercase),
];

pub(super) fn flips(router: &Router, prompts: &[&str], prices: &Prices) -> Vec<Flips> {
    let lambda = router.lambda(Dial::BALANCED, |row| prices.costs(row.input_tokens as f64, row.output_tokens));
    let tier = |prompt: &str| {
        let reading = router.read(prompt, &Facts::default());
        decide(reading.right, prices.costs(tokens(prompt), reading.output_tokens), [true; 3], lambda)
    };
    let share = |change: fn(&str) -> String| {
        let flipped = prompts.iter().filter(|prompt| tier(prompt) != tier(&change(prompt))).count();
        flipped as f64 / prompts.len().max(1) as f64
    };
    CHANGES.iter().map(|(name, change)| Flips { change: name, share: share(*change) }).collect()
}

pub(super) fn latencies(router: &Router, prompts: &[&str]) -> Vec<Latency> {
    [100, 1_000, 4_000, 16_000].into_iter().map(|chars| latency(router, prompts, chars)).collect()
}

/// Prompts of this length are made of the folder's, one after the other.
fn latency(router: &Router, prompts: &[&str], chars: usize) -> Latency {
    const READINGS: usize = 2_000;
    let mut source = prompts.iter().cycle().flat_map(|prompt| prompt.chars().chain(['\n']));
    let mut times: Vec<f64> = (0..READINGS)
        .map(|_| {
            let prompt: String = source.by_ref().take(chars).collect();
            let begun = Instant::now();
            std::hint::black_box(router.read(std::hint::black_box(&prompt), &Facts::default()));
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    Latency { chars, p50_us: times[READINGS / 2], p99_us: times[READINGS * 99 / 100] }
}

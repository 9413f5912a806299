//! What is not about right and wrong: how long answers are, and what authors think.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Judged;

/// How well the lengths of a tier's answers are expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lengths {
    /// The tier.
    pub tier: &'static str,
    /// Answers whose tokens are known.
    pub answers: usize,
    /// Half of them have at most so many times the tokens expected, and at least that part of them.
    pub factor: f64,
}

/// What is expected of prompts that an author has given a tier. An opinion: nothing is trained on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Opinion {
    /// The author's tier.
    pub tier: String,
    /// Prompts that have it.
    pub prompts: usize,
    /// The mean chance of haiku.
    pub haiku: f64,
}

impl Judged<'_> {
    pub(super) fn lengths(&self) -> Vec<Lengths> {
        let of_tier = |(tier, name)| {
            let rows = (0..self.folder.sources.len()).flat_map(|source| self.rows(source));
            let off = rows.filter_map(|(_, example, predicted)| {
                let tokens: f64 = example.output_tokens[tier]?;
                Some(libm::fabs(libm::log(tokens / predicted.reading.output_tokens[tier])))
            });
            let mut off: Vec<f64> = off.collect();
            off.sort_by(f64::total_cmp);
            let median = off.get(off.len() / 2)?;
            Some(Lengths { tier: name, answers: off.len(), factor: libm::exp(*median) })
        };
        ["haiku", "sonnet", "opus"].into_iter().enumerate().filter_map(of_tier).collect()
    }

    pub(super) fn opinions(&self) -> Vec<Opinion> {
        let mut tiers: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
        for (at, source) in self.folder.sources.iter().enumerate() {
            for (row, _, predicted) in self.rows(at) {
                if let Some(tier) = &source.rows[row].tier {
                    let (prompts, haiku) = tiers.entry(tier).or_default();
                    *prompts += 1;
                    *haiku += predicted.reading.right[0];
                }
            }
        }
        let opinion = |(tier, (prompts, haiku)): (&str, (usize, f64))| Opinion {
            tier: tier.to_owned(),
            prompts,
            haiku: haiku / prompts as f64,
        };
        tiers.into_iter().map(opinion).collect()
    }
}

//! Sight: the tiers as they are seen for one prompt, and which of them is worth its price.

use claude_code_api_router::decide::decide;
use claude_code_api_wire::RouteTier;

use crate::{
    model::{TIERS, Tier},
    price::Rate,
};

/// What is expected of each tier.
#[derive(Clone)]
pub(super) struct Sight {
    /// How probable a right answer is.
    pub(super) right: [f64; 3],
    /// In USD.
    pub(super) cost: [f64; 3],
    /// Why one may not be chosen.
    pub(super) excluded: [Option<String>; 3],
}

impl Sight {
    pub(super) fn allows(&self, tier: Tier) -> bool {
        self.excluded[tier as usize].is_none()
    }

    /// The one that is worth its price, where a dollar has to bring so many right answers.
    pub(super) fn best(&self, lambda: f64) -> Option<Tier> {
        decide(self.right, self.cost, TIERS.map(|tier| self.allows(tier)), lambda)
    }

    /// This one, and then those that cost less, the best first: what takes its place must not need more room in a budget.
    pub(super) fn from(&self, first: Tier, lambda: f64) -> Vec<Tier> {
        let is_cheaper = |tier: Tier| self.allows(tier) && self.cost[tier as usize] < self.cost[first as usize];
        let (mut left, mut tiers) = (TIERS.map(is_cheaper), vec![first]);
        while let Some(next) = decide(self.right, self.cost, left, lambda) {
            left[next as usize] = false;
            tiers.push(next);
        }
        tiers
    }

    pub(super) fn shown(&self) -> Vec<RouteTier> {
        let shown = |tier: Tier| RouteTier {
            tier: tier.as_str().to_owned(),
            right: self.right[tier as usize],
            cost: self.cost[tier as usize],
            excluded: self.excluded[tier as usize].clone(),
        };
        TIERS.map(shown).into()
    }

    /// Why this one is best, in words.
    pub(super) fn reason(&self, best: Tier) -> String {
        let percent = |tier: Tier| 100.0 * self.right[tier as usize];
        let is_next = |tier: &Tier| self.allows(*tier) && self.cost[*tier as usize] < self.cost[best as usize];
        let likely = percent(best);
        match TIERS.into_iter().rev().find(is_next) {
            Some(next) => format!(
                "right with a probability of {likely:.0} %, where {} is with one of {:.0} %: worth its price",
                next.as_str(),
                percent(next)
            ),
            None if TIERS.into_iter().any(|tier| tier > best && self.allows(tier)) => format!(
                "right with a probability of {likely:.0} %: what a stronger one would add is not worth its price"
            ),
            None => "no other may be chosen".to_owned(),
        }
    }
}

/// What so many tokens cost at this rate, in USD: an expectation, and no bill.
#[expect(clippy::cast_precision_loss, reason = "an expectation, and no bill")]
pub(super) fn usd(rate: &Rate, input_price: i64, input_tokens: u64, output_tokens: f64) -> f64 {
    const NANOS: f64 = 1e9;
    const TOKENS: f64 = 1e6;
    (input_tokens as f64 * input_price as f64 + output_tokens * rate.output as f64) / TOKENS / NANOS
}

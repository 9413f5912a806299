//! What routing saves against always-opus, for so much accuracy: by the router, by a mix that looks at no prompt, by one who knows the
//! outcomes.

use serde::Serialize;

use crate::decide::{decide, exchanges};

/// One prompt with its outcomes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// As predicted.
    pub(super) right: [f64; 3],
    pub(super) cost: [f64; 3],
    /// As it came; a tier that was not asked is no candidate.
    pub(super) was_right: [Option<bool>; 3],
    pub(super) was_cost: [f64; 3],
}

/// The share of always-opus' bill that is saved at a share of its accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Saving {
    /// Of always-opus' right answers.
    pub accuracy: f64,
    /// By the router, at the λ that does it.
    pub router: f64,
    /// By the best mix of tiers that looks at no prompt.
    pub mix: f64,
    /// By one who knows which tier will be right.
    pub oracle: f64,
}

/// What a dial did: what it may lose, what it lost and what it saved, as shares of always-opus.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Turned {
    /// The dial's loss.
    pub allowed: f64,
    /// What was lost.
    pub lost: f64,
    /// What was saved.
    pub saved: f64,
}

/// Right answers, and what they cost.
#[derive(Clone, Copy, Debug)]
struct Sum {
    right: f64,
    cost: f64,
}

pub(super) fn saving(calls: &[Call], accuracy: f64) -> Saving {
    let opus = always(calls, 2);
    let knowing: Vec<Call> = calls
        .iter()
        .map(|call| Call {
            right: call.was_right.map(|right| f64::from(u8::from(right == Some(true)))),
            cost: call.was_cost,
            ..*call
        })
        .collect();
    let saved = |sum: Option<Sum>| 1.0 - sum.map_or(1.0, |sum| sum.cost / opus.cost);
    let wanted = accuracy * opus.right;
    Saving {
        accuracy,
        router: saved(cheapest(calls, wanted)),
        mix: saved(mix(calls, wanted)),
        oracle: saved(cheapest(&knowing, wanted)),
    }
}

/// What comes of choosing at each call's λ.
pub(super) fn turned(calls: &[(Call, f64)], allowed: f64) -> Turned {
    let opus: Vec<Call> = calls.iter().map(|(call, _)| *call).collect();
    let opus = always(&opus, 2);
    let sum = calls.iter().fold(Sum { right: 0.0, cost: 0.0 }, |sum, (call, lambda)| sum.and(chosen(call, *lambda)));
    Turned { allowed, lost: 1.0 - sum.right / opus.right, saved: 1.0 - sum.cost / opus.cost }
}

impl Sum {
    fn and(self, other: Self) -> Self {
        Self { right: self.right + other.right, cost: self.cost + other.cost }
    }
}

/// What a tier has done; opus, where it was not asked.
fn of(call: &Call, tier: usize) -> Sum {
    let tier = if call.was_right[tier].is_some() { tier } else { 2 };
    Sum { right: f64::from(u8::from(call.was_right[tier] == Some(true))), cost: call.was_cost[tier] }
}

fn always(calls: &[Call], tier: usize) -> Sum {
    calls.iter().fold(Sum { right: 0.0, cost: 0.0 }, |sum, call| sum.and(of(call, tier)))
}

fn chosen(call: &Call, lambda: f64) -> Sum {
    let tier = decide(call.right, call.cost, call.was_right.map(|right| right.is_some()), lambda);
    of(call, tier.map_or(2, |tier| tier as usize))
}

/// The cheapest that any λ comes to with so many right.
fn cheapest(calls: &[Call], wanted: f64) -> Option<Sum> {
    const LAMBDAS: usize = 400;
    let mut steps: Vec<f64> = calls.iter().flat_map(|call| exchanges(&call.right, &call.cost)).collect();
    steps.sort_by(f64::total_cmp);
    steps.dedup();
    let tried = (0..=LAMBDAS).filter_map(|at| steps.get(at * steps.len().saturating_sub(1) / LAMBDAS));
    let sums = tried
        .map(|lambda| calls.iter().fold(Sum { right: 0.0, cost: 0.0 }, |sum, call| sum.and(chosen(call, *lambda))));
    sums.filter(|sum| sum.right >= wanted).min_by(|a, b| a.cost.total_cmp(&b.cost))
}

/// The cheapest mix of two tiers with so many right.
fn mix(calls: &[Call], wanted: f64) -> Option<Sum> {
    let tiers = [0, 1, 2].map(|tier| always(calls, tier));
    let pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)];
    let mixes = pairs.into_iter().filter_map(|(low, high)| {
        let (low, high) = (tiers[low], tiers[high]);
        let gap = high.right - low.right;
        let share = if low.right >= wanted { 0.0 } else { (wanted - low.right) / gap };
        (0.0..=1.0).contains(&share).then_some(Sum { right: wanted, cost: low.cost + share * (high.cost - low.cost) })
    });
    mixes.min_by(|a, b| a.cost.total_cmp(&b.cost))
}

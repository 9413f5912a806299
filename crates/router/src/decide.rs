//! Which tier is worth its price: numbers in, a tier out.

/// A tier of Claude's models, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Fast and cheap.
    Haiku,
    /// The middle.
    Sonnet,
    /// The strongest.
    Opus,
}

impl Tier {
    /// All tiers; each stands at its number.
    pub const ALL: [Self; 3] = [Self::Haiku, Self::Sonnet, Self::Opus];

    /// The name as people write it.
    pub fn as_str(self) -> &'static str {
        ["haiku", "sonnet", "opus"][self as usize]
    }
}

/// How much may be lost to save money: the share of always-opus' right answers that is given up, as expected.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Dial(f64);

impl Dial {
    /// At most 5 % lost.
    pub const ECONOMY: Self = Self(0.05);
    /// At most 3 % lost.
    pub const BALANCED: Self = Self(0.03);
    /// At most 1 % lost.
    pub const QUALITY: Self = Self(0.01);

    /// A dial of one's own: from 0 to 1.
    pub fn new(loss: f64) -> Option<Self> {
        (0.0..=1.0).contains(&loss).then_some(Self(loss))
    }

    /// The dial of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "economy" => Some(Self::ECONOMY),
            "balanced" => Some(Self::BALANCED),
            "quality" => Some(Self::QUALITY),
            _ => None,
        }
    }

    /// The share that may be lost.
    pub fn loss(self) -> f64 {
        self.0
    }
}

/// A prompt that the model was measured on, so that a dial can be turned into a λ at any prices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReferenceRow {
    /// How likely each tier is right.
    pub right: [f64; 3],
    /// Tokens that the prompt had.
    pub input_tokens: u64,
    /// Tokens that each tier's answer is expected to have.
    pub output_tokens: [f64; 3],
}

/// The allowed tier with the largest `right − lambda · cost`; of equal ones the cheaper. `None` when none is allowed.
///
/// Costs are finite and not negative, in any unit; `lambda` is in 1 / that unit. At an infinite one the cheapest is chosen.
pub fn decide(right: [f64; 3], cost: [f64; 3], allowed: [bool; 3], lambda: f64) -> Option<Tier> {
    let value = |tier: Tier| if lambda.is_finite() { right[tier as usize] - lambda * cost[tier as usize] } else { 0.0 };
    let cheaper = |a: Tier, b: Tier| cost[b as usize].total_cmp(&cost[a as usize]).then(b.cmp(&a));
    let candidates = Tier::ALL.into_iter().filter(|tier| allowed[*tier as usize]);
    candidates.max_by(|a, b| value(*a).total_cmp(&value(*b)).then(cheaper(*a, *b)))
}

/// The λ of a dial: the largest at which the expected accuracy over the reference rows is at least `1 − loss` of always-opus'.
pub fn lambda(rows: &[ReferenceRow], dial: Dial, cost_of: impl Fn(&ReferenceRow) -> [f64; 3]) -> f64 {
    let rows: Vec<_> = rows.iter().map(|row| (row.right, cost_of(row))).collect();
    let wanted = (1.0 - dial.loss()) * rows.iter().map(|(right, _)| right[Tier::Opus as usize]).sum::<f64>();
    let right_at = |lambda: f64| -> f64 {
        let chosen = |(right, cost): &([f64; 3], [f64; 3])| {
            decide(*right, *cost, [true; 3], lambda).map_or(0.0, |tier| right[tier as usize])
        };
        rows.iter().map(chosen).sum()
    };
    // Only at these does a choice change, so that between two of them nothing is to be found.
    let mut steps: Vec<f64> = rows.iter().flat_map(|(right, cost)| exchanges(right, cost)).collect();
    steps.sort_by(f64::total_cmp);
    // A sum may come out a little lower than the same one in another order.
    let enough = steps.partition_point(|lambda| right_at(*lambda) >= wanted - 1e-9);
    if enough == 0 { 0.0 } else { steps[enough - 1] }
}

/// The λ at which two tiers are worth the same, for each pair of a dearer and better one.
pub(crate) fn exchanges(right: &[f64; 3], cost: &[f64; 3]) -> impl Iterator<Item = f64> {
    [(0, 1), (0, 2), (1, 2)].into_iter().filter_map(|(low, high)| {
        let lambda = (right[high] - right[low]) / (cost[high] - cost[low]);
        (lambda.is_finite() && lambda >= 0.0).then_some(lambda)
    })
}

/// Below this share of a budget left, with time left too, only the cheapest tier is used.
const NEARLY_EMPTY: f64 = 0.02;

/// λ under the pressure of a budget: unchanged while the money left is at least the time left, as shares of the whole; then it grows with the
/// square of how much it falls short; infinite when next to nothing is left.
pub fn pressed(lambda: f64, spent_share: f64, elapsed_share: f64) -> f64 {
    let money_left = (1.0 - spent_share).max(0.0);
    let time_left = (1.0 - elapsed_share).clamp(0.0, 1.0);
    if money_left >= time_left {
        lambda
    } else if money_left < NEARLY_EMPTY {
        f64::INFINITY
    } else {
        lambda * (time_left / money_left) * (time_left / money_left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COST: [f64; 3] = [1.0, 20.0, 40.0];

    #[test]
    fn the_tier_that_is_worth_its_price_is_chosen_and_of_equals_the_cheaper() {
        let right = [0.5, 0.7, 0.75];
        for (lambda, allowed, tier) in [
            (0.0, [true; 3], Some(Tier::Opus)),
            (0.004, [true; 3], Some(Tier::Sonnet)),
            (0.1, [true; 3], Some(Tier::Haiku)),
            (f64::INFINITY, [true; 3], Some(Tier::Haiku)),
            (f64::INFINITY, [false, true, true], Some(Tier::Sonnet)),
            (0.0, [true, true, false], Some(Tier::Sonnet)),
            (0.0, [false; 3], None),
        ] {
            assert_eq!(decide(right, COST, allowed, lambda), tier, "{lambda} {allowed:?}");
        }
        assert_eq!(decide([0.6; 3], COST, [true; 3], 0.0), Some(Tier::Haiku));
        assert_eq!(decide([0.6; 3], [0.0; 3], [true; 3], f64::INFINITY), Some(Tier::Haiku), "all are free");
    }

    #[test]
    fn pressure_begins_when_money_goes_faster_than_time_and_ends_at_the_cheapest() {
        assert_eq!(pressed(2.0, 0.3, 0.5), 2.0);
        assert_eq!(pressed(2.0, 0.5, 0.0), 8.0);
        assert_eq!(pressed(2.0, 0.99, 0.5), f64::INFINITY);
        assert_eq!(pressed(0.0, 1.2, 0.5), f64::INFINITY, "also where nothing may be lost");
        assert_eq!(pressed(2.0, 1.0, 1.0), 2.0, "the period is over");
    }

    fn rows() -> impl Strategy<Value = Vec<ReferenceRow>> {
        let row = proptest::array::uniform3(0.01..1.0_f64).prop_map(|mut right| {
            right.sort_by(f64::total_cmp);
            ReferenceRow { right, input_tokens: 100, output_tokens: [200.0; 3] }
        });
        proptest::collection::vec(row, 1..40)
    }

    proptest! {
        #[test]
        fn a_dial_loses_no_more_than_it_says_and_a_larger_lambda_would(rows in rows(), loss in 0.0..0.6_f64) {
            let right_at = |lambda: f64| -> f64 {
                rows.iter().map(|row| row.right[decide(row.right, COST, [true; 3], lambda).expect("all are allowed") as usize]).sum()
            };
            let wanted = (1.0 - loss) * rows.iter().map(|row| row.right[2]).sum::<f64>();
            let found = lambda(&rows, Dial::new(loss).expect("a share"), |_| COST);
            prop_assert!(right_at(found) >= wanted - 1e-6);
            let steps = rows.iter().flat_map(|row| exchanges(&row.right, &COST)).filter(|step| *step > found);
            if let Some(next) = steps.min_by(f64::total_cmp) {
                prop_assert!(right_at(next) < wanted + 1e-6, "{next} would do, above {found}");
            }
        }

        #[test]
        fn pressure_never_falls_as_more_is_spent(spent in 0.0..1.5_f64, more in 0.0..0.5_f64, elapsed in 0.0..1.0_f64) {
            prop_assert!(pressed(1.0, spent + more, elapsed) >= pressed(1.0, spent, elapsed));
        }
    }
}

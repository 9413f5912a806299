//! Admission: which candidates fit what is left, and what is then held. Pure: a store calls it inside of its transaction.

use super::{Amount, Counter, Limits};
use crate::window::{PERIODS, Period};

/// The least that `max_tokens` is lowered to.
const CLAMP_TOKENS_MIN: i64 = 256;

const MILLION: i128 = 1_000_000;

/// A target as the ledger sees it: bounds and prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What callers see as the model: the tier, else the id.
    pub model: String,
    /// The most tokens that the input can be.
    pub input_tokens: i64,
    /// The most tokens that the output can be: `max_tokens`.
    pub output_tokens: i64,
    /// Whether the caller set `max_tokens`.
    pub output_set: bool,
    /// Nano-dollars for a million input tokens, at the dearest that these can cost.
    pub input_price: i64,
    /// Nano-dollars for a million output tokens.
    pub output_price: i64,
    /// Whether a subscription pays for it: then the prices say what it would cost, and no money is held.
    pub is_notional: bool,
}

impl Candidate {
    /// What the call costs at most when its output is at most this.
    fn worst(&self, output_tokens: i64) -> Amount {
        Amount {
            tokens: self.input_tokens.saturating_add(output_tokens),
            nanos: if self.is_notional { 0 } else { self.priced(output_tokens) },
        }
    }

    /// What it would cost at most, where a subscription pays for it.
    pub(super) fn notional(&self, output_tokens: i64) -> i64 {
        if self.is_notional { self.priced(output_tokens) } else { 0 }
    }

    fn priced(&self, output_tokens: i64) -> i64 {
        let micro = i128::from(self.input_tokens) * i128::from(self.input_price)
            + i128::from(output_tokens) * i128::from(self.output_price);
        let nanos = micro.div_euclid(MILLION) + i128::from(micro.rem_euclid(MILLION) > 0);
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }

    /// The most output that stays within `ceiling`.
    fn output_within(&self, ceiling: Amount) -> i64 {
        let by_tokens = i128::from(ceiling.tokens) - i128::from(self.input_tokens);
        let left = i128::from(ceiling.nanos) * MILLION - i128::from(self.input_tokens) * i128::from(self.input_price);
        let costs_nothing = self.output_price == 0 || self.is_notional;
        let by_nanos = if costs_nothing { by_tokens } else { left.div_euclid(i128::from(self.output_price)) };
        i64::try_from(by_tokens.min(by_nanos)).unwrap_or(i64::MIN)
    }
}

/// A candidate that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its place among the candidates.
    pub index: usize,
    /// Its `max_tokens`, lowered where the budget covers no more.
    pub output_tokens: i64,
}

/// Tokens or money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tokens.
    Tokens,
    /// Nano-dollars.
    Nanos,
}

/// The limit that a call does not fit under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The window; `None`: the call's own `max_cost`.
    pub period: Option<Period>,
    /// What is short.
    pub unit: Unit,
    /// The limit.
    pub limit: i64,
    /// What is spent of it.
    pub spent: i64,
    /// What is held of it.
    pub held: i64,
    /// What the call would take at most.
    pub wanted: i64,
}

/// What becomes of the candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// These fit, and this much is held.
    Fits(Vec<Kept>, Amount),
    /// None fits now, and some would if what is held were not.
    Held,
    /// None fits what is left.
    Exceeded(Shortage),
}

impl Admission {
    /// Whether the first of the candidates fits as it is: nothing better could come of lower bounds.
    pub fn is_the_best_in_full(&self, candidates: &[Candidate]) -> bool {
        let Self::Fits(kept, _) = self else { return false };
        kept.first().is_some_and(|best| best.index == 0 && best.output_tokens == candidates[0].output_tokens)
    }
}

enum Fit {
    Now(i64),
    Later,
    Never,
}

/// Everything that limits one call.
pub struct Room<'a> {
    /// Of the project.
    pub limits: &'a Limits,
    /// In the order of [`PERIODS`](crate::window::PERIODS).
    pub counters: [Counter; 3],
    /// The most that the call itself allows.
    pub nanos_max: Option<i64>,
}

impl Room<'_> {
    /// Whether the project may use this target at all.
    pub fn is_open_to(&self, candidate: &Candidate) -> bool {
        !candidate.is_notional || self.limits.take_notional()
    }

    /// At least one of the candidates is open to the project.
    pub fn admit(&self, candidates: &[Candidate]) -> Admission {
        let fits: Vec<Fit> = candidates.iter().map(|candidate| self.fit(candidate)).collect();
        let mut kept: Vec<Kept> =
            (fits.iter().enumerate())
                .filter_map(|(index, fit)| {
                    if let Fit::Now(tokens) = *fit { Some(Kept { index, output_tokens: tokens }) } else { None }
                })
                .collect();
        // Another model in full goes before a better one cut short.
        let in_full = |kept: &Kept| kept.output_tokens == candidates[kept.index].output_tokens;
        if kept.iter().any(in_full) {
            kept.retain(in_full);
        }
        if !kept.is_empty() {
            let worst = |kept: &Kept| candidates[kept.index].worst(kept.output_tokens);
            let held = kept.iter().map(worst).fold(Amount::ZERO, Amount::max);
            return Admission::Fits(kept, held);
        }
        if fits.iter().any(|fit| matches!(fit, Fit::Later)) {
            return Admission::Held;
        }
        let open = candidates.iter().filter(|candidate| self.is_open_to(candidate));
        let cheapest = open.map(|candidate| candidate.worst(self.output_least(candidate)));
        let cheapest = cheapest.min_by_key(|worst| (worst.nanos, worst.tokens)).unwrap_or_default();
        Admission::Exceeded(self.shortage(cheapest).expect("what does not fit is short of something"))
    }

    fn fit(&self, candidate: &Candidate) -> Fit {
        if !self.is_open_to(candidate) {
            return Fit::Never;
        }
        let ceiling = self.left(|counter| counter.spent);
        let output = candidate.output_tokens.min(candidate.output_within(ceiling));
        if output < self.output_least(candidate) {
            return Fit::Never;
        }
        let room = self.left(|counter| counter.spent + counter.held);
        let worst = candidate.worst(output);
        // What costs no money raises no window of it, however full.
        let fits = worst.tokens <= room.tokens && (worst.nanos == 0 || worst.nanos <= room.nanos);
        if fits { Fit::Now(output) } else { Fit::Later }
    }

    fn output_least(&self, candidate: &Candidate) -> i64 {
        let may_clamp = match self.limits.clamp {
            super::Clamp::Never => false,
            super::Clamp::Unset => !candidate.output_set,
            super::Clamp::Always => true,
        };
        if may_clamp { candidate.output_tokens.min(CLAMP_TOKENS_MIN) } else { candidate.output_tokens }
    }

    /// The least that any limit leaves beyond what `used` counts.
    fn left(&self, used: impl Fn(&Counter) -> Amount) -> Amount {
        let mut left = Amount { tokens: i64::MAX, nanos: self.nanos_max.unwrap_or(i64::MAX) };
        for (limit, counter) in self.limits.windows.iter().zip(&self.counters) {
            let used = used(counter);
            left.tokens = left.tokens.min(limit.tokens.map_or(i64::MAX, |limit| limit.saturating_sub(used.tokens)));
            left.nanos = left.nanos.min(limit.nanos.map_or(i64::MAX, |limit| limit.saturating_sub(used.nanos)));
        }
        left
    }

    /// The first limit that this does not fit under, the longest window first.
    fn shortage(&self, wanted: Amount) -> Option<Shortage> {
        let short = |period, unit, limit: Option<i64>, spent: i64, held: i64, wanted: i64| {
            let limit = limit?;
            (wanted > 0 && wanted > limit.saturating_sub(spent)).then_some(Shortage {
                period,
                unit,
                limit,
                spent,
                held,
                wanted,
            })
        };
        let windows = PERIODS.into_iter().rev().find_map(|period| {
            let (limit, Counter { spent, held, .. }) = (self.limits.of(period), self.counters[period as usize]);
            short(Some(period), Unit::Nanos, limit.nanos, spent.nanos, held.nanos, wanted.nanos)
                .or_else(|| short(Some(period), Unit::Tokens, limit.tokens, spent.tokens, held.tokens, wanted.tokens))
        });
        windows.or_else(|| short(None, Unit::Nanos, self.nanos_max, 0, 0, wanted.nanos))
    }
}

//! Account: a project's counters, as far as they were loaded.

use std::collections::BTreeMap;

use super::{Amount, Limits, Spent};
use crate::window::{Day, PERIODS, Period};

/// What was spent and is held in one window of one project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Settled.
    pub spent: Amount,
    /// Reserved, and not settled yet.
    pub held: Amount,
}

/// A project with its counters, as far as they were loaded.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// What it may use; `None`: there is no such project yet.
    pub limits: Option<Limits>,
    /// Its calls that run: the open reservations that are not of a job.
    pub calls: i64,
    /// With whether it differs from what was loaded.
    counters: BTreeMap<(Period, Day), (Counter, bool)>,
}

impl Account {
    /// A counter as the store has it. One that is here already stays: days share weeks and months, and it may have changed since.
    pub fn load(&mut self, period: Period, start: Day, counter: Counter) {
        self.counters.entry((period, start)).or_insert((counter, false));
    }

    /// Whether the windows of this day are loaded.
    pub fn knows(&self, day: Day) -> bool {
        PERIODS.iter().all(|period| self.counters.contains_key(&(*period, day.start_of(*period))))
    }

    /// The windows of a day, in the order of [`PERIODS`](crate::window::PERIODS).
    pub fn windows(&self, day: Day) -> [Counter; 3] {
        PERIODS.map(|period| {
            self.counters.get(&(period, day.start_of(period))).map_or_else(Counter::default, |(counter, _)| *counter)
        })
    }

    /// The counters that changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> impl Iterator<Item = (Period, Day, Counter)> {
        let changed = self.counters.iter_mut().filter(|(_, (_, dirty))| *dirty);
        changed.map(|((period, start), (counter, dirty))| {
            *dirty = false;
            (*period, *start, *counter)
        })
    }

    pub(super) fn change(&mut self, day: Day, change: impl Fn(&mut Counter)) {
        for period in PERIODS {
            let (counter, dirty) = self.counters.entry((period, day.start_of(period))).or_default();
            change(counter);
            *dirty = true;
        }
    }
}

/// Tokens and money of one model in one day of a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelUsage {
    /// Entries.
    pub requests: i64,
    /// Tokens in.
    pub input_tokens: i64,
    /// Tokens out.
    pub output_tokens: i64,
    /// Nano-dollars.
    pub cost_nanos: i64,
    /// Nano-dollars that calls on a subscription would have cost.
    pub notional_nanos: i64,
}

impl ModelUsage {
    pub(super) fn of(spent: &Spent, sign: i64) -> Self {
        let count = |tokens: u64| sign * i64::try_from(tokens).unwrap_or(i64::MAX);
        Self {
            requests: sign,
            input_tokens: count(spent.usage.input_tokens),
            output_tokens: count(spent.usage.output_tokens),
            cost_nanos: sign * spent.cost.0,
            notional_nanos: sign * spent.notional.0,
        }
    }

    /// What it counts in windows.
    pub(crate) fn amount(&self) -> Amount {
        Amount { tokens: self.input_tokens.saturating_add(self.output_tokens), nanos: self.cost_nanos }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost_nanos += other.cost_nanos;
        self.notional_nanos += other.notional_nanos;
    }
}

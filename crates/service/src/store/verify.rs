//! The proof that the counters are the sums of the entries: a store reads the rows, this adds them up and compares.

use std::collections::BTreeMap;

use crate::{
    ledger::Amount,
    window::{Day, PERIODS, Period},
};

/// Sums of one window: as its counter says, and as its rows say.
#[derive(Default)]
struct Compared {
    counter_spent: Amount,
    counter_held: Amount,
    entries: Amount,
    reservations: Amount,
    by_model: Amount,
}

/// Every window that any row is of.
#[derive(Default)]
pub(super) struct Sums(BTreeMap<(String, i64, i32), Compared>);

impl Sums {
    /// Entries of one project and day add up to this.
    pub(super) fn entries(&mut self, project: &str, day: Day, sum: Amount) {
        self.windows_of(project, day, |compared| compared.entries += sum);
    }

    /// Open reservations of one project and day add up to this.
    pub(super) fn reservations(&mut self, project: &str, day: Day, sum: Amount) {
        self.windows_of(project, day, |compared| compared.reservations += sum);
    }

    /// A counter says this.
    pub(super) fn counter(&mut self, project: String, period: i64, start: i32, spent: Amount, held: Amount) {
        let compared = self.0.entry((project, period, start)).or_default();
        (compared.counter_spent, compared.counter_held) = (spent, held);
    }

    /// The usage by model of one window adds up to this.
    pub(super) fn by_model(&mut self, project: String, period: i64, start: i32, sum: Amount) {
        self.0.entry((project, period, start)).or_default().by_model = sum;
    }

    fn windows_of(&mut self, project: &str, day: Day, add: impl Fn(&mut Compared)) {
        for period in PERIODS {
            let key = (project.to_owned(), period as i64, day.start_of(period).0);
            add(self.0.entry(key).or_default());
        }
    }

    /// Every counter that is not the sum it should be, in words.
    pub(super) fn differences(&self) -> Vec<String> {
        self.0.iter().flat_map(|(window, compared)| differences(window, compared)).collect()
    }
}

fn differences((project, period, start): &(String, i64, i32), compared: &Compared) -> Vec<String> {
    let period = PERIODS.into_iter().find(|known| *known as i64 == *period).map_or("?", Period::as_str);
    let since = Day(*start).begins_at().rfc3339();
    let pairs = [
        ("spent", compared.counter_spent, "its entries", compared.entries),
        ("held", compared.counter_held, "its reservations", compared.reservations),
        ("usage by model", compared.by_model, "its entries", compared.entries),
    ];
    let differing = pairs.into_iter().filter(|(_, counted, _, summed)| counted != summed);
    differing
        .map(|(what, counted, rows, summed)| {
            format!(
                "{project}, {period} from {since}: {what} is {} tokens and {} nano-dollars, {rows} say {} and {}",
                counted.tokens, counted.nanos, summed.tokens, summed.nanos
            )
        })
        .collect()
}

//! The proof that the counters are the sums of the entries: a store reads the rows, this adds them up and compares.

use std::collections::BTreeMap;

use crate::{
    ledger::{Amount, ModelUsage},
    window::{Day, PERIODS, Period},
};

/// A figure as it is kept, and as the rows say.
#[derive(Default)]
struct Pair<T> {
    kept: T,
    summed: T,
}

/// One window.
#[derive(Default)]
struct Compared {
    spent: Pair<Amount>,
    held: Pair<Amount>,
    models: BTreeMap<String, Pair<ModelUsage>>,
}

/// Every window that any row is of.
#[derive(Default)]
pub(super) struct Sums(BTreeMap<(String, i64, i32), Compared>);

impl Sums {
    /// Entries of one project, day and model add up to this.
    pub(super) fn entries(&mut self, project: &str, day: Day, model: &str, sum: ModelUsage) {
        self.windows_of(project, day, |compared| {
            compared.spent.summed += sum.amount();
            compared.models.entry(model.to_owned()).or_default().summed.add(sum);
        });
    }

    /// Open reservations of one project and day add up to this.
    pub(super) fn reservations(&mut self, project: &str, day: Day, sum: Amount) {
        self.windows_of(project, day, |compared| compared.held.summed += sum);
    }

    /// A counter says this.
    pub(super) fn counter(&mut self, project: String, period: i64, start: i32, spent: Amount, held: Amount) {
        let compared = self.0.entry((project, period, start)).or_default();
        (compared.spent.kept, compared.held.kept) = (spent, held);
    }

    /// The usage by model says this.
    pub(super) fn usage(&mut self, project: String, period: i64, start: i32, model: String, usage: ModelUsage) {
        self.0.entry((project, period, start)).or_default().models.entry(model).or_default().kept = usage;
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
    let window = format!("{project}, {period} from {}", Day(*start).begins_at().rfc3339());
    let amounts = [("spent", "entries", &compared.spent), ("held", "reservations", &compared.held)];
    let amounts = amounts.into_iter().filter(|(.., pair)| pair.kept != pair.summed).map(|(what, rows, pair)| {
        let Pair { kept, summed } = pair;
        format!(
            "{window}: {what} is {} tokens and {} nano-dollars, its {rows} say {} and {}",
            kept.tokens, kept.nanos, summed.tokens, summed.nanos
        )
    });
    let models = compared.models.iter().filter(|(_, pair)| pair.kept != pair.summed).map(|(model, pair)| {
        format!("{window}: usage of {model} is {}, its entries say {}", described(pair.kept), described(pair.summed))
    });
    amounts.chain(models).collect()
}

fn described(usage: ModelUsage) -> String {
    let ModelUsage { requests, input_tokens, output_tokens, cost_nanos, notional_nanos } = usage;
    format!(
        "{requests} calls, {input_tokens} tokens in, {output_tokens} out, {cost_nanos} nano-dollars and {notional_nanos} notional \
         ones"
    )
}

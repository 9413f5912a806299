//! The ledger after an economy batch, held against its results and against the upstream's bill.

use std::{collections::BTreeMap, time::Duration};

use claude_code_api_service::{
    ledger::{Ended, Entry},
    store::{
        EntriesWanted, Store,
        postgres::{self, Postgres},
        sqlite::{self, Sqlite},
    },
};
use claude_code_api_testkit::{BOUND, Simulator, simulator::Billed};
use claude_code_api_wire::{BatchEvent, BatchStatus};
use tempfile::TempDir;

/// The ledger that a service has left in its folder.
pub(crate) fn in_folder(folder: &TempDir) -> Sqlite {
    Sqlite::open(folder.path(), sqlite::Options::default()).expect("the store opens")
}

/// The ledger in a database, as one who looks on sees it and takes nobody for dead.
pub(crate) async fn in_database(url: &str) -> Postgres {
    Postgres::open(url, postgres::Options { ttl: Duration::from_hours(1) }).await.expect("the store opens")
}

/// What half of the published price comes to.
pub(crate) fn half(model: &str, input_tokens: u64, output_tokens: u64) -> i64 {
    Billed { model: model.to_owned(), input_tokens, output_tokens, batch: true, ..Billed::default() }.nanos()
}

/// What the upstream wants to be paid for; all of it ran in batches.
fn billed(simulator: &Simulator) -> i64 {
    let bill = simulator.bill();
    assert!(bill.iter().all(|billed| billed.batch), "{bill:?}");
    simulator.billed_nanos()
}

/// What an economy batch, the only one, has left in the ledger.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) entries: Vec<Entry>,
    pub(crate) spent: i64,
}

impl Books {
    /// Reads them once nothing is held any more; the counters are right.
    pub(crate) async fn of(store: &dyn Store) -> Self {
        let begun = std::time::Instant::now();
        let verified = loop {
            let verified = store.verify().await.expect("verified");
            if verified.reservations == 0 {
                break verified;
            }
            assert!(begun.elapsed() < BOUND, "{} prompts are still held for", verified.reservations);
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!((verified.differences, verified.overruns), (Vec::new(), 0));
        let wanted = EntriesWanted { count_max: u32::MAX >> 1, ..EntriesWanted::default() };
        let entries = store.entries(wanted).await.expect("the store works");
        assert_eq!((entries.len() as u64, estimated(&entries)), (verified.entries, verified.estimated));
        Self { entries, spent: verified.spent.nanos }
    }

    /// How many entries are estimates.
    pub(crate) fn estimated(&self) -> u64 {
        estimated(&self.entries)
    }

    /// Each completed prompt has one entry, which is exact, and at half price; what else there is are estimates; and the sum is not
    /// below the bill, and where nothing is estimated not above it.
    pub(crate) fn assert_right<'a>(&self, results: impl IntoIterator<Item = &'a BatchEvent>, simulator: &Simulator) {
        let mut of_calls: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.entries {
            assert_eq!(entry.spent.backend, "anthropic", "{entry:?}");
            of_calls.entry(entry.call.to_string()).or_default().push(entry);
        }
        for event in results.into_iter().filter(|event| event.result.status == BatchStatus::Completed) {
            let call = event.result.call_id.as_ref().expect("a call");
            let entries = of_calls.remove(call).unwrap_or_default();
            let [entry] = entries[..] else { panic!("{event:?} has these entries: {entries:?}") };
            assert_paid(entry, event);
        }
        for (call, entries) in of_calls {
            let is_estimate =
                entries.len() == 1 && !entries[0].spent.exact && entries[0].spent.ended != Ended::Complete;
            assert!(is_estimate, "{call}: {entries:?}");
        }
        let billed = billed(simulator);
        assert!(self.spent >= billed, "{} is below the bill, {billed}", self.spent);
        assert!(self.estimated() > 0 || self.spent == billed, "{} is not the bill, {billed}", self.spent);
    }
}

fn estimated(entries: &[Entry]) -> u64 {
    entries.iter().filter(|entry| !entry.spent.exact).count() as u64
}

fn assert_paid(entry: &Entry, event: &BatchEvent) {
    let (spent, usage) = (&entry.spent, event.result.usage.expect("it was answered"));
    assert_eq!((spent.exact, spent.ended, spent.unpriced), (true, Ended::Complete, false), "{entry:?}");
    assert_eq!((spent.usage.input_tokens, spent.usage.output_tokens), (usage.input_tokens, usage.output_tokens));
    let cost = half(&spent.model_id, usage.input_tokens, usage.output_tokens);
    assert_eq!((spent.cost.0, event.result.cost_nanos), (cost, Some(cost)), "{entry:?} {event:?}");
}

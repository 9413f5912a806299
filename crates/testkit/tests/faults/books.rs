//! What the ledger has of a call, held against what the upstream has charged for it.

use std::{collections::BTreeMap, ops::Range};

use claude_code_api_service::{
    ledger::{Ended, Entry, Spent},
    project::ProjectId,
    store::EntriesWanted,
    usage::Usage,
    window::Moment,
};
use claude_code_api_testkit::{Simulator, TestServer, simulator::Billed};

use super::call::{Call, Got};

/// More than a project has.
const ENTRIES_MAX: u32 = 10_000;

/// What the simulator remembers, by the numbers of calls.
pub(super) struct Upstream {
    bill: Vec<Billed>,
    requests: BTreeMap<u64, usize>,
}

impl Upstream {
    pub(super) fn of(simulator: &Simulator) -> Self {
        let mut requests = BTreeMap::new();
        for body in simulator.requests() {
            let body = body["messages"].to_string();
            let number = body.split_once(" call ").and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok());
            *requests.entry(number.expect("every request has a number")).or_default() += 1;
        }
        Self { bill: simulator.bill(), requests }
    }

    fn billed(&self, call: &Call) -> Vec<(Usage, i64)> {
        let of_call = self.bill.iter().filter(|billed| call.script["input"] == billed.input_tokens);
        of_call.map(|billed| (billed.usage(), billed.nanos())).collect()
    }

    /// Attempts that may have cost something.
    fn attempts(&self, call: &Call) -> usize {
        let requests = *self.requests.get(&call.number).expect("every call has come so far");
        let refused = match (call.script.get("status"), call.script["faults"].as_u64()) {
            (None, _) => 0,
            (Some(_), None) => requests,
            (Some(_), Some(faults)) => usize::try_from(faults).expect("small"),
        };
        requests - refused
    }
}

/// Checks the entries of a call, which are those of its project that were reserved in its time; what they say of it.
pub(super) async fn check(
    server: &TestServer,
    upstream: &Upstream,
    call: &Call,
    within: Range<Moment>,
    got: Option<&Got>,
) -> Vec<Spent> {
    let project = Some(ProjectId::parse(&call.project).expect("a name"));
    let wanted = EntriesWanted { project, count_max: ENTRIES_MAX, ..EntriesWanted::default() };
    let mut entries = server.app().store().entries(wanted).await.expect("the store works");
    entries.retain(|entry| within.contains(&entry.reserved_at));
    entries.sort_by_key(|entry| entry.reserved_at);
    let (mut billed, attempts) = (upstream.billed(call), upstream.attempts(call));
    assert_eq!(entries.len(), attempts, "an entry for each attempt that may have cost something: {entries:?}");
    assert!(entries.iter().all(|entry| entry.call == entries[0].call), "{entries:?}");
    let complete = entries.iter().filter(|entry| entry.spent.ended == Ended::Complete).count();
    if let Some(got) = got {
        assert_eq!(complete, usize::from(matches!(got, Got::Whole(_))), "{got:?}: {entries:?}");
    }
    let (exact, estimated): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.spent.exact);
    assert_eq!(exact.len(), complete, "only what is complete is exact: {entries:?}");
    for entry in exact {
        let place = billed.iter().rposition(|line| *line == (entry.spent.usage, entry.spent.cost.0));
        billed.remove(place.unwrap_or_else(|| panic!("{entry:?} is not on the bill: {billed:?}")));
        assert_eq!(entry.spent.unpriced, is_unpriced(call), "{entry:?}");
    }
    assert_covered(&estimated, &billed);
    entries.into_iter().map(|entry| entry.spent).collect()
}

fn is_unpriced(call: &Call) -> bool {
    call.script["service_tier"].is_string() || call.script["model"] == "claude-tomorrow-9"
}

/// Estimates are never below the truth: each one where each was charged, all together in any case.
fn assert_covered(estimated: &[&Entry], billed: &[(Usage, i64)]) {
    let says = |entry: &Entry| (entry.spent.amount().tokens, entry.spent.cost.0);
    let owes = |(usage, nanos): &(Usage, i64)| ((usage.input_tokens + usage.output_tokens).cast_signed(), *nanos);
    let sum = |all: Vec<(i64, i64)>| all.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let covers = |said: (i64, i64), owed: (i64, i64)| said.0 >= owed.0 && said.1 >= owed.1;
    let (said, owed) =
        (estimated.iter().map(|entry| says(entry)).collect::<Vec<_>>(), billed.iter().map(owes).collect::<Vec<_>>());
    let each = said.len() != owed.len() || said.iter().zip(&owed).all(|(said, owed)| covers(*said, *owed));
    assert!(each && covers(sum(said), sum(owed)), "below the bill: {estimated:?} for {billed:?}");
}

//! Every row at every door, in lanes: one call at a time of each project, many projects at once; then the books of each; then a table
//! of all.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use claude_code_api_service::{ledger::Spent, money::Nanos, window::Moment};
use claude_code_api_testkit::{Simulator, TestServer, until};
use futures_util::{FutureExt, future::join_all};

use super::{
    backend::{Backend, DOORS},
    books::{self, Upstream},
    call::{Call, Got},
    rows::{Ends, Row},
};

pub(super) struct Matrix {
    backend: Backend,
    rows: Vec<Row>,
    /// In the order of rows.
    calls: Vec<Call>,
}

/// A call that was made: what its caller got, when it began, and how long it took. `None` where a check has failed, which says why.
struct Made {
    got: Option<Got>,
    begun_at: Moment,
    took: Duration,
}

/// What came of a call: what its caller got, and what the ledger has of it. `None` where a check has failed, which says why.
#[derive(Debug)]
pub(super) struct Found {
    got: Option<Got>,
    entries: Option<Vec<Spent>>,
    took: Duration,
}

impl Matrix {
    pub(super) fn of(rows: Vec<Row>, backend: Backend) -> Self {
        let mut calls = Vec::new();
        for (row, place) in rows.iter().zip(0..) {
            for door in backend.doors(place) {
                let project = format!("lane-{}", calls.len() % backend.at_once());
                calls.push(Call::new(calls.len() as u64, project, door, row));
            }
        }
        Self { backend, rows, calls }
    }

    pub(super) async fn run(&self, backend: Backend, server: &TestServer, simulator: &Simulator) -> Vec<Found> {
        let lanes = self.backend.at_once();
        let made = join_all((0..lanes).map(|lane| self.make(lane, backend, server))).await;
        until("no hold is left", || server.app().open_reservations().count() == 0).await;
        until("no stream is left", || simulator.open_streams() == 0).await;
        let upstream = settled(simulator).await;
        let mut found = Vec::new();
        for (call, place) in self.calls.iter().zip(0..) {
            let lane = &made[place % lanes];
            let (Made { got, begun_at, took }, next) = (&lane[place / lanes], lane.get(place / lanes + 1));
            let within = *begun_at..next.map_or(Moment(i64::MAX), |next| next.begun_at);
            let entries = checked(books::check(server, &upstream, call, within, got.as_ref())).await;
            found.push(Found { got: got.clone(), entries, took: *took });
        }
        found
    }

    /// The calls of a lane, one after the other.
    async fn make(&self, lane: usize, backend: Backend, server: &TestServer) -> Vec<Made> {
        let caller = server.caller();
        let mut made = Vec::new();
        for call in self.calls.iter().skip(lane).step_by(self.backend.at_once()) {
            backend.has_room(server).await;
            // By the time of the ledger, which counts milliseconds, no two calls of a lane begin at once.
            tokio::time::sleep(Duration::from_millis(2)).await;
            let (begun_at, begun) = (Moment::of_system(), Instant::now());
            let got = checked(call.make(&caller, backend.late_after())).await;
            made.push(Made { got, begun_at, took: begun.elapsed() });
        }
        made
    }

    pub(super) fn print(&self, found: &[Found]) {
        println!(
            "\n{:>4} calls  {}",
            self.calls.len(),
            DOORS
                .map(|(dialect, stream)| column(&format!("{dialect:?}{}", if stream { ", streamed" } else { "" })))
                .concat()
        );
        let mut cells = self.calls.iter().zip(found);
        for (row, place) in self.rows.iter().zip(0..) {
            let doors = self.backend.doors(place).len();
            let cells: Vec<(&Call, &Found)> = cells.by_ref().take(doors).collect();
            let at = |door| cells.iter().find(|(call, _)| call.door == door);
            let words = DOORS.map(|door| column(&at(door).map_or_else(String::new, |(_, found)| found.word())));
            println!("{}{}", words.concat(), row.name);
        }
    }

    pub(super) fn assert_all_well(&self, found: &[Found]) {
        let calls = self.calls.iter().zip(found);
        let wrong = calls.filter(|(_, found)| found.got.is_none() || found.entries.is_none());
        let wrong: Vec<String> =
            wrong.map(|(call, _)| format!("{}: {:?} {}", call.number, call.door, call.script)).collect();
        assert!(wrong.is_empty(), "{} of {} calls: {wrong:#?}", wrong.len(), self.calls.len());
    }

    /// Where time decides nothing, callers and the ledger are told the same of two backends.
    pub(super) fn assert_same(&self, found: &[Found], of_other: &[Found]) {
        let pairs = self.calls.iter().zip(found.iter().zip(of_other));
        let mut wrong = Vec::new();
        for (call, (found, other)) in pairs.filter(|(call, _)| call.ends != Ends::Late) {
            if (&found.got, found.spent(call)) != (&other.got, other.spent(call)) {
                wrong.push(format!("{:?} {}: {found:?} and not {other:?}", call.door, call.script));
            }
        }
        assert!(wrong.is_empty(), "{} of {} calls: {wrong:#?}", wrong.len(), self.calls.len());
    }
}

impl Found {
    /// On whichever backend. A reset may take along what was sent before it and not read yet: how much is estimated then is a matter of
    /// time, and that it covers the bill was checked.
    fn spent(&self, call: &Call) -> Vec<Spent> {
        let is_reset = call.script.get("reset_after_events").is_some();
        let alike = |mut spent: Spent| {
            spent.backend.clear();
            if is_reset && !spent.exact {
                (spent.usage.output_tokens, spent.cost) = (0, Nanos(0));
            }
            spent
        };
        self.entries.iter().flatten().cloned().map(alike).collect()
    }

    fn word(&self) -> String {
        let got = match &self.got {
            None => "WRONG".to_owned(),
            Some(Got::Whole(_)) => "whole".to_owned(),
            Some(Got::Error(code, _)) => code.as_str().to_owned(),
            Some(Got::Left) => "left".to_owned(),
        };
        let entries = self.entries.as_ref().map_or_else(|| "WRONG".to_owned(), |entries| entries.len().to_string());
        format!("{got} {entries} {}ms", self.took.as_millis())
    }
}

fn column(text: &str) -> String {
    format!("{text:<26}")
}

/// The outcome, where no check failed in it: the others are to be seen too.
async fn checked<T>(check: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(check).catch_unwind().await.ok()
}

/// The bill, once nothing comes to it any more.
async fn settled(simulator: &Simulator) -> Upstream {
    loop {
        let bill = simulator.bill();
        tokio::time::sleep(Duration::from_millis(600)).await;
        if simulator.bill() == bill {
            return Upstream::of(simulator);
        }
    }
}

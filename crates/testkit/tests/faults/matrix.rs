//! Every row at every door, many at once; then the books of each; then a table of all.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use claude_code_api_service::ledger::Spent;
use claude_code_api_testkit::{Simulator, TestServer, until};
use futures_util::{FutureExt, StreamExt, stream};

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
            for door in backend.doors(row, place) {
                calls.push(Call::new(calls.len() as u64, door, row, backend.late_after()));
            }
        }
        Self { backend, rows, calls }
    }

    pub(super) async fn run(&self, backend: Backend, server: &TestServer, simulator: &Simulator) -> Vec<Found> {
        let caller = server.caller();
        let calls = self.calls.iter().map(|call| {
            let caller = &caller;
            async move {
                backend.has_room(server).await;
                let begun = Instant::now();
                (checked(call.make(caller)).await, begun.elapsed())
            }
        });
        let got: Vec<(Option<Got>, Duration)> = stream::iter(calls).buffered(backend.at_once()).collect().await;
        until("no hold is left", || server.app().open_reservations().count() == 0).await;
        until("no stream is left", || simulator.open_streams() == 0).await;
        let upstream = settled(simulator).await;
        let mut found = Vec::new();
        for ((got, took), call) in got.into_iter().zip(&self.calls) {
            let entries = checked(books::check(server, &upstream, call, got.as_ref())).await;
            found.push(Found { got, entries, took });
        }
        found
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
            let doors = self.backend.doors(row, place).len();
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
            if (&found.got, found.spent()) != (&other.got, other.spent()) {
                wrong.push(format!("{:?} {}: {found:?} and not {other:?}", call.door, call.script));
            }
        }
        assert!(wrong.is_empty(), "{} of {} calls: {wrong:#?}", wrong.len(), self.calls.len());
    }
}

impl Found {
    /// On whichever backend.
    fn spent(&self) -> Vec<Spent> {
        let entries = self.entries.iter().flatten().cloned();
        entries.map(|spent| Spent { backend: String::new(), ..spent }).collect()
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

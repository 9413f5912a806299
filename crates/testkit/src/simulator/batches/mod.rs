//! Message Batches, in memory: a batch is made, a while later its items have their turn, one after the other, and when all have had
//! it, there are its results. An item is told apart by its own script.

use std::{collections::VecDeque, sync::Arc};

use claude_code_api_service::window::Moment;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    bill::{Books, locked},
    http::{Connection, Over, Reply, Request},
    refuse,
};

mod create;
mod list;
mod process;

pub(super) use create::create;

const DELAY_MS_DEFAULT: u64 = 50;
const DAY_MS: i64 = 86_400_000;

/// How making a batch goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFault {
    /// It is not made, and the answer is this error status; 429 says to come again after a second.
    StatusBefore(u16),
    /// It is made, and the answer is this error status nevertheless.
    StatusAfter(u16),
    /// It is not made, and the connection is reset.
    ResetBefore,
    /// It is made, and the connection is reset before the answer.
    ResetAfter,
}

/// All batches, and how they are to be treated.
pub(super) struct Batches {
    /// Milliseconds until the items of a new one have their turn.
    pub(super) delay_ms: u64,
    /// Milliseconds that making one takes; it is there after the half of it.
    pub(super) making_ms: u64,
    /// Milliseconds after which a new one is in the list.
    pub(super) unlisted_ms: u64,
    /// How many milliseconds the clock that new ones are dated by is behind.
    pub(super) behind_ms: u64,
    /// How making the next ones goes wrong.
    pub(super) faults: VecDeque<BatchFault>,
    /// What the next requests about batches that were made are refused with.
    pub(super) refusals: VecDeque<u16>,
    /// How many of the next results break off.
    pub(super) broken_results: u32,
    /// In the order in which they were made.
    pub(super) all: Vec<Batch>,
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            delay_ms: DELAY_MS_DEFAULT,
            making_ms: 0,
            unlisted_ms: 0,
            behind_ms: 0,
            faults: VecDeque::new(),
            refusals: VecDeque::new(),
            broken_results: 0,
            all: Vec::new(),
        }
    }
}

impl Batches {
    fn of_id(&mut self, id: &str) -> Option<&mut Batch> {
        self.all.iter_mut().find(|batch| batch.id == id)
    }

    /// Whether these results are among those that break off.
    fn breaks(&mut self, reply: &Reply) -> bool {
        let breaks = reply.is_jsonl() && self.broken_results > 0;
        self.broken_results -= u32::from(breaks);
        breaks
    }
}

/// A batch that was made.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Such as `msgbatch_0123456789abcdef`; a later one is not always a greater one.
    pub id: String,
    /// When it was made, as it says.
    pub created_at: Moment,
    /// When it was canceled first.
    pub cancel_initiated_at: Option<Moment>,
    /// When its last item had its turn.
    pub ended_at: Option<Moment>,
    /// How often it was asked how far it is.
    pub polls: u64,
    /// As they were asked for.
    pub items: Vec<BatchItem>,
    listed_at: Moment,
    url: String,
    /// Wakes it when it is canceled.
    canceled: Arc<Notify>,
    /// The lines of the results, and the type of each; none before its end.
    results: Vec<(&'static str, Value)>,
}

/// An item of a batch.
#[derive(Clone, Debug)]
pub struct BatchItem {
    /// What its result is told by.
    pub custom_id: String,
    /// The request for a message.
    pub params: Value,
}

impl Batch {
    fn told(&self) -> Value {
        let count = |kind: &str| self.results.iter().filter(|(of, _)| *of == kind).count();
        let status = match (self.ended_at, self.cancel_initiated_at) {
            (Some(_), _) => "ended",
            (None, Some(_)) => "canceling",
            (None, None) => "in_progress",
        };
        json!({
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {
                "processing": self.items.len() - self.results.len(),
                "succeeded": count("succeeded"),
                "errored": count("errored"),
                "canceled": count("canceled"),
                "expired": count("expired"),
            },
            "created_at": self.created_at.rfc3339(),
            "expires_at": Moment(self.created_at.0 + DAY_MS).rfc3339(),
            "ended_at": self.ended_at.map(Moment::rfc3339),
            "cancel_initiated_at": self.cancel_initiated_at.map(Moment::rfc3339),
            "archived_at": null,
            "results_url": self.ended_at.map(|_| format!("{}/results", self.url)),
        })
    }

    fn cancel(&mut self) {
        self.cancel_initiated_at.get_or_insert_with(Moment::of_system);
        self.canceled.notify_one();
    }
}

/// Answers all requests about batches that were made.
pub(super) async fn route(
    request: &Request,
    path: &[&str],
    connection: &mut Connection,
    books: &Books,
) -> Result<(), Over> {
    let (reply, breaks) = {
        let mut batches = locked(&books.batches);
        let reply = answer(request, path, connection, &mut batches);
        let breaks = batches.breaks(&reply);
        (reply, breaks)
    };
    if breaks { connection.send_half(reply).await } else { connection.send(reply).await }
}

fn answer(request: &Request, path: &[&str], connection: &Connection, batches: &mut Batches) -> Reply {
    if let Some(status) = batches.refusals.pop_front() {
        return refuse::for_a_while(connection, status, "refused on request");
    }
    match (request.method.as_str(), path) {
        ("GET", []) => list::list(batches, &request.query, connection),
        (method, [id, rest @ ..]) => match batches.of_id(id) {
            Some(batch) => of_batch(method, rest, batch, connection),
            None => refuse::refusal(connection, 404, "no such batch"),
        },
        _ => refuse::refusal(connection, 404, "no such thing"),
    }
}

fn of_batch(method: &str, rest: &[&str], batch: &mut Batch, connection: &Connection) -> Reply {
    match (method, rest) {
        ("GET", []) => {
            batch.polls += 1;
            Reply::json(200, &batch.told())
        }
        ("POST", ["cancel"]) if batch.ended_at.is_some() => refuse::refusal(connection, 400, "it has ended already"),
        ("POST", ["cancel"]) => {
            batch.cancel();
            Reply::json(200, &batch.told())
        }
        ("GET", ["results"]) if batch.ended_at.is_some() => {
            // In no order that a client could rely on.
            let lines: Vec<String> = batch.results.iter().rev().map(|(_, line)| format!("{line}\n")).collect();
            Reply::jsonl(lines.concat())
        }
        _ => refuse::refusal(connection, 404, "no such thing, or not yet"),
    }
}

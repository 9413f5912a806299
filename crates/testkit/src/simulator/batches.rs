//! Message Batches, in memory: all items of a batch are processed at one moment, a while after it was made. An item is told
//! apart by its own script.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use claude_code_api_service::window::Moment;
use serde_json::{Value, json};

use super::{
    Billed,
    bill::{Books, Meter, locked},
    fault::Item,
    http::{Connection, Over, Reply},
    message, refuse,
};

const DELAY_MS_DEFAULT: u64 = 50;
const DAY_MS: i64 = 86_400_000;

/// All batches, by id.
pub(super) struct Batches {
    /// Milliseconds until the items of a new one are processed.
    pub(super) delay_ms: u64,
    all: BTreeMap<String, Batch>,
}

impl Default for Batches {
    fn default() -> Self {
        Self { delay_ms: DELAY_MS_DEFAULT, all: BTreeMap::new() }
    }
}

struct Batch {
    url: String,
    created_at: Moment,
    cancel_initiated_at: Option<Moment>,
    /// When it was processed.
    ended_at: Option<Moment>,
    items: Vec<Value>,
    /// The lines of the results, and the type of each.
    results: Vec<(&'static str, Value)>,
}

impl Batch {
    fn told(&self, id: &str) -> Value {
        let count = |kind: &str| self.results.iter().filter(|(of, _)| *of == kind).count();
        let status = match (self.ended_at, self.cancel_initiated_at) {
            (Some(_), _) => "ended",
            (None, Some(_)) => "canceling",
            (None, None) => "in_progress",
        };
        json!({
            "id": id,
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
}

/// Makes a batch.
#[expect(clippy::disallowed_methods, reason = "batches end with the simulator's runtime")]
pub(super) async fn create(body: &Value, connection: &mut Connection, books: &Arc<Books>) -> Result<(), Over> {
    let items = body["requests"].as_array().filter(|items| !items.is_empty());
    let Some(items) = items.filter(|items| items.iter().all(|item| item["custom_id"].is_string())) else {
        return connection
            .send(refuse::refusal(connection, 400, "requests: Field required, each with custom_id"))
            .await;
    };
    let id = books.id("msgbatch");
    let batch = Batch {
        url: format!("{}/v1/messages/batches/{id}", connection.base_url()),
        created_at: Moment::of_system(),
        cancel_initiated_at: None,
        ended_at: None,
        items: items.clone(),
        results: Vec::new(),
    };
    let (told, delay_ms) = {
        let mut batches = locked(&books.batches);
        let told = batch.told(&id);
        batches.all.insert(id.clone(), batch);
        (told, batches.delay_ms)
    };
    let books = Arc::clone(books);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        process(&id, &books);
    });
    connection.send(Reply::json(200, &told)).await
}

/// Answers all other requests about batches.
pub(super) async fn route(method: &str, path: &[&str], connection: &mut Connection, books: &Books) -> Result<(), Over> {
    let reply = {
        let mut batches = locked(&books.batches);
        match (method, path) {
            ("GET", []) => list(&batches),
            (method, [id, rest @ ..]) => match batches.all.get_mut(*id) {
                Some(batch) => of_batch(method, id, rest, batch, connection),
                None => refuse::refusal(connection, 404, "no such batch"),
            },
            _ => refuse::refusal(connection, 404, "no such thing"),
        }
    };
    connection.send(reply).await
}

fn list(batches: &Batches) -> Reply {
    // The newest comes first.
    let data: Vec<Value> = batches.all.iter().rev().map(|(id, batch)| batch.told(id)).collect();
    let id = |batch: Option<&Value>| batch.map(|batch| batch["id"].clone());
    Reply::json(
        200,
        &json!({"data": data, "has_more": false, "first_id": id(data.first()), "last_id": id(data.last())}),
    )
}

fn of_batch(method: &str, id: &str, rest: &[&str], batch: &mut Batch, connection: &Connection) -> Reply {
    match (method, rest) {
        ("GET", []) => Reply::json(200, &batch.told(id)),
        ("POST", ["cancel"]) => {
            if batch.ended_at.is_none() {
                batch.cancel_initiated_at.get_or_insert_with(Moment::of_system);
            }
            Reply::json(200, &batch.told(id))
        }
        ("GET", ["results"]) if batch.ended_at.is_some() => {
            // In no order that a client could rely on.
            let lines: Vec<String> = batch.results.iter().rev().map(|(_, line)| format!("{line}\n")).collect();
            Reply::new(200, "application/x-jsonl", lines.concat())
        }
        _ => refuse::refusal(connection, 404, "no such thing, or not yet"),
    }
}

/// Every item of a batch has its turn.
fn process(id: &str, books: &Arc<Books>) {
    let (items, is_canceled) = {
        let batches = locked(&books.batches);
        let Some(batch) = batches.all.get(id) else { return };
        (batch.items.clone(), batch.cancel_initiated_at.is_some())
    };
    let of_item = |item: &Value| {
        let (kind, result) = if is_canceled { ("canceled", json!({})) } else { result(&item["params"], books) };
        let mut line = json!({"custom_id": item["custom_id"], "result": result});
        line["result"]["type"] = kind.into();
        (kind, line)
    };
    let results = items.iter().map(of_item).collect();
    if let Some(batch) = locked(&books.batches).all.get_mut(id) {
        (batch.results, batch.ended_at) = (results, Some(Moment::of_system()));
    }
}

fn result(params: &Value, books: &Arc<Books>) -> (&'static str, Value) {
    let script = books.script(params);
    let failed = script.status.or(script.fault.map(|_| 500)).map(|_| Item::Errored);
    match script.item.or(failed) {
        Some(Item::Canceled) => ("canceled", json!({})),
        Some(Item::Expired) => ("expired", json!({})),
        Some(Item::Errored) => ("errored", json!({"error": refuse::of_item(&script, &books.id("req"))})),
        None => {
            let billed = Billed { batch: true, ..script.billed(params) };
            Meter::open(books, &billed).finish();
            ("succeeded", json!({"message": message::whole(&script, &billed, params, &books.id("msg"))}))
        }
    }
}

//! The items of a batch have their turn, one after the other; the results are there when the last has had it.

use std::{sync::Arc, time::Duration};

use claude_code_api_service::window::Moment;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Batch, BatchItem, DELAY_MS_DEFAULT};
use crate::simulator::{
    Billed, Script, answer,
    bill::{Books, Meter, locked},
    fault::Item,
    message, refuse,
};

/// Processes a batch that was just made.
pub(super) async fn process(batch: Batch, delay_ms: u64, books: Arc<Books>) {
    let is_canceled = || {
        let batch = locked(&books.batches).of_id(&batch.id).map(|batch| batch.cancel_initiated_at);
        batch.flatten().is_some()
    };
    if timeout(Duration::from_millis(delay_ms), batch.canceled.notified()).await.is_ok() {
        // Not at once: it is `canceling` before.
        sleep(Duration::from_millis(DELAY_MS_DEFAULT)).await;
    }
    let mut results = Vec::with_capacity(batch.items.len());
    for item in &batch.items {
        let (kind, mut result) = if is_canceled() { ("canceled", json!({})) } else { result(item, &books).await };
        result["type"] = kind.into();
        results.push((kind, json!({"custom_id": item.custom_id, "result": result})));
    }
    if let Some(batch) = locked(&books.batches).of_id(&batch.id) {
        (batch.results, batch.ended_at) = (results, Some(Moment::of_system()));
    }
}

/// One item has its turn, which a cancel does not cut short.
async fn result(item: &BatchItem, books: &Arc<Books>) -> (&'static str, Value) {
    let request_id = books.id("req");
    if let Some(why) = invalid(&item.params) {
        return ("errored", json!({"error": refuse::error("invalid_request_error", why, &request_id)}));
    }
    let script = books.script(&item.params);
    if script.delay_ms > 0 {
        sleep(Duration::from_millis(script.delay_ms)).await;
    }
    let failed = script.status.or(script.fault.map(|_| 500)).map(|_| Item::Errored);
    match script.item.or(failed) {
        Some(Item::Canceled) => ("canceled", json!({})),
        Some(Item::Expired) => ("expired", json!({})),
        Some(Item::Errored) => ("errored", json!({"error": refuse::of_item(&script, &request_id)})),
        None => ("succeeded", json!({"message": succeed(&script, &item.params, books)})),
    }
}

/// What the API does not take in a batch: what it says of it, at the item's turn.
fn invalid(params: &Value) -> Option<&'static str> {
    if params["stream"] == true { Some("stream: not in a batch") } else { answer::invalid(params) }
}

fn succeed(script: &Script, params: &Value, books: &Arc<Books>) -> Value {
    let billed = Billed { batch: true, ..script.billed(params) };
    Meter::open(books, &billed).finish();
    message::whole(script, &billed, params, &books.id("msg"))
}

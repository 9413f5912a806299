//! `POST /v1/messages/batches`: what is refused, and what goes wrong with what is made.

use std::{collections::BTreeSet, sync::Arc};

use claude_code_api_service::window::Moment;
use serde_json::Value;
use tokio::sync::Notify;

use super::{Batch, BatchFault, BatchItem, process};
use crate::simulator::{
    bill::{Books, locked},
    http::{Connection, Over, Reply},
    refuse,
};

const ITEMS_MAX: usize = 100_000;
const CUSTOM_ID_LENGTH_MAX: usize = 64;

/// Makes a batch.
pub(in crate::simulator) async fn create(
    body: &Value,
    connection: &mut Connection,
    books: &Arc<Books>,
) -> Result<(), Over> {
    let items = match items(body) {
        Ok(items) => items,
        Err(why) => return connection.send(refuse::refusal(connection, 400, &why)).await,
    };
    let (fault, making_ms) = {
        let mut batches = locked(&books.batches);
        (batches.faults.pop_front(), batches.making_ms)
    };
    connection.rest(making_ms / 2).await?;
    match fault {
        Some(BatchFault::StatusBefore(status)) => return refuse(status, connection).await,
        Some(BatchFault::ResetBefore) => return Err(connection.reset()),
        Some(BatchFault::StatusAfter(_) | BatchFault::ResetAfter) | None => {}
    }
    let told = make(items, &connection.base_url(), books);
    connection.rest(making_ms / 2).await?;
    match fault {
        Some(BatchFault::StatusAfter(status)) => refuse(status, connection).await,
        Some(BatchFault::ResetAfter) => Err(connection.reset()),
        Some(BatchFault::StatusBefore(_) | BatchFault::ResetBefore) | None => {
            connection.send(Reply::json(200, &told)).await
        }
    }
}

async fn refuse(status: u16, connection: &mut Connection) -> Result<(), Over> {
    connection.send(refuse::for_a_while(connection, status, "refused on request")).await
}

/// The items that a body asks for, or what the API says of it. What is in their params is looked at when they have their turn.
fn items(body: &Value) -> Result<Vec<BatchItem>, String> {
    let requests = body["requests"].as_array().filter(|requests| !requests.is_empty());
    let requests = requests.ok_or("requests: Field required, with at least one item")?;
    if requests.len() > ITEMS_MAX {
        return Err(format!("requests: at most {ITEMS_MAX} items"));
    }
    let mut seen = BTreeSet::new();
    let mut items = Vec::with_capacity(requests.len());
    for (place, request) in requests.iter().enumerate() {
        let custom_id = request["custom_id"].as_str().filter(|id| is_custom_id(id));
        let custom_id = custom_id.ok_or(format!("requests.{place}.custom_id: not as ^[a-zA-Z0-9_-]{{1,64}}$"))?;
        if !seen.insert(custom_id) {
            return Err(format!("requests.{place}.custom_id: {custom_id} is there twice"));
        }
        if !request["params"].is_object() {
            return Err(format!("requests.{place}.params: Field required"));
        }
        items.push(BatchItem { custom_id: custom_id.to_owned(), params: request["params"].clone() });
    }
    Ok(items)
}

fn is_custom_id(id: &str) -> bool {
    let takes = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=CUSTOM_ID_LENGTH_MAX).contains(&id.len()) && id.bytes().all(takes)
}

#[expect(clippy::disallowed_methods, reason = "batches end with the simulator's runtime")]
fn make(items: Vec<BatchItem>, base_url: &str, books: &Arc<Books>) -> Value {
    let mut batches = locked(&books.batches);
    // By the bits of the golden ratio: no two are the same, and they are in no order.
    let number = (batches.all.len() as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let (id, now) = (format!("msgbatch_{number:016x}"), Moment::of_system());
    let batch = Batch {
        url: format!("{base_url}/v1/messages/batches/{id}"),
        id: id.clone(),
        created_at: Moment(now.0.saturating_sub_unsigned(batches.behind_ms)),
        listed_at: Moment(now.0.saturating_add_unsigned(batches.unlisted_ms)),
        cancel_initiated_at: None,
        ended_at: None,
        polls: 0,
        items,
        canceled: Arc::new(Notify::new()),
        results: Vec::new(),
    };
    let told = batch.told();
    tokio::spawn(process::process(batch.clone(), batches.delay_ms, Arc::clone(books)));
    batches.all.push(batch);
    told
}

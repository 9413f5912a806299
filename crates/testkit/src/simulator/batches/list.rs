//! `GET /v1/messages/batches`: pages of the list, the newest first.

use claude_code_api_service::window::Moment;
use serde_json::{Value, json};

use super::{Batch, Batches};
use crate::simulator::{
    http::{Connection, Reply},
    refuse,
};

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1_000;

pub(super) fn list(batches: &Batches, query: &str, connection: &Connection) -> Reply {
    let now = Moment::of_system();
    let listed: Vec<&Batch> = batches.all.iter().rev().filter(|batch| batch.listed_at <= now).collect();
    match page(&listed, query) {
        Ok((page, has_more)) => {
            let data: Vec<Value> = page.iter().map(|batch| batch.told()).collect();
            let id = |batch: Option<&&Batch>| batch.map(|batch| batch.id.clone());
            let (first_id, last_id) = (id(page.first()), id(page.last()));
            let told = json!({"data": data, "has_more": has_more, "first_id": first_id, "last_id": last_id});
            Reply::json(200, &told)
        }
        Err(why) => refuse::refusal(connection, 400, why),
    }
}

/// A page, and whether there is more beyond it in the direction that was asked for.
fn page<'a>(listed: &'a [&'a Batch], query: &str) -> Result<(&'a [&'a Batch], bool), &'static str> {
    let asked = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find_map(|(of, value)| (of == name).then_some(value))
    };
    let place = |cursor: &str| listed.iter().position(|batch| batch.id == cursor).ok_or("no such batch");
    let limit = asked("limit").map_or(Ok(LIMIT_DEFAULT), str::parse);
    let limit = limit.ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or("limit: from 1 to 1000")?;
    match (asked("after_id"), asked("before_id")) {
        (Some(_), Some(_)) => Err("after_id, before_id: only one of them"),
        (None, Some(before)) => {
            let newer = &listed[..place(before)?];
            let begin = newer.len().saturating_sub(limit);
            Ok((&newer[begin..], begin > 0))
        }
        (after, None) => {
            let older = &listed[after.map_or(Ok(0), |after| place(after).map(|place| place + 1))?..];
            Ok((&older[..limit.min(older.len())], older.len() > limit))
        }
    }
}

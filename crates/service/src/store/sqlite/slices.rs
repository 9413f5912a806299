//! Slices of economy batches, as rows.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::{batches, rows::amount};
use crate::{
    id::{BatchId, EntryId, SliceId},
    ledger::Reserved,
    slice::{Adopted, Held, NewItem, NewSlice, Slice, SliceChange, SliceItem},
    window::Moment,
};

/// Nobody works on slices any more.
pub(super) fn give_back_all(db: &Connection) -> Result<()> {
    db.execute("update slice set epoch = null where ended_at is null", [])?;
    Ok(())
}

/// The items that a slice may be made of: what this process has taken on, and what is in the slice already.
pub(super) fn ours(db: &Connection, slice: &NewSlice, epoch: i64) -> Result<BTreeSet<u32>> {
    let sql = "select 1 from item where batch = ?1 and place = ?2 and number is null and (epoch = ?3 or slice = ?4)";
    let mut is_ours = db.prepare_cached(sql)?;
    let mut ours = BTreeSet::new();
    for NewItem { place, .. } in &slice.items {
        if is_ours.exists(params![slice.batch.as_bytes(), place, epoch, slice.id.as_bytes()])? {
            ours.insert(*place);
        }
    }
    Ok(ours)
}

/// Makes a slice of the items that are held for.
pub(super) fn open(
    db: &Connection,
    slice: &NewSlice,
    holds: &[(u32, Reserved)],
    epoch: i64,
    now: Moment,
) -> Result<()> {
    let held: BTreeSet<u32> =
        holds.iter().filter(|(_, hold)| matches!(hold, Reserved::Granted(_))).map(|(place, _)| *place).collect();
    if held.is_empty() {
        return Ok(());
    }
    let put = "insert or ignore into slice (id, batch, epoch, created_at, sent_at) values (?1, ?2, ?3, ?4, ?4)";
    db.prepare_cached(put)?.execute(params![slice.id.as_bytes(), slice.batch.as_bytes(), epoch, now.0])?;
    let mut put = db.prepare_cached(
        "update item set slice = ?3, entry = ?4, route = ?5, epoch = null, attempts = attempts + 1
         where batch = ?1 and place = ?2 and slice is null",
    )?;
    for NewItem { place, reserve, route } in slice.items.iter().filter(|item| held.contains(&item.place)) {
        put.execute(params![slice.batch.as_bytes(), place, slice.id.as_bytes(), reserve.id.as_bytes(), route])?;
    }
    Ok(())
}

pub(super) fn take(db: &Connection, epoch: i64) -> Result<Vec<Slice>> {
    let take = "update slice set epoch = ?1 where ended_at is null and epoch is null";
    db.prepare_cached(take)?.execute([epoch])?;
    let sql = "select id, batch, upstream, adopted, created_at, sent_at from slice
               where ended_at is null and epoch = ?1 order by id";
    let read = |row: &Row<'_>| {
        Ok(Slice {
            id: SliceId::from_bytes(row.get(0)?),
            batch: BatchId::from_bytes(row.get(1)?),
            upstream: row.get(2)?,
            is_adopted: row.get(3)?,
            created_at: Moment(row.get(4)?),
            sent_at: row.get::<_, Option<i64>>(5)?.map(Moment),
        })
    };
    db.prepare_cached(sql)?.query_map([epoch], read)?.collect()
}

/// Whether it is so now.
pub(super) fn change(db: &Connection, id: SliceId, change: &SliceChange, now: Moment) -> Result<bool> {
    let id = id.as_bytes();
    match change {
        SliceChange::Sending => {
            let put = "update slice set sent_at = ?2 where id = ?1 and ended_at is null";
            return Ok(db.prepare_cached(put)?.execute(params![id, now.0])? == 1);
        }
        SliceChange::Refused => {
            db.prepare_cached("update slice set sent_at = null where id = ?1")?.execute([id])?;
        }
        SliceChange::Submitted(upstream) => {
            // Whoever had adopted it was wrong.
            let others = "update slice set upstream = null, adopted = 0 where upstream = ?2 and id <> ?1 and adopted";
            db.prepare_cached(others)?.execute(params![id, upstream])?;
            let put = "update slice set upstream = ?2, adopted = 0 where id = ?1";
            db.prepare_cached(put)?.execute(params![id, upstream])?;
        }
        SliceChange::NotOurs => {
            let put = "update slice set upstream = null, adopted = 0 where id = ?1 and adopted";
            db.prepare_cached(put)?.execute([id])?;
        }
        SliceChange::Ended => {
            db.prepare_cached("update slice set ended_at = ?2, epoch = null where id = ?1")?
                .execute(params![id, now.0])?;
        }
    }
    Ok(true)
}

pub(super) fn adopt(db: &Connection, id: SliceId, found: &[String]) -> Result<Adopted> {
    let had = "select upstream from slice where id = ?1";
    let had: Option<Option<String>> =
        db.prepare_cached(had)?.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
    if let Some(Some(upstream)) = had {
        return Ok(Adopted::Batch(upstream));
    }
    let mut whose = db.prepare_cached("select adopted and ended_at is null from slice where upstream = ?1")?;
    let mut is_contended = false;
    for upstream in found {
        let Some(may_be_free) = whose.query_row([upstream], |row| row.get::<_, bool>(0)).optional()? else {
            let put = "update slice set upstream = ?2, adopted = 1 where id = ?1";
            db.prepare_cached(put)?.execute(params![id.as_bytes(), upstream])?;
            return Ok(Adopted::Batch(upstream.clone()));
        };
        is_contended |= may_be_free;
    }
    Ok(if is_contended { Adopted::Contended } else { Adopted::Nothing })
}

pub(super) fn items(db: &Connection, id: SliceId) -> Result<Vec<SliceItem>> {
    let sql = "select place, item.entry, attempts, coalesce(reservation.model, entry.model, ''), reservation.held_tokens,
               reservation.held_nanos, reservation.input_tokens, route from item
               left join reservation on reservation.id = item.entry left join entry on entry.id = item.entry
               where item.batch = (select batch from slice where id = ?1) and slice = ?1 and number is null order by place";
    let read = |row: &Row<'_>| {
        let input_tokens: Option<i64> = row.get(6)?;
        let held =
            input_tokens.map(|input_tokens| Ok::<_, rusqlite::Error>(Held { amount: amount(row, 4)?, input_tokens }));
        Ok(SliceItem {
            place: row.get(0)?,
            entry: EntryId::from_bytes(row.get(1)?),
            attempts: row.get(2)?,
            model: row.get(3)?,
            route: row.get(7)?,
            held: held.transpose()?,
        })
    };
    db.prepare_cached(sql)?.query_map([id.as_bytes()], read)?.collect()
}

pub(super) fn return_items(db: &Connection, id: SliceId, places: &[u32], now: Moment) -> Result<()> {
    let batch = "select batch from slice where id = ?1";
    let batch: Option<[u8; 16]> = db.prepare_cached(batch)?.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
    let Some(batch) = batch else { return Ok(()) };
    let sql =
        "update item set slice = null, entry = null where batch = ?1 and place = ?2 and slice = ?3 and number is null";
    let mut put = db.prepare_cached(sql)?;
    for place in places {
        put.execute(params![batch, place, id.as_bytes()])?;
    }
    batches::end_if_over(db, BatchId::from_bytes(batch), now)
}

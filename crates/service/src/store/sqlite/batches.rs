//! Stored batches and their items, as rows.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::rows::read_project_id;
use crate::{
    id::BatchId,
    job::{Added, BatchJob, EndedItem, Item, ItemResult, NewBatchJob, NewItem, OpenBatchJob, Sums, Terms},
    project::ProjectId,
    store::jobs::FORGOTTEN_MAX,
    window::Moment,
};

const JOB: &str =
    "id, project, total, completed, failed, cost_nanos, tokens, created_at, cancelled_at, ended_at, expires_at,
    economy";

const END: &str = "update batch set ended_at = ?2, expires_at = ?2 + kept_ms
    where id = ?1 and ended_at is null and (completed + failed = total or cancelled_at is not null)
    and not exists (select 1 from item where batch = ?1 and number is null and epoch is not null)
    and not exists (select 1 from item where batch = ?1 and number is null and slice is not null)";

/// What a process that has ended had taken on waits again; items of a batch that was never accepted go.
pub(super) fn give_back_all(db: &Connection) -> Result<()> {
    db.execute_batch(
        "update item set epoch = null where number is null and epoch is not null;
         delete from item where batch not in (select id from batch);",
    )
}

/// Some of the items of a batch that is about to be stored.
pub(super) fn add_items(db: &Connection, batch: BatchId, from: u32, items: &[NewItem]) -> Result<()> {
    let mut insert =
        db.prepare_cached("insert or ignore into item (batch, place, prompt, name) values (?1, ?2, ?3, ?4)")?;
    for (place, NewItem { prompt, name }) in (from..).zip(items) {
        insert.execute(params![batch.as_bytes(), place, prompt, name])?;
    }
    Ok(())
}

/// Stores a batch of which `total` items are there.
pub(super) fn add(db: &Connection, new: &NewBatchJob, total: u64, now: Moment) -> Result<Added> {
    if let Some(added) = known(db, new)? {
        // The items of one that was stored under another id.
        let orphans = "delete from item where batch = ?1 and not exists (select 1 from batch where id = ?1)";
        db.prepare_cached(orphans)?.execute([new.id.as_bytes()])?;
        return Ok(added);
    }
    let Terms { project, makes_project, items_max, request, is_economy } = &new.terms;
    let put = "insert into batch (id, project, makes_project, items_max, request, scope, fingerprint, total, kept_ms,
               created_at, economy, completed, failed, cost_nanos, tokens)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, 0, 0, 0)";
    db.prepare_cached(put)?.execute(params![
        new.id.as_bytes(),
        project.as_str(),
        makes_project,
        items_max,
        request,
        new.claim.as_ref().map(|claim| claim.scope.as_bytes()),
        new.claim.as_ref().map(|claim| claim.fingerprint),
        total.cast_signed(),
        i64::try_from(new.kept_for.as_millis()).unwrap_or(i64::MAX),
        now.0,
        is_economy,
    ])?;
    end_if_over(db, new.id, now)?;
    Ok(Added::Stored(job(db, new.id)?.expect("it was stored just now")))
}

/// What is stored already of a batch that is sent again.
pub(super) fn known(db: &Connection, new: &NewBatchJob) -> Result<Option<Added>> {
    if let Some(job) = job(db, new.id)? {
        return Ok(Some(Added::Stored(job)));
    }
    let Some(claim) = &new.claim else { return Ok(None) };
    let sql = "select id, fingerprint from batch where scope = ?1";
    let found = db
        .prepare_cached(sql)?
        .query_row([claim.scope.as_bytes()], |row| Ok((BatchId::from_bytes(row.get(0)?), row.get::<_, [u8; 32]>(1)?)));
    Ok(match found.optional()? {
        None => None,
        Some((id, fingerprint)) if fingerprint == claim.fingerprint => job(db, id)?.map(Added::Stored),
        Some(_) => Some(Added::Conflict),
    })
}

pub(super) fn take(db: &Connection, batch: BatchId, epoch: i64, count_max: u32) -> Result<Vec<Item>> {
    let sql = "update item set epoch = ?2 where rowid in (
                   select rowid from item where batch = ?1 and number is null and epoch is null and slice is null
                   order by place limit ?3
               ) and exists (select 1 from batch where id = ?1 and cancelled_at is null)
               returning place, prompt";
    let read = |row: &Row<'_>| Ok(Item { place: row.get(0)?, prompt: row.get(1)? });
    let mut taken: Vec<Item> =
        db.prepare_cached(sql)?.query_map(params![batch.as_bytes(), epoch, count_max], read)?.collect::<Result<_>>()?;
    taken.sort_unstable_by_key(|item| item.place);
    Ok(taken)
}

pub(super) fn end(db: &Connection, batch: BatchId, ended: &[EndedItem], now: Moment) -> Result<()> {
    let id = batch.as_bytes();
    let told = "select completed + failed from batch where id = ?1";
    let Some(mut last): Option<i64> = db.prepare_cached(told)?.query_row([id], |row| row.get(0)).optional()? else {
        return Ok(());
    };
    let mut sums = Sums::default();
    let mut put = db.prepare_cached(
        "update item set number = ?3, result = ?4, epoch = null where batch = ?1 and place = ?2 and number is null",
    )?;
    for item in ended {
        if put.execute(params![id, item.place, last + 1, item.result])? == 1 {
            last += 1;
            sums.add(item.sums);
        }
    }
    let add = "update batch set completed = completed + ?2, failed = failed + ?3, cost_nanos = cost_nanos + ?4,
               tokens = tokens + ?5 where id = ?1";
    let Sums { completed, failed, nanos, tokens } = sums;
    db.prepare_cached(add)?.execute(params![
        id,
        completed.cast_signed(),
        failed.cast_signed(),
        nanos,
        tokens.cast_signed()
    ])?;
    end_if_over(db, batch, now)
}

/// Ends a batch that has nothing left to wait for.
pub(super) fn end_if_over(db: &Connection, batch: BatchId, now: Moment) -> Result<()> {
    db.prepare_cached(END)?.execute(params![batch.as_bytes(), now.0])?;
    Ok(())
}

/// What this process had taken on waits again, but for these.
pub(super) fn give_back(db: &Connection, batch: BatchId, epoch: i64, all_but: &[u32], now: Moment) -> Result<()> {
    let sql = "select place from item where batch = ?1 and number is null and epoch = ?2";
    let mut taken = db.prepare_cached(sql)?;
    let taken = taken.query_map(params![batch.as_bytes(), epoch], |row| row.get::<_, u32>(0))?;
    let mut give_back = db.prepare_cached("update item set epoch = null where batch = ?1 and place = ?2")?;
    for place in taken.collect::<Result<Vec<_>>>()?.iter().filter(|place| !all_but.contains(place)) {
        give_back.execute(params![batch.as_bytes(), place])?;
    }
    end_if_over(db, batch, now)
}

pub(super) fn cancel(db: &Connection, batch: BatchId, now: Moment) -> Result<Option<BatchJob>> {
    let cancel = "update batch set cancelled_at = ?2 where id = ?1 and ended_at is null and cancelled_at is null";
    db.prepare_cached(cancel)?.execute(params![batch.as_bytes(), now.0])?;
    end_if_over(db, batch, now)?;
    job(db, batch)
}

/// Deletes something of one batch whose time is over; how many rows.
pub(super) fn forget_expired(db: &Connection, now: Moment) -> Result<usize> {
    let expired = "select id from batch where expires_at <= ?1 limit 1";
    let found: Option<[u8; 16]> = db.prepare_cached(expired)?.query_row([now.0], |row| row.get(0)).optional()?;
    let Some(id) = found else { return Ok(0) };
    let items = "delete from item where rowid in (select rowid from item where batch = ?1 limit ?2)";
    let deleted = db.prepare_cached(items)?.execute(params![id, FORGOTTEN_MAX])?;
    if deleted > 0 {
        return Ok(deleted);
    }
    db.prepare_cached("delete from slice where batch = ?1")?.execute([id])?;
    db.prepare_cached("delete from batch where id = ?1")?.execute([id])
}

pub(super) fn job(db: &Connection, id: BatchId) -> Result<Option<BatchJob>> {
    let sql = format!("select {JOB} from batch where id = ?1");
    db.prepare_cached(&sql)?.query_row([id.as_bytes()], read_job).optional()
}

pub(super) fn jobs(
    db: &Connection,
    project: &ProjectId,
    before: Option<BatchId>,
    count_max: u32,
) -> Result<Vec<BatchJob>> {
    let sql =
        format!("select {JOB} from batch where project = ?1 and (?2 is null or id < ?2) order by id desc limit ?3");
    let before = before.map(|id| *id.as_bytes());
    db.prepare_cached(&sql)?.query_map(params![project.as_str(), before, count_max], read_job)?.collect()
}

pub(super) fn open(db: &Connection) -> Result<Vec<OpenBatchJob>> {
    let sql = "select id, project, makes_project, items_max, request, cancelled_at is not null, economy from batch
               where ended_at is null order by id";
    let read = |row: &Row<'_>| {
        Ok(OpenBatchJob {
            id: BatchId::from_bytes(row.get(0)?),
            terms: Terms {
                project: read_project_id(row, 1)?,
                makes_project: row.get(2)?,
                items_max: row.get(3)?,
                request: row.get(4)?,
                is_economy: row.get(6)?,
            },
            is_cancelled: row.get(5)?,
        })
    };
    db.prepare_cached(sql)?.query_map([], read)?.collect()
}

pub(super) fn results(db: &Connection, batch: BatchId, after: u64, count_max: u32) -> Result<Vec<ItemResult>> {
    let sql = "select number, place, prompt, name, result from item where batch = ?1 and number > ?2
               order by number limit ?3";
    let read = |row: &Row<'_>| {
        Ok(ItemResult {
            number: row.get::<_, i64>(0)?.cast_unsigned(),
            place: row.get(1)?,
            prompt: row.get(2)?,
            name: row.get(3)?,
            result: row.get(4)?,
        })
    };
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    db.prepare_cached(sql)?.query_map(params![batch.as_bytes(), after, count_max], read)?.collect()
}

fn read_job(row: &Row<'_>) -> Result<BatchJob> {
    let count = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let moment = |at| row.get::<_, Option<i64>>(at).map(|at| at.map(Moment));
    Ok(BatchJob {
        id: BatchId::from_bytes(row.get(0)?),
        project: read_project_id(row, 1)?,
        is_economy: row.get(11)?,
        total: count(2)?,
        sums: Sums { completed: count(3)?, failed: count(4)?, nanos: row.get(5)?, tokens: count(6)? },
        created_at: Moment(row.get(7)?),
        cancelled_at: moment(8)?,
        ended_at: moment(9)?,
        expires_at: moment(10)?,
    })
}

//! Slices of economy batches. On the connection of batches: no call waits for them, but for who locks its project.

use std::collections::BTreeSet;

use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::{
    batches::END,
    connect::Connection,
    rows::{self, amount},
    writer::{Failure, LOCK_EPOCH, Named, load, load_gone},
};
use crate::{
    id::{BatchId, EntryId, SliceId},
    ledger::{Reserve, Reserved},
    slice::{Adopted, Held, NewItem, NewSlice, Slice, SliceChange, SliceItem},
    store::jobs::{Job, Outcome},
    window::Moment,
};

/// The items that a slice may be made of: what this process has taken on, and what is in the slice already.
const OURS: &str = "select place from item where batch = $1 and place = any($2) and number is null
    and (epoch = $3 or slice = $4) for update";
const OPEN: &str =
    "insert into slice (id, batch, epoch, created_at, sent_at) values ($1, $2, $3, $4, $4) on conflict do nothing";
const PUT_ITEMS: &str =
    "update item set slice = $2, entry = new.entry, route = new.route, epoch = null, attempts = attempts + 1
    from unnest($3::bigint[], $4::uuid[], $5::text[]) as new (place, entry, route)
    where item.batch = $1 and item.place = new.place and slice is null";
const TAKE: &str = "update slice set epoch = $1 where id = any(array(
        select id from slice where ended_at is null and epoch is null for update skip locked
    ))";
const OF_PROCESS: &str = "select * from slice where ended_at is null and epoch = $1 order by id";
/// Of a process that has ended.
pub(super) const GIVE_BACK_ALL: &str = "update slice set epoch = null where epoch = $1 and ended_at is null";
const SENDING: &str = "update slice set sent_at = now_ms() where id = $1 and epoch = $2 and ended_at is null";
const REFUSED: &str = "update slice set sent_at = null where id = $1";
/// Whoever had adopted it was wrong.
const TAKE_FROM_OTHERS: &str =
    "update slice set upstream = null, adopted = false where upstream = $2 and id <> $1 and adopted";
const SUBMITTED: &str = "update slice set upstream = $2, adopted = false where id = $1";
const NOT_OURS: &str = "update slice set upstream = null, adopted = false where id = $1 and adopted";
const ENDED: &str = "update slice set ended_at = now_ms(), epoch = null where id = $1";
const LOCK: &str = "select upstream from slice where id = $1 for update";
const WHOSE: &str = "select upstream, adopted and ended_at is null from slice where upstream = any($1)";
const ADOPT: &str = "update slice set upstream = $2, adopted = true where id = $1";
const ITEMS: &str = "select place, item.entry, attempts, coalesce(reservation.model, entry.model, ''),
        reservation.input_tokens, reservation.held_tokens, reservation.held_nanos, route
    from item left join reservation on reservation.id = item.entry left join entry on entry.id = item.entry
    where item.batch = (select batch from slice where id = $1) and slice = $1 and number is null order by place";
const BATCH: &str =
    "select batch.id from batch join slice on slice.batch = batch.id where slice.id = $1 for update of batch";
const RETURN: &str = "update item set slice = null, entry = null
    where batch = $1 and place = any($2) and slice = $3 and number is null";

/// What is asked of slices; `again`: it was tried before, and what became of that is not known.
pub(super) async fn carry_out(db: &Connection, epoch: i64, job: &Job, again: bool) -> Result<Outcome, Failure> {
    Ok(match job {
        Job::OpenSlice(slice, _) => Outcome::Holds(open(db, epoch, slice, again).await?),
        Job::TakeSlices(_) => Outcome::Slices(take(db, epoch).await?),
        Job::ChangeSlice(id, change, _) => Outcome::Changed(self::change(db, epoch, *id, change).await?),
        Job::Adopt(id, found, _) => Outcome::Adopted(adopt(db, *id, found).await?),
        Job::ReturnItems(id, places, _) => {
            return_items(db, *id, places).await?;
            Outcome::Done
        }
        _ => unreachable!("the others are not of slices"),
    })
}

async fn open(db: &Connection, epoch: i64, slice: &NewSlice, again: bool) -> Result<Vec<(u32, Reserved)>, Failure> {
    let reserves: Vec<&Reserve> = slice.items.iter().map(|item| &item.reserve).collect();
    let named = Named::of(&reserves);
    let mut books = load(db, epoch, &named).await?;
    if again {
        load_gone(db, &mut books, &named).await?;
    }
    let (id, batch) = (slice.id.as_uuid(), slice.batch.as_uuid());
    let places: Vec<i64> = slice.items.iter().map(|item| i64::from(item.place)).collect();
    let ours: BTreeSet<i64> =
        db.query(OURS, &[batch, &places, &epoch, id]).await?.iter().map(|row| row.get(0)).collect();
    let items = slice.items.iter().filter(|item| ours.contains(&i64::from(item.place)));
    let holds: Vec<(u32, Reserved)> = items.map(|item| (item.place, books.reserve(&item.reserve))).collect();
    let is_held = |place: u32| holds.iter().any(|(of, hold)| *of == place && matches!(hold, Reserved::Granted(_)));
    let held: Vec<&NewItem> = slice.items.iter().filter(|item| is_held(item.place)).collect();
    if !held.is_empty() {
        let places: Vec<i64> = held.iter().map(|item| i64::from(item.place)).collect();
        let entries: Vec<&Uuid> = held.iter().map(|item| item.reserve.id.as_uuid()).collect();
        let routes: Vec<Option<&str>> = held.iter().map(|item| item.route.as_deref()).collect();
        db.execute(OPEN, &[id, batch, &epoch, &books.now.0]).await?;
        db.execute(PUT_ITEMS, &[batch, id, &places, &entries, &routes]).await?;
    }
    rows::save_and_commit(db, &books.take_changes()).await?;
    Ok(holds)
}

async fn take(db: &Connection, epoch: i64) -> Result<Vec<Slice>, Failure> {
    db.run("begin").await?;
    let is_alive = db.first(LOCK_EPOCH, &[&epoch]).await?.is_some_and(|row| row.get(0));
    if !is_alive {
        return Err(Failure::Dead(epoch));
    }
    db.execute(TAKE, &[&epoch]).await?;
    let taken = db.query(OF_PROCESS, &[&epoch]).await?;
    db.run("commit").await?;
    Ok(taken.iter().map(slice_of).collect())
}

fn slice_of(row: &Row) -> Slice {
    Slice {
        id: SliceId::from_uuid(row.get("id")),
        batch: BatchId::from_uuid(row.get("batch")),
        upstream: row.get("upstream"),
        is_adopted: row.get("adopted"),
        created_at: Moment(row.get("created_at")),
        sent_at: row.get::<_, Option<i64>>("sent_at").map(Moment),
    }
}

/// Whether it is so now.
async fn change(db: &Connection, epoch: i64, id: SliceId, change: &SliceChange) -> Result<bool, Error> {
    let id = id.as_uuid();
    match change {
        SliceChange::Sending => return Ok(db.execute(SENDING, &[id, &epoch]).await? == 1),
        SliceChange::Refused => db.execute(REFUSED, &[id]).await?,
        SliceChange::Submitted(upstream) => {
            db.run("begin").await?;
            db.execute(TAKE_FROM_OTHERS, &[id, upstream]).await?;
            db.execute(SUBMITTED, &[id, upstream]).await?;
            db.run("commit").await?;
            0
        }
        SliceChange::NotOurs => db.execute(NOT_OURS, &[id]).await?,
        SliceChange::Ended => db.execute(ENDED, &[id]).await?,
    };
    Ok(true)
}

/// Where another process adopts the same at the same time, one of them fails, and tries again.
async fn adopt(db: &Connection, id: SliceId, found: &[String]) -> Result<Adopted, Error> {
    db.run("begin").await?;
    let had = db.first(LOCK, &[id.as_uuid()]).await?.and_then(|row| row.get::<_, Option<String>>(0));
    let adopted = match had {
        Some(upstream) => Adopted::Batch(upstream),
        None => adopt_first(db, id, found).await?,
    };
    db.run("commit").await?;
    Ok(adopted)
}

async fn adopt_first(db: &Connection, id: SliceId, found: &[String]) -> Result<Adopted, Error> {
    let whose = db.query(WHOSE, &[&found]).await?;
    let whose: Vec<(String, bool)> = whose.iter().map(|row| (row.get(0), row.get(1))).collect();
    let free = found.iter().find(|upstream| whose.iter().all(|(of, _)| of != *upstream));
    let Some(upstream) = free else {
        let is_contended = whose.iter().any(|(_, is_open)| *is_open);
        return Ok(if is_contended { Adopted::Contended } else { Adopted::Nothing });
    };
    db.execute(ADOPT, &[id.as_uuid(), upstream]).await?;
    Ok(Adopted::Batch(upstream.clone()))
}

pub(super) async fn items(db: &Connection, id: SliceId) -> Result<Vec<SliceItem>, Error> {
    let item = |row: &Row| {
        let input_tokens: Option<i64> = row.get(4);
        SliceItem {
            place: u32::try_from(row.get::<_, i64>(0)).expect("places of at most a hundred thousand items"),
            entry: EntryId::from_uuid(row.get(1)),
            attempts: u32::try_from(row.get::<_, i64>(2)).unwrap_or(u32::MAX),
            model: row.get(3),
            route: row.get("route"),
            held: input_tokens.map(|input_tokens| Held { amount: amount(row, 5), input_tokens }),
        }
    };
    Ok(db.query(ITEMS, &[id.as_uuid()]).await?.iter().map(item).collect())
}

async fn return_items(db: &Connection, id: SliceId, places: &[u32]) -> Result<(), Error> {
    let places: Vec<i64> = places.iter().map(|place| i64::from(*place)).collect();
    db.run("begin").await?;
    // As for whoever ends items of it, or cancels it.
    if let Some(batch) = db.first(BATCH, &[id.as_uuid()]).await?.map(|row| row.get::<_, Uuid>(0)) {
        db.execute(RETURN, &[&batch, &places, id.as_uuid()]).await?;
        db.execute(END, &[&batch]).await?;
    }
    db.run("commit").await
}

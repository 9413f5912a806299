//! Stored batches and their items. On a connection of its own: no call waits for them.

use tokio_postgres::{Error, Row};

use super::{connect::Connection, rows::project_id, writer::LOCK_EPOCH};
use crate::{
    id::BatchId,
    job::{Added, BatchJob, EndedItem, Item, ItemResult, NewBatchJob, OpenBatchJob, Sums, Terms},
    project::ProjectId,
    store::jobs::{Job, Outcome},
    window::Moment,
};

const ADD: &str =
    "insert into batch (id, project, makes_project, items_max, request, scope, fingerprint, total, kept_ms,
        economy, created_at, completed, failed, cost_nanos, tokens)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now_ms(), 0, 0, 0, 0) on conflict do nothing";
const ADD_ITEMS: &str = "insert into item (batch, place, prompt, name)
    select $1, ordinal - 1, prompt, name from unnest($2::text[], $3::text[]) with ordinality as new (prompt, name, ordinal)";
const KNOWN: &str = "select * from batch where id = $1 or scope = $2";
const JOB: &str = "select * from batch where id = $1";
const JOBS: &str = "select * from batch where project = $1 and ($2::uuid is null or id < $2) order by id desc limit $3";
const OPEN: &str = "select * from batch where ended_at is null order by id";
const RESULTS: &str =
    "select number, place, prompt, name, result from item where batch = $1 and number > $2 order by number limit $3";
/// Who ends items of a batch, or cancels it, is alone in that.
const LOCK: &str = "select completed + failed from batch where id = $1 for update";
const TAKE: &str = "update item set epoch = $2
    where batch = $1 and place = any(array(
        select place from item where batch = $1 and number is null and epoch is null and slice is null
        order by place limit $3 for update skip locked
    )) returning place, prompt";
/// A batch that is taken from is not cancelled meanwhile: who cancels it would not see what is taken.
const LOCK_TO_TAKE: &str = "select from batch where id = $1 and cancelled_at is null for share";
/// A plan that was made while there were few items would read all of them for each result.
const BEGIN_PLANNED_ANEW: &str = "begin; set local plan_cache_mode to force_custom_plan";
/// Results are numbered in the order in which they are told.
const PUT: &str = "with told as (
        select place, result, completed, failed, nanos, tokens,
            $2::bigint + row_number() over (order by ordinal) as number
        from (
            select distinct on (place) *
            from unnest($3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
                with ordinality as told (place, result, completed, failed, nanos, tokens, ordinal)
            order by place, ordinal
        ) as new
        where exists (select from item where batch = $1 and item.place = new.place and number is null)
    ), put as (
        update item set number = told.number, result = told.result, epoch = null
        from told where item.batch = $1 and item.place = told.place
    )
    update batch set completed = batch.completed + sums.completed, failed = batch.failed + sums.failed,
        cost_nanos = cost_nanos + sums.nanos, tokens = batch.tokens + sums.tokens
    from (
        select coalesce(sum(completed), 0)::bigint as completed, coalesce(sum(failed), 0)::bigint as failed,
            coalesce(sum(nanos), 0)::bigint as nanos, coalesce(sum(tokens), 0)::bigint as tokens from told
    ) as sums where id = $1";
const GIVE_BACK: &str =
    "update item set epoch = null where batch = $1 and epoch = $2 and place <> all($3) and number is null";
/// Of a process that has ended.
pub(super) const GIVE_BACK_ALL: &str = "update item set epoch = null where epoch = $1 and number is null";
const CANCEL: &str =
    "update batch set cancelled_at = now_ms() where id = $1 and ended_at is null and cancelled_at is null";
/// Ends a batch that has nothing left to wait for.
pub(super) const END: &str = "update batch set ended_at = now.ms, expires_at = now.ms + kept_ms
    from (select now_ms() as ms) as now
    where id = $1 and ended_at is null and (completed + failed = total or cancelled_at is not null)
    and not exists (select from item where batch = $1 and number is null and epoch is not null)
    and not exists (select from item where batch = $1 and number is null and slice is not null)";
/// Items of one batch whose time is over, or it itself, once there are none: nobody adds any to a batch that has ended.
pub(super) const FORGET: &str = "with over as (
        select id from batch where expires_at <= (select now_ms()) limit 1 for update skip locked
    ), items as (
        delete from item where (batch, place) in (
            select batch, place from item where batch = (select id from over) limit $1
        ) returning place
    ), gone as (
        delete from batch where id = (select id from over) and not exists (select from item where item.batch = batch.id)
        returning id
    ), slices as (delete from slice where batch in (select id from gone))
    select (select count(*) from items) + (select count(*) from gone)";

/// `None`: this process was taken for dead.
pub(super) async fn carry_out(db: &Connection, epoch: i64, job: &Job) -> Result<Option<Outcome>, Error> {
    Ok(Some(match job {
        Job::AddBatch(new, ..) => Outcome::Added(add(db, new).await?),
        Job::TakeItems(id, count_max, _) => return Ok(take(db, *id, epoch, *count_max).await?.map(Outcome::Items)),
        Job::EndItems(id, ended, _) => {
            end(db, *id, ended).await?;
            Outcome::Done
        }
        Job::GiveBack(id, all_but, _) => {
            give_back(db, *id, epoch, all_but).await?;
            Outcome::Done
        }
        Job::CancelBatch(id, _) => Outcome::Batch(cancel(db, *id).await?),
        _ => unreachable!("the others are not of batches here"),
    }))
}

async fn add(db: &Connection, new: &NewBatchJob) -> Result<Added, Error> {
    db.run("begin").await?;
    let Terms { project, makes_project, items_max, request, is_economy } = &new.terms;
    let scope = new.claim.as_ref().map(|claim| &claim.scope.as_bytes()[..]);
    let fingerprint = new.claim.as_ref().map(|claim| &claim.fingerprint[..]);
    let (items_max, total) = (i64::from(*items_max), i64::try_from(new.items.len()).unwrap_or(i64::MAX));
    let kept_ms = i64::try_from(new.kept_for.as_millis()).unwrap_or(i64::MAX);
    let id = new.id.as_uuid();
    let added = db
        .execute(
            ADD,
            &[
                id,
                &project.as_str(),
                makes_project,
                &items_max,
                request,
                &scope,
                &fingerprint,
                &total,
                &kept_ms,
                is_economy,
            ],
        )
        .await?;
    if added == 0 {
        let known = db.first(KNOWN, &[id, &scope]).await?.expect("it is in the way");
        db.run("commit").await?;
        let is_same = known.get::<_, Option<&[u8]>>("fingerprint") == fingerprint;
        return Ok(if is_same { Added::Stored(job_of(&known)) } else { Added::Conflict });
    }
    let prompts: Vec<&str> = new.items.iter().map(|item| item.prompt.as_str()).collect();
    let names: Vec<Option<&str>> = new.items.iter().map(|item| item.name.as_deref()).collect();
    db.execute(ADD_ITEMS, &[id, &prompts, &names]).await?;
    db.execute(END, &[id]).await?;
    let job = db.first(JOB, &[id]).await?.expect("it was stored just now");
    db.run("commit").await?;
    Ok(Added::Stored(job_of(&job)))
}

/// `None`: this process was taken for dead.
async fn take(db: &Connection, batch: BatchId, epoch: i64, count_max: u32) -> Result<Option<Vec<Item>>, Error> {
    db.run("begin").await?;
    let is_alive = db.first(LOCK_EPOCH, &[&epoch]).await?.is_some_and(|row| row.get(0));
    if !is_alive {
        db.run("rollback").await?;
        return Ok(None);
    }
    let taken = match db.first(LOCK_TO_TAKE, &[batch.as_uuid()]).await? {
        Some(_) => db.query(TAKE, &[batch.as_uuid(), &epoch, &i64::from(count_max)]).await?,
        None => Vec::new(),
    };
    db.run("commit").await?;
    let mut taken: Vec<Item> = taken.iter().map(|row| Item { place: place(row.get(0)), prompt: row.get(1) }).collect();
    taken.sort_unstable_by_key(|item| item.place);
    Ok(Some(taken))
}

async fn end(db: &Connection, batch: BatchId, results: &[EndedItem]) -> Result<(), Error> {
    let id = batch.as_uuid();
    db.run(BEGIN_PLANNED_ANEW).await?;
    let Some(told) = db.first(LOCK, &[id]).await? else { return db.run("commit").await };
    let last: i64 = told.get(0);
    let column = |of: fn(&Sums) -> i64| results.iter().map(|item| of(&item.sums)).collect::<Vec<i64>>();
    let places: Vec<i64> = results.iter().map(|item| item.place.into()).collect();
    let texts: Vec<&str> = results.iter().map(|item| item.result.as_str()).collect();
    let completed = column(|sums| sums.completed.cast_signed());
    let failed = column(|sums| sums.failed.cast_signed());
    let (nanos, tokens) = (column(|sums| sums.nanos), column(|sums| sums.tokens.cast_signed()));
    db.execute(PUT, &[id, &last, &places, &texts, &completed, &failed, &nanos, &tokens]).await?;
    db.execute(END, &[id]).await?;
    db.run("commit").await
}

/// What this process had taken on waits again, but for these.
async fn give_back(db: &Connection, batch: BatchId, epoch: i64, all_but: &[u32]) -> Result<(), Error> {
    let all_but: Vec<i64> = all_but.iter().map(|place| i64::from(*place)).collect();
    db.run("begin").await?;
    db.first(LOCK, &[batch.as_uuid()]).await?;
    db.execute(GIVE_BACK, &[batch.as_uuid(), &epoch, &all_but]).await?;
    db.execute(END, &[batch.as_uuid()]).await?;
    db.run("commit").await
}

async fn cancel(db: &Connection, batch: BatchId) -> Result<Option<BatchJob>, Error> {
    let id = batch.as_uuid();
    db.run("begin").await?;
    db.first(LOCK, &[id]).await?;
    db.execute(CANCEL, &[id]).await?;
    db.execute(END, &[id]).await?;
    let job = job(db, batch).await?;
    db.run("commit").await?;
    Ok(job)
}

pub(super) async fn job(db: &Connection, id: BatchId) -> Result<Option<BatchJob>, Error> {
    Ok(db.first(JOB, &[id.as_uuid()]).await?.as_ref().map(job_of))
}

pub(super) async fn jobs(
    db: &Connection,
    project: &ProjectId,
    before: Option<BatchId>,
    count_max: u32,
) -> Result<Vec<BatchJob>, Error> {
    let before = before.as_ref().map(BatchId::as_uuid);
    let found = db.query(JOBS, &[&project.as_str(), &before, &i64::from(count_max)]).await?;
    Ok(found.iter().map(job_of).collect())
}

pub(super) async fn open(db: &Connection) -> Result<Vec<OpenBatchJob>, Error> {
    let open = |row: &Row| OpenBatchJob {
        id: BatchId::from_uuid(row.get("id")),
        terms: Terms {
            project: project_id(row, 1),
            makes_project: row.get("makes_project"),
            items_max: u32::try_from(row.get::<_, i64>("items_max")).unwrap_or(u32::MAX),
            request: row.get("request"),
            is_economy: row.get("economy"),
        },
        is_cancelled: row.get::<_, Option<i64>>("cancelled_at").is_some(),
    };
    Ok(db.query(OPEN, &[]).await?.iter().map(open).collect())
}

pub(super) async fn results(
    db: &Connection,
    batch: BatchId,
    after: u64,
    count_max: u32,
) -> Result<Vec<ItemResult>, Error> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let found = db.query(RESULTS, &[batch.as_uuid(), &after, &i64::from(count_max)]).await?;
    let result = |row: &Row| ItemResult {
        number: row.get::<_, i64>(0).cast_unsigned(),
        place: place(row.get(1)),
        prompt: row.get(2),
        name: row.get(3),
        result: row.get(4),
    };
    Ok(found.iter().map(result).collect())
}

fn job_of(row: &Row) -> BatchJob {
    let count = |name: &str| row.get::<_, i64>(name).cast_unsigned();
    let moment = |name: &str| row.get::<_, Option<i64>>(name).map(Moment);
    BatchJob {
        id: BatchId::from_uuid(row.get("id")),
        project: project_id(row, 1),
        is_economy: row.get("economy"),
        total: count("total"),
        sums: Sums {
            completed: count("completed"),
            failed: count("failed"),
            nanos: row.get("cost_nanos"),
            tokens: count("tokens"),
        },
        created_at: Moment(row.get("created_at")),
        cancelled_at: moment("cancelled_at"),
        ended_at: moment("ended_at"),
        expires_at: moment("expires_at"),
    }
}

fn place(stored: i64) -> u32 {
    u32::try_from(stored).expect("places of at most a hundred thousand items")
}

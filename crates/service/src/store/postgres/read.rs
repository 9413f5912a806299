//! What is read beside the writer.

use tokio_postgres::{Error, Row};

use super::{connect::Connection, rows};
use crate::{
    directory::Directory,
    ledger::{Amount, ClaimScope, Entry, ModelUsage, Project},
    project::ProjectId,
    store::{EntriesWanted, Verified, WindowUsage, verify::Sums},
    window::{Day, Moment, Period},
};

const NOW: &str = "select now_ms()";
const PROJECT: &str = "select * from project where id = $1";
const PROJECTS: &str = "select * from project order by id";
/// One statement, so that both are of one moment.
const USAGE: &str = "select null, 0::bigint, spent_tokens, spent_nanos, held_tokens, held_nanos from counter
         where project = $1 and period = $2 and start = $3
     union all
     select model, requests, input_tokens, output_tokens, cost_nanos, notional_nanos from usage
         where project = $1 and period = $2 and start = $3
     order by 1 nulls first";
const ANSWER: &str = "select body from answer where scope = $1";
const KEYS: &str = "select * from key";
/// Also how many processes serve: each lets its share of a project's pace through.
const DIRECTORY: &str = "select version, (select count(*) from epoch where dead_at is null) from directory";
const ENTRIES: &str =
    "select * from entry where ($1::text is null or project = $1) and not ($2 and exact) order by id desc limit $3";

pub(super) async fn usage(db: &Connection, id: &ProjectId, period: Period) -> Result<WindowUsage, Error> {
    let day = Moment(db.first(NOW, &[]).await?.map_or(0, |row| row.get(0))).day();
    let start = day.start_of(period);
    let limits = project(db, id).await?.map(|project| project.limits);
    let (mut spent, mut held, mut by_model) = (Amount::ZERO, Amount::ZERO, Vec::new());
    for row in db.query(USAGE, &[&id.as_str(), &(period as i32), &start.0]).await? {
        match row.get::<_, Option<String>>(0) {
            None => (spent, held) = (rows::amount(&row, 2), rows::amount(&row, 4)),
            Some(model) => by_model.push((model, model_usage(&row, 1))),
        }
    }
    Ok(WindowUsage { start, end: day.end_of(period), limits, spent, held, by_model })
}

fn model_usage(row: &Row, from: usize) -> ModelUsage {
    ModelUsage {
        requests: row.get(from),
        input_tokens: row.get(from + 1),
        output_tokens: row.get(from + 2),
        cost_nanos: row.get(from + 3),
        notional_nanos: row.get(from + 4),
    }
}

pub(super) async fn project(db: &Connection, id: &ProjectId) -> Result<Option<Project>, Error> {
    Ok(db.first(PROJECT, &[&id.as_str()]).await?.as_ref().map(rows::project))
}

pub(super) async fn projects(db: &Connection) -> Result<Vec<Project>, Error> {
    Ok(db.query(PROJECTS, &[]).await?.iter().map(rows::project).collect())
}

pub(super) async fn answer(db: &Connection, scope: ClaimScope) -> Result<Option<Vec<u8>>, Error> {
    Ok(db.first(ANSWER, &[&&scope.as_bytes()[..]]).await?.map(|row| row.get(0)))
}

pub(super) async fn directory(db: &Connection, since: Option<i64>) -> Result<Option<Directory>, Error> {
    let row = db.first(DIRECTORY, &[]).await?.expect("the directory has one row");
    let (changes, replicas): (i64, i64) = (row.get(0), row.get(1));
    let replicas = u32::try_from(replicas).unwrap_or(u32::MAX).max(1);
    // A process more or less is a change, too.
    let version = changes.wrapping_shl(16) ^ i64::from(replicas);
    if since == Some(version) {
        return Ok(None);
    }
    let keys = db.query(KEYS, &[]).await?;
    let mut directory = Directory::new(version, keys.iter().map(rows::key), projects(db).await?);
    directory.replicas = replicas;
    Ok(Some(directory))
}

pub(super) async fn entries(db: &Connection, wanted: &EntriesWanted) -> Result<Vec<Entry>, Error> {
    let project = wanted.project.as_ref().map(ProjectId::as_str);
    let named: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&project, &wanted.estimated, &i64::from(wanted.count_max)];
    Ok(db.query(ENTRIES, &named).await?.iter().map(rows::entry).collect())
}

const ENTRY_DAYS: &str =
    "select project, day, model, count(*), sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cost_nanos)::bigint,
     sum(notional_nanos)::bigint, count(*) filter (where not exact), count(*) filter (where overrun_tokens > 0 or overrun_nanos > 0)
     from entry group by 1, 2, 3";
const RESERVATION_DAYS: &str = "select project, day, count(*), sum(held_tokens)::bigint, sum(held_nanos)::bigint
     from reservation group by 1, 2";
const COUNTERS: &str = "select * from counter";
const MODELS: &str = "select * from usage";

/// On a connection of its own, as it is a transaction.
pub(super) async fn verify(db: &Connection) -> Result<Verified, Error> {
    db.run("begin isolation level repeatable read read only").await?;
    let (mut sums, mut verified) = (Sums::default(), Verified::default());
    for row in db.query(ENTRY_DAYS, &[]).await? {
        let (sum, count) = (model_usage(&row, 3), |at| row.get::<_, i64>(at).cast_unsigned());
        sums.entries(row.get(0), Day(row.get(1)), row.get(2), sum);
        verified.entries += count(3);
        verified.estimated += count(8);
        verified.overruns += count(9);
        verified.spent += sum.amount();
    }
    for row in db.query(RESERVATION_DAYS, &[]).await? {
        sums.reservations(row.get(0), Day(row.get(1)), rows::amount(&row, 3));
        verified.reservations += row.get::<_, i64>(2).cast_unsigned();
    }
    for row in db.query(COUNTERS, &[]).await? {
        let counter = rows::counter(&row, 3);
        sums.counter(row.get(0), row.get::<_, i32>(1).into(), row.get(2), counter.spent, counter.held);
    }
    for row in db.query(MODELS, &[]).await? {
        sums.usage(row.get(0), row.get::<_, i32>(1).into(), row.get(2), row.get(3), model_usage(&row, 4));
    }
    db.run("commit").await?;
    verified.differences = sums.differences();
    Ok(verified)
}

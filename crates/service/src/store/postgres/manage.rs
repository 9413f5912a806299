//! Operations that are not of calls: each is a transaction of its own.

use std::collections::BTreeSet;

use tokio_postgres::Error;

use super::{
    connect::Connection,
    rows,
    writer::{LOCK_CREATION, LOCK_PROJECTS, load_counters},
};
use crate::{
    key::{Key, Scope},
    ledger::{Books, Project, Resolve, Resolved},
    store::jobs::{FORGOTTEN_MAX, Job, Outcome},
    window::Moment,
};

const CHANGED: &str = "update directory set version = version + 1";
const ADD_KEY: &str = "insert into key values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing";
const REVOKE_KEY: &str = "update key set revoked_at = coalesce(revoked_at, $2) where id = $1 returning *";
/// The time is asked for once, so that the index finds what is over.
const FORGET: &str = "with gone as (
         delete from claim where scope in (
             select scope from claim where expires_at <= (select now_ms()) limit $1 for update skip locked
         )
         returning scope
     ), without as (delete from answer where scope in (select scope from gone))
     select count(*) from gone";
const ENTRY: &str = "select * from entry where id = $1";
const NOW: &str = "select now_ms()";

pub(super) async fn carry_out(db: &Connection, job: &Job) -> Result<Outcome, Error> {
    match job {
        Job::SetProject(project, _) => set_project(db, project).await,
        Job::AddKey(key, _) => add_key(db, key).await,
        Job::RevokeKey(id, at, _) => {
            db.run("begin").await?;
            let revoked = db.first(REVOKE_KEY, &[id.as_uuid(), &at.0]).await?;
            changed(db).await?;
            Ok(Outcome::Key(revoked.as_ref().map(rows::key)))
        }
        Job::ForgetClaims(_) => forget(db, FORGET).await,
        Job::Resolve(wanted, _) => Ok(Outcome::Resolved(resolve(db, wanted).await?)),
        Job::Reserve(..) | Job::Settle(..) => unreachable!("calls are committed in groups"),
        _ => unreachable!("batches are changed elsewhere"),
    }
}

/// Deletes some of what is over, at most so many rows as its parameter says; how many.
pub(super) async fn forget(db: &Connection, sql: &'static str) -> Result<Outcome, Error> {
    let count: i64 = db.first(sql, &[&i64::from(FORGOTTEN_MAX)]).await?.map_or(0, |row| row.get(0));
    Ok(Outcome::Count(usize::try_from(count).unwrap_or(0)))
}

/// The end of a transaction that has changed a key or what a project may use.
async fn changed(db: &Connection) -> Result<(), Error> {
    db.execute(CHANGED, &[]).await?;
    db.run("commit").await
}

async fn set_project(db: &Connection, project: &Project) -> Result<Outcome, Error> {
    db.run("begin").await?;
    // Whoever is about to make it by use has done so, or finds it.
    db.query(LOCK_CREATION, &[]).await?;
    rows::put_project(db, project).await?;
    changed(db).await?;
    Ok(Outcome::Done)
}

async fn add_key(db: &Connection, key: &Key) -> Result<Outcome, Error> {
    let project = match &key.scope {
        Scope::Admin => None,
        Scope::Project(project) => Some(project.as_str()),
    };
    let (expires_at, revoked_at) = (key.expires_at.map(|at| at.0), key.revoked_at.map(|at| at.0));
    db.run("begin").await?;
    db.execute(
        ADD_KEY,
        &[
            key.id.as_uuid(),
            &&key.hash.as_bytes()[..],
            &key.hint,
            &key.name,
            &project,
            &key.created_at.0,
            &expires_at,
            &revoked_at,
        ],
    )
    .await?;
    changed(db).await?;
    Ok(Outcome::Done)
}

async fn resolve(db: &Connection, resolve: &Resolve) -> Result<Resolved, Error> {
    let found = db.first(ENTRY, &[resolve.id.as_uuid()]).await?;
    let Some(project) = found.as_ref().map(|row| rows::entry(row).project) else { return Ok(Resolved::NoEntry) };
    db.run("begin").await?;
    db.query(LOCK_PROJECTS, &[&vec![project.as_str()]]).await?;
    // Once more, as nobody else corrects it now.
    let entry = db.first(ENTRY, &[resolve.id.as_uuid()]).await?.as_ref().map(rows::entry);
    let now = Moment(db.first(NOW, &[]).await?.map_or(0, |row| row.get(0)));
    let mut books = Books::new(0, now, 0);
    let days: BTreeSet<_> = entry.iter().map(|entry| (entry.project.clone(), entry.day)).collect();
    load_counters(db, &mut books, &days).await?;
    let resolved = books.resolve(resolve, entry);
    rows::save_and_commit(db, &books.take_changes()).await?;
    Ok(resolved)
}

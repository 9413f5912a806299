//! Rows: between SQLite's columns and the ledger's nouns.

use claude_code_api_wire::Routing;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::claims;
use crate::{
    id::{CallId, EntryId},
    ledger::{
        Amount, AutoTerms, Books, Changes, ClaimScope, Clamp, Counter, Ended, Entry, Limit, Limits, OF_A_JOB, Project,
        Reservation, SettledBy, Spent,
    },
    model::{self, Tier},
    money::Nanos,
    project::ProjectId,
    usage::Usage,
    window::{Day, Moment, PERIODS, Period},
};

/// Loads what an idempotency key stands for, unless it is.
pub(super) fn load_claim(db: &Connection, books: &mut Books, scope: ClaimScope) -> Result<()> {
    if !books.knows_claim(scope) {
        books.load_claim(scope, claims::claim(db, scope)?);
    }
    Ok(())
}

/// Loads an account and the windows of a day, unless they are.
pub(super) fn load_account(db: &Connection, books: &mut Books, id: &ProjectId, day: Day) -> Result<()> {
    if !books.knows(id) {
        let limits = project(db, id)?.map(|project| project.limits);
        let calls = "select count(*) from reservation where project = ?1 and epoch <> ?2";
        let calls = db.prepare_cached(calls)?.query_row(params![id.as_str(), OF_A_JOB], |row| row.get(0))?;
        let account = books.account(id);
        account.limits = limits;
        account.calls = calls;
    }
    if !books.account(id).knows(day) {
        for period in PERIODS {
            let start = day.start_of(period);
            let counter = counter(db, id, period, start)?;
            books.account(id).load(period, start, counter);
        }
    }
    Ok(())
}

pub(super) fn counter(db: &Connection, id: &ProjectId, period: Period, start: Day) -> Result<Counter> {
    let sql = "select spent_tokens, spent_nanos, held_tokens, held_nanos from counter
               where project = ?1 and period = ?2 and start = ?3";
    let key = params![id.as_str(), period as i64, start.0];
    let found =
        db.prepare_cached(sql)?.query_row(key, |row| Ok(Counter { spent: amount(row, 0)?, held: amount(row, 2)? }));
    Ok(found.optional()?.unwrap_or_default())
}

pub(super) fn amount(row: &Row<'_>, from: usize) -> Result<Amount> {
    Ok(Amount { tokens: row.get(from)?, nanos: row.get(from + 1)? })
}

pub(super) fn project(db: &Connection, id: &ProjectId) -> Result<Option<Project>> {
    db.prepare_cached("select * from project where id = ?1")?.query_row([id.as_str()], read_project).optional()
}

pub(super) fn read_project(row: &Row<'_>) -> Result<Project> {
    let limit = |at: usize| Ok::<_, rusqlite::Error>(Limit { tokens: row.get(at)?, nanos: row.get(at + 1)? });
    Ok(Project {
        id: read_project_id(row, 0)?,
        limits: Limits {
            windows: [limit(1)?, limit(3)?, limit(5)?],
            calls_max: row.get(7)?,
            requests_per_minute: row.get(8)?,
            clamp: Clamp::parse(row.get_ref(9)?.as_str()?).ok_or_else(|| malformed(9, "clamp"))?,
            allow_notional: row.get(11)?,
            auto: read_auto(row, 12)?,
        },
        created_by_use: row.get(10)?,
    })
}

fn read_auto(row: &Row<'_>, at: usize) -> Result<AutoTerms> {
    let tier = |at: usize| match row.get_ref(at)?.as_str_or_null()? {
        Some(name) => model::tier(name).map(Some).ok_or_else(|| malformed(at, "tier")),
        None => Ok(None),
    };
    let routing = row.get_ref(at)?.as_str_or_null()?.map(Routing::parse).transpose();
    let routing = routing.map_err(|_| malformed(at, "routing"))?;
    Ok(AutoTerms { routing, tier_min: tier(at + 1)?, tier_max: tier(at + 2)? })
}

pub(super) fn read_project_id(row: &Row<'_>, at: usize) -> Result<ProjectId> {
    ProjectId::parse(row.get_ref(at)?.as_str()?).ok_or_else(|| malformed(at, "project"))
}

/// A row that this program did not write.
pub(super) fn malformed(at: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, format!("not a {what}").into())
}

pub(super) fn put_project(db: &Connection, project: &Project) -> Result<()> {
    write_project(db, "insert or replace", project)
}

fn write_project(db: &Connection, verb: &str, project: &Project) -> Result<()> {
    let [day, week, month] = project.limits.windows;
    let sql = format!("{verb} into project values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)");
    let limits = &project.limits;
    db.prepare_cached(&sql)?.execute(params![
        project.id.as_str(),
        day.tokens,
        day.nanos,
        week.tokens,
        week.nanos,
        month.tokens,
        month.nanos,
        limits.calls_max,
        limits.requests_per_minute,
        limits.clamp.as_str(),
        project.created_by_use,
        limits.allow_notional,
        limits.auto.routing.map(|routing| routing.to_string()),
        limits.auto.tier_min.map(Tier::as_str),
        limits.auto.tier_max.map(Tier::as_str),
    ])?;
    Ok(())
}

pub(super) fn reservations(db: &Connection) -> Result<Vec<Reservation>> {
    db.prepare_cached("select * from reservation")?.query_map([], read_reservation)?.collect()
}

fn read_reservation(row: &Row<'_>) -> Result<Reservation> {
    Ok(Reservation {
        id: EntryId::from_bytes(row.get(0)?),
        call: CallId::from_bytes(row.get(1)?),
        project: read_project_id(row, 2)?,
        epoch: row.get(3)?,
        day: Day(row.get(4)?),
        held: amount(row, 5)?,
        model: row.get(7)?,
        input_tokens: row.get(8)?,
        reserved_at: Moment(row.get(9)?),
        claim: row.get::<_, Option<[u8; 32]>>(10)?.map(ClaimScope::from_bytes),
        bounded: row.get(11)?,
        notional: Nanos(row.get(12)?),
    })
}

/// The entry of this id.
pub(super) fn entry(db: &Connection, id: EntryId) -> Result<Option<Entry>> {
    db.prepare_cached("select * from entry where id = ?1")?.query_row([id.as_bytes()], read_entry).optional()
}

pub(super) fn read_entry(row: &Row<'_>) -> Result<Entry> {
    let count = |at: usize| row.get::<_, i64>(at).map(i64::cast_unsigned);
    Ok(Entry {
        id: EntryId::from_bytes(row.get(0)?),
        call: CallId::from_bytes(row.get(1)?),
        project: read_project_id(row, 2)?,
        day: Day(row.get(3)?),
        spent: Spent {
            model: row.get(4)?,
            model_id: row.get(5)?,
            backend: row.get(6)?,
            usage: Usage {
                input_tokens: count(7)?,
                output_tokens: count(8)?,
                cache_write_5m_tokens: count(9)?,
                cache_write_1h_tokens: count(10)?,
                cache_read_tokens: count(11)?,
            },
            cost: Nanos(row.get(12)?),
            notional: Nanos(row.get(22)?),
            exact: row.get(13)?,
            unpriced: row.get(14)?,
            ended: Ended::parse(row.get_ref(15)?.as_str()?).ok_or_else(|| malformed(15, "way to end"))?,
        },
        overrun: amount(row, 16)?,
        reserved_at: Moment(row.get(18)?),
        settled_at: Moment(row.get(19)?),
        settled_by: SettledBy::parse(row.get_ref(20)?.as_str()?).ok_or_else(|| malformed(20, "settler"))?,
        bounded: row.get(21)?,
    })
}

/// Writes what a group of operations changed.
pub(super) fn save(db: &Connection, changes: &Changes) -> Result<()> {
    for project in &changes.created {
        // One that was set up in the same group stays as it was set up.
        write_project(db, "insert or ignore", project)?;
    }
    for reservation in &changes.opened {
        insert_reservation(db, reservation)?;
    }
    for id in &changes.closed {
        db.prepare_cached("delete from reservation where id = ?1")?.execute([id.as_bytes()])?;
    }
    for entry in changes.entries.iter().chain(&changes.corrected) {
        write_entry(db, entry)?;
    }
    for (project, period, start, counter) in &changes.counters {
        let sql = "insert or replace into counter values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let Counter { spent, held } = counter;
        let row =
            params![project.as_str(), *period as i64, start.0, spent.tokens, spent.nanos, held.tokens, held.nanos];
        db.prepare_cached(sql)?.execute(row)?;
    }
    claims::save(db, changes)?;
    add_usage(db, changes)
}

fn insert_reservation(db: &Connection, reservation: &Reservation) -> Result<()> {
    let sql = "insert into reservation values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    db.prepare_cached(sql)?.execute(params![
        reservation.id.as_bytes(),
        reservation.call.as_bytes(),
        reservation.project.as_str(),
        reservation.epoch,
        reservation.day.0,
        reservation.held.tokens,
        reservation.held.nanos,
        reservation.model,
        reservation.input_tokens,
        reservation.reserved_at.0,
        reservation.claim.as_ref().map(ClaimScope::as_bytes),
        reservation.bounded,
        reservation.notional.0,
    ])?;
    Ok(())
}

fn write_entry(db: &Connection, entry: &Entry) -> Result<()> {
    let sql = "insert or replace into entry
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                       ?22, ?23)";
    let Spent { model, model_id, backend, usage, cost, notional, exact, unpriced, ended } = &entry.spent;
    let count = u64::cast_signed;
    db.prepare_cached(sql)?.execute(params![
        entry.id.as_bytes(),
        entry.call.as_bytes(),
        entry.project.as_str(),
        entry.day.0,
        model,
        model_id,
        backend,
        count(usage.input_tokens),
        count(usage.output_tokens),
        count(usage.cache_write_5m_tokens),
        count(usage.cache_write_1h_tokens),
        count(usage.cache_read_tokens),
        cost.0,
        exact,
        unpriced,
        ended.as_str(),
        entry.overrun.tokens,
        entry.overrun.nanos,
        entry.reserved_at.0,
        entry.settled_at.0,
        entry.settled_by.as_str(),
        entry.bounded,
        notional.0,
    ])?;
    Ok(())
}

fn add_usage(db: &Connection, changes: &Changes) -> Result<()> {
    let sql = "insert into usage values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) on conflict do update set
               requests = requests + excluded.requests, input_tokens = input_tokens + excluded.input_tokens,
               output_tokens = output_tokens + excluded.output_tokens, cost_nanos = cost_nanos + excluded.cost_nanos,
               notional_nanos = notional_nanos + excluded.notional_nanos";
    let mut statement = db.prepare_cached(sql)?;
    for ((project, day, model), add) in &changes.usage {
        for period in PERIODS {
            let (period, start) = (period as i64, day.start_of(period).0);
            statement.execute(params![
                project.as_str(),
                period,
                start,
                model,
                add.requests,
                add.input_tokens,
                add.output_tokens,
                add.cost_nanos,
                add.notional_nanos,
            ])?;
        }
    }
    Ok(())
}

//! Rows: between PostgreSQL's columns and the ledger's nouns. What is written is written as sets: one statement a table.

use std::{sync::Arc, time::Duration};

use claude_code_api_wire::Routing;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::connect::{Connection, Params};
use crate::{
    id::{CallId, EntryId, KeyId},
    key::{Key, KeyHash, Scope},
    ledger::{
        Amount, AutoTerms, Changes, ClaimScope, ClaimState, Claimed, Clamp, Counter, Ended, Entry, Limit, Limits,
        Project, Reservation, SettledBy, Spent,
    },
    model::{self, Tier},
    money::Nanos,
    project::ProjectId,
    usage::Usage,
    window::{Day, Moment, PERIODS},
};

/// A column of a set of rows, as an array.
macro_rules! column {
    ($rows:expr, $row:pat => $value:expr) => {
        &$rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}

const PUT_PROJECTS: &str =
    "insert into project select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
     $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::bool[], $12::bool[],
     $13::text[], $14::text[], $15::text[])
     on conflict (id) do update set tokens_per_day = excluded.tokens_per_day, nanos_per_day = excluded.nanos_per_day,
     tokens_per_week = excluded.tokens_per_week, nanos_per_week = excluded.nanos_per_week,
     tokens_per_month = excluded.tokens_per_month, nanos_per_month = excluded.nanos_per_month,
     calls_max = excluded.calls_max, requests_per_minute = excluded.requests_per_minute, clamp = excluded.clamp,
     created_by_use = excluded.created_by_use, allow_notional = excluded.allow_notional, routing = excluded.routing,
     tier_min = excluded.tier_min, tier_max = excluded.tier_max";
/// One that was set up meanwhile stays as it was set up.
const CREATE_PROJECTS: &str =
    "insert into project select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
     $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::bool[], $12::bool[],
     $13::text[], $14::text[], $15::text[])
     on conflict (id) do nothing";
const OPEN: &str =
    "insert into reservation select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::int[],
     $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::bigint[], $11::bytea[], $12::bool[],
     $13::bigint[])";
const CLOSE: &str = "delete from reservation where id = any($1)";
const PUT_ENTRIES: &str = "insert into entry select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[],
     $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bool[],
     $15::bool[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::text[], $22::bool[],
     $23::bigint[])
     on conflict (id) do update set model = excluded.model, model_id = excluded.model_id, backend = excluded.backend,
     input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
     cache_write_5m_tokens = excluded.cache_write_5m_tokens, cache_write_1h_tokens = excluded.cache_write_1h_tokens,
     cache_read_tokens = excluded.cache_read_tokens, cost_nanos = excluded.cost_nanos, exact = excluded.exact,
     unpriced = excluded.unpriced, ended = excluded.ended, overrun_tokens = excluded.overrun_tokens,
     overrun_nanos = excluded.overrun_nanos, settled_at = excluded.settled_at, settled_by = excluded.settled_by,
     notional_nanos = excluded.notional_nanos";
const PUT_COUNTERS: &str =
    "insert into counter select * from unnest($1::text[], $2::int[], $3::int[], $4::bigint[], $5::bigint[],
     $6::bigint[], $7::bigint[])
     on conflict (project, period, start) do update set spent_tokens = excluded.spent_tokens,
     spent_nanos = excluded.spent_nanos, held_tokens = excluded.held_tokens, held_nanos = excluded.held_nanos";
const ADD_USAGE: &str =
    "insert into usage select * from unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::bigint[],
     $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
     on conflict (project, period, start, model) do update set requests = usage.requests + excluded.requests,
     input_tokens = usage.input_tokens + excluded.input_tokens,
     output_tokens = usage.output_tokens + excluded.output_tokens, cost_nanos = usage.cost_nanos + excluded.cost_nanos,
     notional_nanos = usage.notional_nanos + excluded.notional_nanos";
const PUT_CLAIMS: &str =
    "insert into claim select * from unnest($1::bytea[], $2::bytea[], $3::text[], $4::uuid[], $5::uuid[],
     $6::bigint[], $7::bigint[])
     on conflict (scope) do update set fingerprint = excluded.fingerprint, state = excluded.state, call = excluded.call,
     entry = excluded.entry, kept_ms = excluded.kept_ms, expires_at = excluded.expires_at";
const DROP_ANSWERS: &str = "delete from answer where scope = any($1)";
const PUT_ANSWERS: &str = "insert into answer select * from unnest($1::bytea[], $2::bytea[])
     on conflict (scope) do update set body = excluded.body";

/// What [`save`] asks for.
pub(super) const SAVING: [&str; 9] =
    [CREATE_PROJECTS, OPEN, CLOSE, PUT_ENTRIES, PUT_COUNTERS, ADD_USAGE, PUT_CLAIMS, DROP_ANSWERS, PUT_ANSWERS];

/// Writes what a group of operations changed, and commits it: all is sent before anything is answered. Where one of the writes
/// fails, the server makes a rollback of the commit.
pub(super) async fn save_and_commit(db: &Connection, changes: &Changes) -> Result<(), Error> {
    tokio::try_join!(
        write_projects(db, CREATE_PROJECTS, &changes.created),
        open(db, &changes.opened),
        close(db, &changes.closed),
        put_entries(db, changes.entries.iter().chain(&changes.corrected).collect()),
        put_counters(db, changes),
        add_usage(db, changes),
        put_claims(db, changes),
        put_answers(db, &changes.answers),
        db.run("commit"),
    )?;
    Ok(())
}

/// Makes the project, or gives it other limits.
pub(super) async fn put_project(db: &Connection, project: &Project) -> Result<(), Error> {
    write_projects(db, PUT_PROJECTS, std::slice::from_ref(project)).await
}

async fn write_projects(db: &Connection, sql: &'static str, rows: &[Project]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let limit = |project: &Project, period: usize| project.limits.windows[period];
    db.execute(
        sql,
        &[
            column!(rows, row => row.id.as_str()),
            column!(rows, row => limit(row, 0).tokens),
            column!(rows, row => limit(row, 0).nanos),
            column!(rows, row => limit(row, 1).tokens),
            column!(rows, row => limit(row, 1).nanos),
            column!(rows, row => limit(row, 2).tokens),
            column!(rows, row => limit(row, 2).nanos),
            column!(rows, row => row.limits.calls_max.map(i64::from)),
            column!(rows, row => row.limits.requests_per_minute.map(i64::from)),
            column!(rows, row => row.limits.clamp.as_str()),
            column!(rows, row => row.created_by_use),
            column!(rows, row => row.limits.allow_notional),
            column!(rows, row => row.limits.auto.routing.map(|routing| routing.to_string())),
            column!(rows, row => row.limits.auto.tier_min.map(Tier::as_str)),
            column!(rows, row => row.limits.auto.tier_max.map(Tier::as_str)),
        ],
    )
    .await?;
    Ok(())
}

async fn open(db: &Connection, rows: &[Reservation]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    db.execute(
        OPEN,
        &[
            column!(rows, row => row.id.as_uuid()),
            column!(rows, row => row.call.as_uuid()),
            column!(rows, row => row.project.as_str()),
            column!(rows, row => row.epoch),
            column!(rows, row => row.day.0),
            column!(rows, row => row.held.tokens),
            column!(rows, row => row.held.nanos),
            column!(rows, row => row.model.as_str()),
            column!(rows, row => row.input_tokens),
            column!(rows, row => row.reserved_at.0),
            column!(rows, row => row.claim.as_ref().map(|scope| &scope.as_bytes()[..])),
            column!(rows, row => row.bounded),
            column!(rows, row => row.notional.0),
        ],
    )
    .await?;
    Ok(())
}

async fn close(db: &Connection, rows: &[EntryId]) -> Result<(), Error> {
    if !rows.is_empty() {
        db.execute(CLOSE, &[column!(rows, id => id.as_uuid())]).await?;
    }
    Ok(())
}

async fn put_entries(db: &Connection, rows: Vec<&Entry>) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let count = u64::cast_signed;
    db.execute(
        PUT_ENTRIES,
        &[
            column!(rows, row => row.id.as_uuid()),
            column!(rows, row => row.call.as_uuid()),
            column!(rows, row => row.project.as_str()),
            column!(rows, row => row.day.0),
            column!(rows, row => row.spent.model.as_str()),
            column!(rows, row => row.spent.model_id.as_str()),
            column!(rows, row => row.spent.backend.as_str()),
            column!(rows, row => count(row.spent.usage.input_tokens)),
            column!(rows, row => count(row.spent.usage.output_tokens)),
            column!(rows, row => count(row.spent.usage.cache_write_5m_tokens)),
            column!(rows, row => count(row.spent.usage.cache_write_1h_tokens)),
            column!(rows, row => count(row.spent.usage.cache_read_tokens)),
            column!(rows, row => row.spent.cost.0),
            column!(rows, row => row.spent.exact),
            column!(rows, row => row.spent.unpriced),
            column!(rows, row => row.spent.ended.as_str()),
            column!(rows, row => row.overrun.tokens),
            column!(rows, row => row.overrun.nanos),
            column!(rows, row => row.reserved_at.0),
            column!(rows, row => row.settled_at.0),
            column!(rows, row => row.settled_by.as_str()),
            column!(rows, row => row.bounded),
            column!(rows, row => row.spent.notional.0),
        ],
    )
    .await?;
    Ok(())
}

async fn put_counters(db: &Connection, changes: &Changes) -> Result<(), Error> {
    let rows = &changes.counters;
    if rows.is_empty() {
        return Ok(());
    }
    db.execute(
        PUT_COUNTERS,
        &[
            column!(rows, (project, ..) => project.as_str()),
            column!(rows, (_, period, ..) => *period as i32),
            column!(rows, (_, _, start, _) => start.0),
            column!(rows, (.., counter) => counter.spent.tokens),
            column!(rows, (.., counter) => counter.spent.nanos),
            column!(rows, (.., counter) => counter.held.tokens),
            column!(rows, (.., counter) => counter.held.nanos),
        ],
    )
    .await?;
    Ok(())
}

async fn add_usage(db: &Connection, changes: &Changes) -> Result<(), Error> {
    let days = changes.usage.iter();
    let rows = days.flat_map(|((project, day, model), add)| {
        PERIODS.map(|period| (project.as_str(), period as i32, day.start_of(period).0, model.as_str(), *add))
    });
    // Days of one window: each of its rows may be named once.
    let mut sums = std::collections::BTreeMap::new();
    for (project, period, start, model, add) in rows {
        sums.entry((project, period, start, model)).or_insert_with(crate::ledger::ModelUsage::default).add(add);
    }
    let rows: Vec<_> = sums.into_iter().collect();
    if rows.is_empty() {
        return Ok(());
    }
    db.execute(
        ADD_USAGE,
        &[
            column!(rows, ((project, ..), _) => *project),
            column!(rows, ((_, period, ..), _) => *period),
            column!(rows, ((_, _, start, _), _) => *start),
            column!(rows, ((.., model), _) => *model),
            column!(rows, (_, add) => add.requests),
            column!(rows, (_, add) => add.input_tokens),
            column!(rows, (_, add) => add.output_tokens),
            column!(rows, (_, add) => add.cost_nanos),
            column!(rows, (_, add) => add.notional_nanos),
        ],
    )
    .await?;
    Ok(())
}

async fn put_claims(db: &Connection, changes: &Changes) -> Result<(), Error> {
    let rows: Vec<&Claimed> = changes.claims.values().collect();
    if rows.is_empty() {
        return Ok(());
    }
    let millis = |kept: Duration| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let (scopes, fingerprints): (Vec<&[u8]>, Vec<&[u8]>) =
        rows.iter().map(|row| (&row.scope.as_bytes()[..], &row.fingerprint[..])).unzip();
    let (states, calls) = (column!(rows, row => row.state.as_str()), column!(rows, row => row.call.as_uuid()));
    let (entries, kept) = (column!(rows, row => row.entry.as_uuid()), column!(rows, row => millis(row.kept_for)));
    let expiries = column!(rows, row => row.expires_at.map(|at| at.0));
    // What an earlier use of a key, whose time is over, may have left.
    let running: Vec<&[u8]> =
        (rows.iter().filter(|row| row.state == ClaimState::Running)).map(|row| &row.scope.as_bytes()[..]).collect();
    // Both are sent at once, as the commit follows them unasked.
    let (put, dropped): (Params<'_>, Params<'_>) =
        (&[&scopes, &fingerprints, states, calls, entries, kept, expiries], &[&running]);
    tokio::try_join!(db.execute(PUT_CLAIMS, put), db.execute(DROP_ANSWERS, dropped))?;
    Ok(())
}

async fn put_answers(db: &Connection, rows: &[(ClaimScope, Arc<[u8]>)]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    db.execute(
        PUT_ANSWERS,
        &[column!(rows, (scope, _) => &scope.as_bytes()[..]), column!(rows, (_, body) => &body[..])],
    )
    .await?;
    Ok(())
}

/// A value that this program did not write is a defect of whoever did.
fn known<T>(value: Option<T>, what: &str) -> T {
    value.unwrap_or_else(|| {
        panic!("the database holds {what} that this program does not know; is it of a newer version?")
    })
}

pub(super) fn project_id(row: &Row, at: usize) -> ProjectId {
    known(ProjectId::parse(row.get(at)), "a project's name")
}

pub(super) fn amount(row: &Row, from: usize) -> Amount {
    Amount { tokens: row.get(from), nanos: row.get(from + 1) }
}

pub(super) fn project(row: &Row) -> Project {
    let limit = |at: usize| Limit { tokens: row.get(at), nanos: row.get(at + 1) };
    let text = |at: usize| row.get::<_, Option<&str>>(at);
    let tier = |at: usize| text(at).map(|name| known(model::tier(name), "a tier"));
    let count = |at: usize| row.get::<_, Option<i64>>(at).and_then(|count| u32::try_from(count).ok());
    Project {
        id: project_id(row, 0),
        limits: Limits {
            windows: [limit(1), limit(3), limit(5)],
            calls_max: count(7),
            requests_per_minute: count(8),
            clamp: known(Clamp::parse(row.get(9)), "a clamp"),
            allow_notional: row.get(11),
            auto: AutoTerms {
                routing: text(12).map(|text| known(Routing::parse(text).ok(), "a routing")),
                tier_min: tier(13),
                tier_max: tier(14),
            },
        },
        created_by_use: row.get(10),
    }
}

/// From the columns from `spent_tokens` on.
pub(super) fn counter(row: &Row, from: usize) -> Counter {
    Counter { spent: amount(row, from), held: amount(row, from + 2) }
}

fn scope(bytes: &[u8]) -> ClaimScope {
    ClaimScope::from_bytes(known(bytes.try_into().ok(), "a scope"))
}

fn entry_id(row: &Row, at: usize) -> EntryId {
    EntryId::from_uuid(row.get::<_, Uuid>(at))
}

fn call_id(row: &Row, at: usize) -> CallId {
    CallId::from_uuid(row.get::<_, Uuid>(at))
}

pub(super) fn reservation(row: &Row) -> Reservation {
    Reservation {
        id: entry_id(row, 0),
        call: call_id(row, 1),
        project: project_id(row, 2),
        epoch: row.get(3),
        day: Day(row.get(4)),
        held: amount(row, 5),
        model: row.get(7),
        input_tokens: row.get(8),
        reserved_at: Moment(row.get(9)),
        claim: row.get::<_, Option<&[u8]>>(10).map(scope),
        bounded: row.get(11),
        notional: Nanos(row.get(12)),
    }
}

pub(super) fn entry(row: &Row) -> Entry {
    let count = |at: usize| row.get::<_, i64>(at).cast_unsigned();
    Entry {
        id: entry_id(row, 0),
        call: call_id(row, 1),
        project: project_id(row, 2),
        day: Day(row.get(3)),
        spent: Spent {
            model: row.get(4),
            model_id: row.get(5),
            backend: row.get(6),
            usage: Usage {
                input_tokens: count(7),
                output_tokens: count(8),
                cache_write_5m_tokens: count(9),
                cache_write_1h_tokens: count(10),
                cache_read_tokens: count(11),
            },
            cost: Nanos(row.get(12)),
            notional: Nanos(row.get(22)),
            exact: row.get(13),
            unpriced: row.get(14),
            ended: known(Ended::parse(row.get(15)), "a way to end"),
        },
        overrun: amount(row, 16),
        reserved_at: Moment(row.get(18)),
        settled_at: Moment(row.get(19)),
        settled_by: known(SettledBy::parse(row.get(20)), "a settler"),
        bounded: row.get(21),
    }
}

pub(super) fn claimed(row: &Row) -> Claimed {
    Claimed {
        scope: scope(row.get(0)),
        fingerprint: known(row.get::<_, &[u8]>(1).try_into().ok(), "a fingerprint"),
        state: known(ClaimState::parse(row.get(2)), "a claim's state"),
        call: call_id(row, 3),
        entry: entry_id(row, 4),
        kept_for: Duration::from_millis(row.get::<_, i64>(5).cast_unsigned()),
        expires_at: row.get::<_, Option<i64>>(6).map(Moment),
    }
}

pub(super) fn key(row: &Row) -> Key {
    let moment = |at: usize| row.get::<_, Option<i64>>(at).map(Moment);
    let has_project = row.get::<_, Option<&str>>(4).is_some();
    Key {
        id: KeyId::from_uuid(row.get::<_, Uuid>(0)),
        hash: KeyHash::from_bytes(known(row.get::<_, &[u8]>(1).try_into().ok(), "a hash")),
        hint: row.get(2),
        name: row.get(3),
        scope: if has_project { Scope::Project(project_id(row, 4)) } else { Scope::Admin },
        created_at: Moment(row.get(5)),
        expires_at: moment(6),
        revoked_at: moment(7),
    }
}

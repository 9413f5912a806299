//! Idempotency keys and the answers kept under them, as rows.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::rows::malformed;
use crate::{
    id::{CallId, EntryId},
    ledger::{Changes, ClaimScope, ClaimState, Claimed},
    store::jobs::FORGOTTEN_MAX,
    window::Moment,
};

pub(super) fn claim(db: &Connection, scope: ClaimScope) -> Result<Option<Claimed>> {
    db.prepare_cached("select * from claim where scope = ?1")?.query_row([scope.as_bytes()], read).optional()
}

pub(super) fn answer(db: &Connection, scope: ClaimScope) -> Result<Option<Vec<u8>>> {
    let sql = "select body from answer where scope = ?1";
    db.prepare_cached(sql)?.query_row([scope.as_bytes()], |row| row.get(0)).optional()
}

fn read(row: &Row<'_>) -> Result<Claimed> {
    Ok(Claimed {
        scope: ClaimScope::from_bytes(row.get(0)?),
        fingerprint: row.get(1)?,
        state: ClaimState::parse(row.get_ref(2)?.as_str()?).ok_or_else(|| malformed(2, "state of a claim"))?,
        call: CallId::from_bytes(row.get(3)?),
        entry: EntryId::from_bytes(row.get(4)?),
        kept_for: Duration::from_millis(row.get::<_, i64>(5)?.cast_unsigned()),
        expires_at: row.get::<_, Option<i64>>(6)?.map(Moment),
    })
}

pub(super) fn save(db: &Connection, changes: &Changes) -> Result<()> {
    let put = "insert or replace into claim values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    for claimed in changes.claims.values() {
        let Claimed { scope, fingerprint, state, call, entry, kept_for, expires_at } = claimed;
        if *state == ClaimState::Running {
            // What an earlier use of the key, whose time is over, may have left.
            db.prepare_cached("delete from answer where scope = ?1")?.execute([scope.as_bytes()])?;
        }
        db.prepare_cached(put)?.execute(params![
            scope.as_bytes(),
            fingerprint,
            state.as_str(),
            call.as_bytes(),
            entry.as_bytes(),
            i64::try_from(kept_for.as_millis()).unwrap_or(i64::MAX),
            expires_at.map(|at| at.0),
        ])?;
    }
    for (scope, body) in &changes.answers {
        db.prepare_cached("insert or replace into answer values (?1, ?2)")?
            .execute(params![scope.as_bytes(), &body[..]])?;
    }
    Ok(())
}

/// Forgets some of those whose time is over; how many.
pub(super) fn forget_expired(db: &Connection, now: Moment) -> Result<usize> {
    let sql =
        "delete from claim where scope in (select scope from claim where expires_at <= ?1 limit ?2) returning scope";
    let mut statement = db.prepare_cached(sql)?;
    let scopes = statement.query_map(params![now.0, FORGOTTEN_MAX], |row| row.get::<_, [u8; 32]>(0))?;
    let scopes = scopes.collect::<Result<Vec<_>>>()?;
    for scope in &scopes {
        db.prepare_cached("delete from answer where scope = ?1")?.execute([scope])?;
    }
    Ok(scopes.len())
}

//! Keys, as rows.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::rows::{malformed, read_project_id};
use crate::{
    id::KeyId,
    key::{Key, KeyHash, Scope},
    window::Moment,
};

pub(super) fn all(db: &Connection) -> Result<Vec<Key>> {
    db.prepare_cached("select * from key")?.query_map([], read)?.collect()
}

pub(super) fn insert(db: &Connection, key: &Key) -> Result<()> {
    let project = match &key.scope {
        Scope::Admin => None,
        Scope::Project(project) => Some(project.as_str()),
    };
    // Sent again, it is there already.
    db.prepare_cached("insert or ignore into key values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        key.id.as_bytes(),
        key.hash.as_bytes(),
        key.hint,
        key.name,
        project,
        key.created_at.0,
        key.expires_at.map(|at| at.0),
        key.revoked_at.map(|at| at.0),
    ])?;
    Ok(())
}

pub(super) fn revoke(db: &Connection, id: KeyId, at: Moment) -> Result<Option<Key>> {
    let sql = "update key set revoked_at = coalesce(revoked_at, ?2) where id = ?1 returning *";
    db.prepare_cached(sql)?.query_row(params![id.as_bytes(), at.0], read).optional()
}

fn read(row: &Row<'_>) -> Result<Key> {
    let scope = if row.get_ref(4)?.as_str_or_null()?.is_some() {
        Scope::Project(read_project_id(row, 4)?)
    } else {
        Scope::Admin
    };
    let moment = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(Moment));
    Ok(Key {
        id: KeyId::from_bytes(row.get(0)?),
        hash: KeyHash::from_bytes(row.get(1)?),
        hint: row.get(2)?,
        name: row.get(3)?,
        scope,
        created_at: moment(5)?.ok_or_else(|| malformed(5, "moment"))?,
        expires_at: moment(6)?,
        revoked_at: moment(7)?,
    })
}

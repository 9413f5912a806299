//! The schema, and what turns each version of it into the next.

use tokio_postgres::Error;

use super::connect::{Connection, SCHEMA, reason};
use crate::store::StoreError;

/// The first makes the schema. A database knows how many it has seen.
const MIGRATIONS: [&str; 6] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
];

/// One process at a time migrates.
const LOCK: &str = "select pg_advisory_xact_lock(7239118423550145)";

pub(super) async fn migrate(db: &Connection) -> Result<(), StoreError> {
    let unusable = |error: Error| {
        StoreError::Unusable(format!(
            "cannot set up the ledger in the database: {}; the user needs the right to create a schema, or one named {SCHEMA}",
            reason(&error)
        ))
    };
    let seen = begin(db).await.map_err(unusable)?;
    if seen > MIGRATIONS.len() {
        return Err(StoreError::Unusable(format!(
            "the database was written by a newer version (schema {seen}); use that one"
        )));
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(seen) {
        db.run(&format!("{migration}; insert into migration values ({})", at + 1)).await.map_err(unusable)?;
    }
    db.run("commit").await.map_err(unusable)
}

/// Begins the transaction; how many migrations the database has seen.
async fn begin(db: &Connection) -> Result<usize, Error> {
    db.run(&format!("begin; {LOCK}; create schema if not exists {SCHEMA}; create table if not exists migration (number int primary key)"))
        .await?;
    let seen: i64 = db.first("select count(*) from migration", &[]).await?.map_or(0, |row| row.get(0));
    Ok(usize::try_from(seen).unwrap_or(0))
}

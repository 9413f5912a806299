//! What is read beside the writer: usage, projects, and the proof that the counters are the sums of the entries.

use rusqlite::{Connection, Result, Row, params};

use super::rows;
use crate::{
    ledger::{Amount, Entry, ModelUsage, Project},
    project::ProjectId,
    store::{EntriesWanted, Verified, WindowUsage, verify::Sums},
    window::{Day, Period},
};

pub(super) fn usage(db: &Connection, id: &ProjectId, period: Period, day: Day) -> Result<WindowUsage> {
    let start = day.start_of(period);
    let snapshot = db.unchecked_transaction()?;
    let counter = rows::counter(&snapshot, id, period, start)?;
    let sql = "select model, requests, input_tokens, output_tokens, cost_nanos from usage
               where project = ?1 and period = ?2 and start = ?3";
    let mut statement = snapshot.prepare_cached(sql)?;
    let by_model = statement.query_map(params![id.as_str(), period as i64, start.0], |row| {
        let usage = ModelUsage {
            requests: row.get(1)?,
            input_tokens: row.get(2)?,
            output_tokens: row.get(3)?,
            cost_nanos: row.get(4)?,
        };
        Ok((row.get(0)?, usage))
    })?;
    Ok(WindowUsage {
        start,
        end: day.end_of(period),
        limits: rows::project(&snapshot, id)?.map(|project| project.limits),
        spent: counter.spent,
        held: counter.held,
        by_model: by_model.collect::<Result<_>>()?,
    })
}

pub(super) fn projects(db: &Connection) -> Result<Vec<Project>> {
    db.prepare_cached("select * from project order by id")?.query_map([], rows::read_project)?.collect()
}

pub(super) fn entries(db: &Connection, wanted: &EntriesWanted) -> Result<Vec<Entry>> {
    let sql = "select * from entry where (?1 is null or project = ?1) and not (?2 and exact) order by id desc limit ?3";
    let named = params![wanted.project.as_ref().map(ProjectId::as_str), wanted.estimated, wanted.count_max];
    db.prepare_cached(sql)?.query_map(named, rows::read_entry)?.collect()
}

pub(super) fn verify(db: &Connection) -> Result<Verified> {
    let snapshot = db.unchecked_transaction()?;
    let mut sums = Sums::default();
    let by_day =
        "select project, day, count(*), sum(input_tokens + output_tokens), sum(cost_nanos) from entry group by 1, 2";
    let entries = count_days(&snapshot, by_day, |project, day, sum| sums.entries(project, day, sum))?;
    let by_day = "select project, day, count(*), sum(held_tokens), sum(held_nanos) from reservation group by 1, 2";
    let reservations = count_days(&snapshot, by_day, |project, day, sum| sums.reservations(project, day, sum))?;
    let mut counters = snapshot.prepare("select * from counter")?;
    let mut counters = counters.query([])?;
    while let Some(row) = counters.next()? {
        sums.counter(row.get(0)?, row.get(1)?, row.get(2)?, rows::amount(row, 3)?, rows::amount(row, 5)?);
    }
    let by_window =
        "select project, period, start, sum(input_tokens + output_tokens), sum(cost_nanos) from usage group by 1, 2, 3";
    let mut usage = snapshot.prepare(by_window)?;
    let mut usage = usage.query([])?;
    while let Some(row) = usage.next()? {
        sums.by_model(row.get(0)?, row.get(1)?, row.get(2)?, rows::amount(row, 3)?);
    }
    let sum = "select coalesce(sum(input_tokens + output_tokens), 0), coalesce(sum(cost_nanos), 0),
               count(*) filter (where not exact), count(*) filter (where overrun_tokens > 0 or overrun_nanos > 0) from entry";
    let count = |row: &Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let (spent, estimated, overruns) =
        snapshot.query_row(sum, [], |row| Ok((rows::amount(row, 0)?, count(row, 2)?, count(row, 3)?)))?;
    Ok(Verified { entries, estimated, overruns, spent, reservations, differences: sums.differences() })
}

/// Reads the sums of days, and counts what they are sums of.
fn count_days(db: &Connection, sql: &str, mut add: impl FnMut(&str, Day, Amount)) -> Result<u64> {
    let mut statement = db.prepare(sql)?;
    let mut days = statement.query([])?;
    let mut count = 0;
    while let Some(row) = days.next()? {
        count += row.get::<_, i64>(2)?.cast_unsigned();
        add(row.get_ref(0)?.as_str()?, Day(row.get(1)?), rows::amount(row, 3)?);
    }
    Ok(count)
}

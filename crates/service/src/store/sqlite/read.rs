//! What is read beside the writer: usage, projects, and the proof that the counters are the sums of the entries.

use rusqlite::{Connection, Result, Row, params};

use super::rows;
use crate::{
    ledger::{Entry, ModelUsage, Project},
    project::ProjectId,
    store::{EntriesWanted, Verified, WindowUsage, verify::Sums},
    window::{Day, Period},
};

pub(super) fn usage(db: &Connection, id: &ProjectId, period: Period, day: Day) -> Result<WindowUsage> {
    let start = day.start_of(period);
    let snapshot = db.unchecked_transaction()?;
    let counter = rows::counter(&snapshot, id, period, start)?;
    let sql = "select model, requests, input_tokens, output_tokens, cost_nanos, notional_nanos from usage
               where project = ?1 and period = ?2 and start = ?3";
    let mut statement = snapshot.prepare_cached(sql)?;
    let key = params![id.as_str(), period as i64, start.0];
    let by_model = statement.query_map(key, |row| Ok((row.get(0)?, model_usage(row, 1)?)))?;
    Ok(WindowUsage {
        start,
        end: day.end_of(period),
        limits: rows::project(&snapshot, id)?.map(|project| project.limits),
        spent: counter.spent,
        held: counter.held,
        by_model: by_model.collect::<Result<_>>()?,
    })
}

fn model_usage(row: &Row<'_>, from: usize) -> Result<ModelUsage> {
    Ok(ModelUsage {
        requests: row.get(from)?,
        input_tokens: row.get(from + 1)?,
        output_tokens: row.get(from + 2)?,
        cost_nanos: row.get(from + 3)?,
        notional_nanos: row.get(from + 4)?,
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
    let (mut sums, mut verified) = (Sums::default(), Verified::default());
    let by_day = "select project, day, model, count(*), sum(input_tokens), sum(output_tokens), sum(cost_nanos),
                  sum(notional_nanos), count(*) filter (where not exact), count(*) filter (where overrun_tokens > 0 or overrun_nanos > 0)
                  from entry group by 1, 2, 3";
    each(&snapshot, by_day, |row| {
        let (sum, count) = (model_usage(row, 3)?, |at| row.get::<_, i64>(at).map(i64::cast_unsigned));
        sums.entries(row.get_ref(0)?.as_str()?, Day(row.get(1)?), row.get_ref(2)?.as_str()?, sum);
        verified.entries += count(3)?;
        verified.estimated += count(8)?;
        verified.overruns += count(9)?;
        verified.spent += sum.amount();
        Ok(())
    })?;
    let by_day = "select project, day, count(*), sum(held_tokens), sum(held_nanos) from reservation group by 1, 2";
    each(&snapshot, by_day, |row| {
        sums.reservations(row.get_ref(0)?.as_str()?, Day(row.get(1)?), rows::amount(row, 3)?);
        verified.reservations += row.get::<_, i64>(2)?.cast_unsigned();
        Ok(())
    })?;
    each(&snapshot, "select * from counter", |row| {
        sums.counter(row.get(0)?, row.get(1)?, row.get(2)?, rows::amount(row, 3)?, rows::amount(row, 5)?);
        Ok(())
    })?;
    each(&snapshot, "select * from usage", |row| {
        sums.usage(row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, model_usage(row, 4)?);
        Ok(())
    })?;
    Ok(Verified { differences: sums.differences(), ..verified })
}

fn each(db: &Connection, sql: &str, mut row: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(found) = rows.next()? {
        row(found)?;
    }
    Ok(())
}

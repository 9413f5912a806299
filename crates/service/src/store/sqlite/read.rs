//! What is read beside the writer: usage, projects, and the proof that the counters are the sums of the entries.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result, params};

use super::rows;
use crate::{
    ledger::{Amount, Entry, ModelUsage, Project},
    project::ProjectId,
    store::{EntriesWanted, Verified, WindowUsage},
    window::{Day, PERIODS, Period},
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

type Window = (String, i64, i32);

/// One window's sums: as its counter says, and as its rows say.
#[derive(Default)]
struct Compared {
    counter: [Amount; 2],
    rows: [Amount; 2],
    usage: Amount,
}

pub(super) fn verify(db: &Connection) -> Result<Verified> {
    let snapshot = db.unchecked_transaction()?;
    let mut windows: BTreeMap<Window, Compared> = BTreeMap::new();
    let entries = add_rows(&snapshot, "entry", &mut windows, |compared| &mut compared.rows[0])?;
    let reservations = add_rows(&snapshot, "reservation", &mut windows, |compared| &mut compared.rows[1])?;
    let mut counters = snapshot.prepare("select * from counter")?;
    let mut counters = counters.query([])?;
    while let Some(row) = counters.next()? {
        let key = (row.get(0)?, row.get(1)?, row.get(2)?);
        let amount = |at| Ok::<_, rusqlite::Error>(Amount { tokens: row.get(at)?, nanos: row.get(at + 1)? });
        windows.entry(key).or_default().counter = [amount(3)?, amount(5)?];
    }
    let sums =
        "select project, period, start, sum(input_tokens + output_tokens), sum(cost_nanos) from usage group by 1, 2, 3";
    let mut usage = snapshot.prepare(sums)?;
    let mut usage = usage.query([])?;
    while let Some(row) = usage.next()? {
        let key = (row.get(0)?, row.get(1)?, row.get(2)?);
        windows.entry(key).or_default().usage = Amount { tokens: row.get(3)?, nanos: row.get(4)? };
    }
    let differences = windows.iter().flat_map(|(window, compared)| differences(window, compared)).collect();
    let sum = "select coalesce(sum(input_tokens + output_tokens), 0), coalesce(sum(cost_nanos), 0) from entry";
    let spent = snapshot.query_row(sum, [], |row| Ok(Amount { tokens: row.get(0)?, nanos: row.get(1)? }))?;
    Ok(Verified { entries, spent, reservations, differences })
}

/// Adds up the rows of a table by day, and each day's sums to its windows.
fn add_rows(
    db: &Connection,
    table: &str,
    windows: &mut BTreeMap<Window, Compared>,
    of: impl Fn(&mut Compared) -> &mut Amount,
) -> Result<u64> {
    let amount = match table {
        "entry" => "sum(input_tokens + output_tokens), sum(cost_nanos)",
        _ => "sum(held_tokens), sum(held_nanos)",
    };
    let mut statement =
        db.prepare(&format!("select project, day, count(*), {amount} from {table} group by project, day"))?;
    let mut days = statement.query([])?;
    let mut count = 0;
    while let Some(row) = days.next()? {
        let (project, day): (String, Day) = (row.get(0)?, Day(row.get(1)?));
        count += row.get::<_, i64>(2)?.cast_unsigned();
        for period in PERIODS {
            let key = (project.clone(), period as i64, day.start_of(period).0);
            *of(windows.entry(key).or_default()) += Amount { tokens: row.get(3)?, nanos: row.get(4)? };
        }
    }
    Ok(count)
}

fn differences((project, period, start): &Window, compared: &Compared) -> Vec<String> {
    let period = PERIODS.into_iter().find(|known| *known as i64 == *period).map_or("?", Period::as_str);
    let since = Day(*start).begins_at().rfc3339();
    let [spent, held] = compared.counter;
    let pairs = [
        ("spent", spent, "its entries", compared.rows[0]),
        ("held", held, "its reservations", compared.rows[1]),
        ("usage by model", compared.usage, "its entries", compared.rows[0]),
    ];
    let differing = pairs.into_iter().filter(|(_, counted, _, summed)| counted != summed);
    differing
        .map(|(what, counted, rows, summed)| {
            format!(
                "{project}, {period} from {since}: {what} is {} tokens and {} nano-dollars, {rows} say {} and {}",
                counted.tokens, counted.nanos, summed.tokens, summed.nanos
            )
        })
        .collect()
}

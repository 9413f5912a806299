//! The writer: one task with a connection of its own, that commits together all operations that wait.
//!
//! A group locks the epoch of this process and then the rows of its projects, in the order of their names: so no other replica
//! decides on them meanwhile. What it then loads is decided on in memory, by [`Books`], and written as sets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_postgres::{Error, Row, error::SqlState};
use uuid::Uuid;

use super::{
    batches,
    connect::{Connection, Connector, Params, failed, reason},
    epoch::Epoch,
    manage, rows, slices,
};
use crate::{
    failpoint::Failpoint,
    ledger::{Books, ClaimScope, Counter, OF_A_JOB, Reserve, Settle, SettledBy},
    project::ProjectId,
    store::{
        CREATED_BY_USE_MAX, StoreError,
        jobs::{GROUP_MAX, Job, Outcome},
    },
    window::{Day, Moment, PERIODS},
};

/// How long a group may take; after that the connection counts as broken.
const GROUP_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a group is tried again that another replica was in the way of.
const TRIES_MAX: u32 = 10;

/// No beat waits for this lock, and who takes the process for dead does.
pub(super) const LOCK_EPOCH: &str = "select dead_at is null from epoch where id = $1 for key share";
pub(super) const LOCK_PROJECTS: &str = "select * from project where id = any($1) order by id for update";
const NOW: &str = "select now_ms()";
const RESERVATIONS: &str = "select * from reservation where id = any($1)";
pub(super) const CLAIMS: &str = "select * from claim where scope = any($1)";
const ENTRIES: &str = "select * from entry where id = any($1)";
const CALLS: &str = "select project, count(*) from reservation
    where project = any($1) and epoch <> $2 group by project";
const CREATED: &str = "select count(*) from project where created_by_use";
/// Who makes a project is alone in that: a row that is not there cannot be locked.
pub(super) const LOCK_CREATION: &str = "select pg_advisory_xact_lock(7239118423550146)";
const COUNTERS: &str =
    "select counter.* from counter join unnest($1::text[], $2::int[], $3::int[]) as wanted (project, period, start)
     using (project, period, start)";

/// What is sent without waiting for answers, so that it has to be prepared.
const SENT_AT_ONCE: [&str; 5] = [LOCK_EPOCH, LOCK_PROJECTS, NOW, RESERVATIONS, CLAIMS];

/// Why a group was not committed.
pub(super) enum Failure {
    /// The database said no, or nothing.
    Database(Error),
    /// This process was taken for dead.
    Dead(i64),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

pub(super) struct Writer {
    connector: Arc<Connector>,
    connection: Option<Connection>,
    epoch: Arc<Epoch>,
    /// Whether the database did what it was last asked for.
    is_up: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn new(connector: Arc<Connector>, epoch: Arc<Epoch>, is_up: Arc<AtomicBool>) -> Self {
        Self { connector, connection: None, epoch, is_up }
    }

    /// Works until every sender is gone; then the epoch ends.
    pub(super) async fn run(mut self, jobs: mpsc::Receiver<Job>) {
        self.work(jobs).await;
        if let Some(connection) = self.live().await.ok().filter(|_| self.epoch.current().is_some()) {
            self.epoch.end(&connection).await;
        }
    }

    /// Works until every sender is gone.
    pub(super) async fn work(&mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(GROUP_MAX);
        while jobs.recv_many(&mut waiting, GROUP_MAX).await > 0 {
            while !waiting.is_empty() {
                // Calls in a row are one group; what manages stands alone.
                let calls = waiting.iter().take_while(|job| job.is_of_a_call()).count();
                let group: Vec<Job> = waiting.drain(..calls.max(1)).collect();
                self.settle_group(group).await;
            }
        }
    }

    async fn settle_group(&mut self, group: Vec<Job>) {
        let committed = self.commit(&group).await;
        self.is_up.store(committed.is_ok(), Ordering::Relaxed);
        match committed {
            Ok(outcomes) => group.into_iter().zip(outcomes).for_each(|(job, outcome)| job.answer(outcome)),
            Err(error) => {
                tracing::error!(%error, operations = group.len(), "the ledger could not be written");
                for job in group {
                    job.fail(error.clone());
                }
            }
        }
    }

    /// Commits a group. One whose outcome is not known is sent again, where its operations can be.
    async fn commit(&mut self, group: &[Job]) -> Result<Vec<Outcome>, StoreError> {
        let mut reconnected = false;
        let may_be_repeated = group.iter().all(Job::may_be_repeated);
        for tries in 1.. {
            let connection = self.live().await.map_err(StoreError::Failed)?;
            let tried = tokio::time::timeout(GROUP_TIMEOUT, self.attempt(&connection, group, tries > 1)).await;
            let Ok(tried) = tried else {
                return Err(StoreError::Failed(format!("no answer within {} s", GROUP_TIMEOUT.as_secs())));
            };
            let failure = match tried {
                Ok(outcomes) => {
                    self.connection = Some(connection);
                    return Ok(outcomes);
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Dead(epoch) => self.epoch.lost(epoch),
                Failure::Database(error) if connection.is_closed() && !reconnected && may_be_repeated => {
                    tracing::warn!(
                        error = reason(&error),
                        "the connection to the database broke; trying again on another"
                    );
                    reconnected = true;
                    continue;
                }
                Failure::Database(error) if !is_in_the_way(&error) || tries >= TRIES_MAX => {
                    return Err(failed(&error));
                }
                Failure::Database(_) => {}
            }
            let rolled_back = tokio::time::timeout(GROUP_TIMEOUT, connection.run("rollback")).await;
            if matches!(rolled_back, Ok(Ok(()))) {
                self.connection = Some(connection);
            }
        }
        unreachable!("the last try returns")
    }

    /// A connection that is not known to be broken. Whoever takes it puts it back once it has done its work.
    async fn live(&mut self) -> Result<Connection, String> {
        if let Some(connection) = self.connection.take().filter(|connection| !connection.is_closed()) {
            return Ok(connection);
        }
        let connection = self.connector.connect().await?;
        let prepared = async {
            connection.prepare(&SENT_AT_ONCE).await?;
            connection.prepare(&rows::SAVING).await
        };
        match tokio::time::timeout(GROUP_TIMEOUT, prepared).await {
            Ok(prepared) => prepared.map_err(|error| reason(&error))?,
            Err(_) => return Err(format!("no answer within {} s", GROUP_TIMEOUT.as_secs())),
        }
        Ok(connection)
    }

    /// `again`: it was tried before, and what became of that is not known.
    async fn attempt(&self, connection: &Connection, group: &[Job], again: bool) -> Result<Vec<Outcome>, Failure> {
        match group {
            [job] if job.is_of_slices() => {
                let epoch = self.epoch.number(connection).await?;
                Ok(vec![slices::carry_out(connection, epoch, job, again).await?])
            }
            // It takes nothing on, and needs no epoch.
            [Job::ForgetBatches(_)] => Ok(vec![manage::forget(connection, batches::FORGET).await?]),
            [job] if job.is_of_a_batch() => {
                let epoch = self.epoch.number(connection).await?;
                let outcome = batches::carry_out(connection, epoch, job).await?;
                outcome.map(|outcome| vec![outcome]).ok_or(Failure::Dead(epoch))
            }
            [job] if !job.is_of_a_call() => Ok(vec![manage::carry_out(connection, job).await?]),
            calls => {
                let epoch = self.epoch.number(connection).await?;
                commit_calls(connection, epoch, calls, again).await
            }
        }
    }
}

/// Whether another replica was in the way, so that the same may work when it is done again.
fn is_in_the_way(error: &Error) -> bool {
    let code = error.code();
    let in_the_way =
        [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::LOCK_NOT_AVAILABLE];
    code.is_some_and(|code| in_the_way.contains(code))
}

/// What the operations of a group name.
#[derive(Default)]
pub(super) struct Named<'a> {
    projects: BTreeSet<&'a ProjectId>,
    /// Where a project is made that is not there.
    makes: BTreeSet<&'a ProjectId>,
    ids: Vec<&'a Uuid>,
    scopes: BTreeSet<ClaimScope>,
    reserves: Vec<&'a Reserve>,
    settles: Vec<&'a Settle>,
}

impl<'a> Named<'a> {
    /// What these name.
    pub(super) fn of(reserves: &[&'a Reserve]) -> Self {
        let mut named = Self::default();
        for reserve in reserves {
            named.reserve(reserve);
        }
        named
    }

    fn by(group: &'a [Job]) -> Self {
        let mut named = Self::default();
        for job in group {
            match job {
                Job::Reserve(reserve, _) => named.reserve(reserve),
                Job::Settle(settle, _) => named.settle(settle),
                _ => unreachable!("a group is of calls"),
            }
        }
        named
    }

    fn reserve(&mut self, reserve: &'a Reserve) {
        self.projects.insert(&reserve.project);
        self.makes.extend(reserve.creates.as_ref().map(|_| &reserve.project));
        self.ids.push(reserve.id.as_uuid());
        self.scopes.extend(reserve.claim.as_ref().map(|claim| claim.scope));
        self.reserves.push(reserve);
        if let Some(before) = &reserve.after {
            self.settle(before);
        }
    }

    fn settle(&mut self, settle: &'a Settle) {
        self.projects.insert(&settle.project);
        self.ids.push(settle.id.as_uuid());
        self.scopes.extend(settle.claim);
        self.settles.push(settle);
    }
}

async fn commit_calls(db: &Connection, epoch: i64, group: &[Job], again: bool) -> Result<Vec<Outcome>, Failure> {
    let named = Named::by(group);
    let mut books = load(db, epoch, &named).await?;
    if again {
        load_gone(db, &mut books, &named).await?;
    }
    let outcomes = group.iter().map(|job| match job {
        Job::Reserve(reserve, _) => Outcome::Reserved(books.reserve(reserve)),
        Job::Settle(settle, _) => Outcome::Settled(books.settle(settle)),
        _ => unreachable!("a group is of calls"),
    });
    let outcomes = outcomes.collect();
    Failpoint::Committing.reach();
    rows::save_and_commit(db, &books.take_changes()).await?;
    Ok(outcomes)
}

/// What is read once everything that the group names is locked.
struct Read {
    now: Moment,
    reservations: Vec<Row>,
    claims: Vec<Row>,
}

/// Begins the transaction, locks what the group names, and loads it.
pub(super) async fn load(db: &Connection, epoch: i64, named: &Named<'_>) -> Result<Books, Failure> {
    let projects: Vec<&str> = named.projects.iter().map(|project| project.as_str()).collect();
    let (epochs, projects): (Params<'_>, Params<'_>) = (&[&epoch], &[&projects]);
    // All of it is sent before anything is answered; the server does it in this order.
    let ((), alive, found, mut read) = tokio::try_join!(
        db.run("begin"),
        db.first(LOCK_EPOCH, epochs),
        db.query(LOCK_PROJECTS, projects),
        look_up(db, named),
    )?;
    if !alive.is_some_and(|row| row.get(0)) {
        return Err(Failure::Dead(epoch));
    }
    let mut books = Books::new(epoch, read.now, 0);
    for project in &named.projects {
        books.account(project);
    }
    let mut limited = limits(&mut books, &found);
    let missing = named.makes.iter().filter(|project| books.account(project).limits.is_none());
    let missing: Vec<&str> = missing.map(|project| project.as_str()).collect();
    if !missing.is_empty() {
        // A project that is not there cannot be locked: who may make one is alone in that, and only now knows what there is.
        db.query(LOCK_CREATION, &[]).await?;
        let found = db.query(LOCK_PROJECTS, &[&missing]).await?;
        limited.extend(limits(&mut books, &found));
        let created: i64 = db.first(CREATED, &[]).await?.map_or(0, |row| row.get(0));
        books.creations_left = CREATED_BY_USE_MAX.saturating_sub(usize::try_from(created).unwrap_or(usize::MAX));
        read = look_up(db, named).await?;
        books.now = read.now;
    }
    for reservation in read.reservations.iter().map(rows::reservation) {
        books.open(reservation);
    }
    load_claims(&mut books, named, &read.claims);
    load_calls(db, &mut books, &limited).await?;
    load_windows(db, &mut books, named).await?;
    Ok(books)
}

async fn look_up(db: &Connection, named: &Named<'_>) -> Result<Read, Error> {
    let scopes: Vec<&[u8]> = named.scopes.iter().map(|scope| &scope.as_bytes()[..]).collect();
    let (ids, scopes): (Params<'_>, Params<'_>) = (&[&named.ids], &[&scopes]);
    let (now, reservations, claims) =
        tokio::try_join!(db.first(NOW, &[]), db.query(RESERVATIONS, ids), db.query(CLAIMS, scopes))?;
    Ok(Read { now: Moment(now.map_or(0, |row| row.get(0))), reservations, claims })
}

/// Takes in what projects may use; those that limit how many calls may run.
fn limits(books: &mut Books, found: &[Row]) -> Vec<ProjectId> {
    let mut limited = Vec::new();
    for project in found.iter().map(rows::project) {
        limited.extend(project.limits.calls_max.map(|_| project.id.clone()));
        books.account(&project.id).limits = Some(project.limits);
    }
    limited
}

/// Holds of which it is not known whether they came about, and that are charged already, as this process was taken for dead since.
pub(super) async fn load_gone(db: &Connection, books: &mut Books, named: &Named<'_>) -> Result<(), Error> {
    let ids: Vec<&Uuid> = named.reserves.iter().map(|reserve| reserve.id.as_uuid()).collect();
    for entry in db.query(ENTRIES, &[&ids]).await?.iter().map(rows::entry) {
        books.load_gone(entry.id);
    }
    Ok(())
}

fn load_claims(books: &mut Books, named: &Named<'_>, claims: &[Row]) {
    let mut found: BTreeMap<ClaimScope, _> =
        claims.iter().map(rows::claimed).map(|claimed| (claimed.scope, claimed)).collect();
    for scope in &named.scopes {
        books.load_claim(*scope, found.remove(scope));
    }
}

/// How many calls run, where that is limited.
async fn load_calls(db: &Connection, books: &mut Books, limited: &[ProjectId]) -> Result<(), Error> {
    if limited.is_empty() {
        return Ok(());
    }
    let limited: Vec<&str> = limited.iter().map(ProjectId::as_str).collect();
    for row in db.query(CALLS, &[&limited, &OF_A_JOB]).await? {
        books.account(&rows::project_id(&row, 0)).calls = row.get(1);
    }
    Ok(())
}

/// The counters of today for what is reserved, and of the day of each reservation for what is settled.
async fn load_windows(db: &Connection, books: &mut Books, named: &Named<'_>) -> Result<(), Error> {
    let today = books.now.day();
    let mut days: BTreeSet<(ProjectId, Day)> =
        named.reserves.iter().map(|reserve| (reserve.project.clone(), today)).collect();
    let mut closed = Vec::new();
    for settle in &named.settles {
        match books.reservation(settle.id) {
            Some(open) => {
                days.insert((open.project.clone(), open.day));
            }
            // It is opened in this group, or was closed before.
            None => closed.push(settle.id.as_uuid()),
        }
    }
    if !closed.is_empty() {
        let entries = db.query(ENTRIES, &[&closed]).await?;
        for entry in entries.iter().map(rows::entry).filter(|entry| entry.settled_by == SettledBy::Recovery) {
            days.insert((entry.project.clone(), entry.day));
            books.load_recovered(entry);
        }
    }
    load_counters(db, books, &days).await
}

pub(super) async fn load_counters(
    db: &Connection,
    books: &mut Books,
    days: &BTreeSet<(ProjectId, Day)>,
) -> Result<(), Error> {
    let windows = days.iter().flat_map(|(project, day)| PERIODS.map(|period| (project, period, day.start_of(period))));
    let windows: Vec<_> = windows.collect();
    let (projects, periods): (Vec<&str>, Vec<i32>) =
        windows.iter().map(|(project, period, _)| (project.as_str(), *period as i32)).unzip();
    let starts: Vec<i32> = windows.iter().map(|(_, _, start)| start.0).collect();
    for row in db.query(COUNTERS, &[&projects, &periods, &starts]).await? {
        let (number, start): (i32, i32) = (row.get(1), row.get(2));
        let period = PERIODS.into_iter().find(|period| *period as i32 == number).expect("one of those asked for");
        books.account(&rows::project_id(&row, 0)).load(period, Day(start), rows::counter(&row, 3));
    }
    // Those that have no row yet.
    for (project, period, start) in windows {
        books.account(project).load(period, start, Counter::default());
    }
    Ok(())
}

//! The writer: one thread that owns the connection, and commits together all operations that wait.
//!
//! As the only process on the file it keeps accounts and open reservations in memory; the file is read when something is
//! named for the first time, and after a commit that failed, when memory is forgotten.
//!
//! When the disk is full it gives up the [`Ballast`], and settles what runs in that room; it takes nothing on until it has the
//! ballast back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::mpsc;

use super::{ballast::Ballast, batches, claims, keys, open::Clock, rows, slices};
use crate::{
    failpoint::Failpoint,
    id::EntryId,
    ledger::{Books, Entry, Settle, SettledBy},
    project::ProjectId,
    slice::NewSlice,
    store::{
        CREATED_BY_USE_MAX, StoreError,
        jobs::{GROUP_MAX, Job, Outcome},
    },
    window::Day,
};

/// How long the writer stays awake for the next operation: to be woken takes about as long as to commit, which a call that is
/// alone would wait for twice.
const LINGER: Duration = Duration::from_micros(50);

/// How often it is looked whether a disk that was full has room.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_secs(1);

/// Memory is forgotten when it holds more accounts than this.
const ACCOUNTS_MAX: usize = 10_000;

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) clock: Arc<Clock>,
    pub(super) directory_version: Arc<AtomicI64>,
    /// Whether the disk has no room: then only what takes nothing on is done.
    pub(super) is_full: Arc<AtomicBool>,
    /// Whether the log is to be begun anew.
    pub(super) log_is_long: Arc<AtomicBool>,
    ballast: Ballast,
    looked_for_room_at: Option<Instant>,
    books: Books,
    /// Whether memory has to be made anew from the file.
    stale: bool,
}

impl Writer {
    pub(super) fn new(connection: Connection, clock: Arc<Clock>, ballast: Ballast) -> Self {
        Self {
            connection,
            clock,
            directory_version: Arc::default(),
            is_full: Arc::default(),
            log_is_long: Arc::default(),
            ballast,
            looked_for_room_at: None,
            books: Books::default(),
            stale: false,
        }
    }

    /// Begins to write as this epoch, or begins anew.
    pub(super) fn begin(&mut self, epoch: i64) -> rusqlite::Result<()> {
        let created: i64 =
            self.connection.query_row("select count(*) from project where created_by_use", [], |row| row.get(0))?;
        let created = usize::try_from(created).unwrap_or(usize::MAX);
        let creations_left = CREATED_BY_USE_MAX.saturating_sub(created);
        self.books = Books::new(epoch, self.clock.now(), creations_left);
        self.stale = false;
        for reservation in rows::reservations(&self.connection)? {
            self.books.open(reservation);
        }
        Ok(())
    }

    /// Works until every sender is gone.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        self.look_for_room();
        let mut group = Vec::with_capacity(GROUP_MAX);
        while next_group(&mut jobs, &mut group) > 0 {
            self.look_for_room();
            if self.is_full.load(Ordering::Relaxed) {
                refuse(&mut group);
            }
            let mut written = self.commit(&group);
            if written.as_ref().is_err_and(is_lack_of_room) && !self.is_full.load(Ordering::Relaxed) {
                self.make_room();
                refuse(&mut group);
                written = self.commit(&group);
            }
            if written.as_ref().is_err_and(is_lack_of_room) {
                // Better no answer to repeat than no entry.
                group.iter_mut().for_each(Job::forget_answer);
                written = self.commit(&group);
            }
            match written {
                Ok(outcomes) => group.drain(..).zip(outcomes).for_each(|(job, outcome)| job.answer(outcome)),
                Err(error) => {
                    tracing::error!(%error, operations = group.len(), "the ledger could not be written");
                    let error = StoreError::Failed(error.to_string());
                    group.drain(..).for_each(|job| job.fail(error.clone()));
                }
            }
            if self.log_is_long.swap(false, Ordering::Relaxed) {
                self.begin_log_anew();
            }
        }
    }

    /// The syncer has moved nearly all of the log into the file: what is left is moved here, where nobody adds to it.
    fn begin_log_anew(&self) {
        let begun = self.connection.busy_timeout(Duration::ZERO).and_then(|()| {
            let checkpoint = "pragma wal_checkpoint(truncate)";
            self.connection.query_row(checkpoint, [], |row| row.get::<_, bool>(0))
        });
        match begun {
            // Somebody reads from it: the syncer comes back to it.
            Ok(_is_busy) => {}
            Err(error) => tracing::warn!(%error, "the ledger's log could not be begun anew; trying again"),
        }
    }

    /// Takes the ballast, at most once a second; with it the disk has room, too.
    fn look_for_room(&mut self) {
        let is_full = self.is_full.load(Ordering::Relaxed);
        let looked = self.looked_for_room_at.is_some_and(|at| at.elapsed() < LOOK_FOR_ROOM_EVERY || !is_full);
        if looked {
            return;
        }
        self.looked_for_room_at = Some(Instant::now());
        let taken = self.ballast.take();
        self.is_full.store(taken.is_err(), Ordering::Relaxed);
        match taken {
            Ok(()) if is_full => tracing::warn!("the disk of the ledger has room again: calls are taken"),
            Err(error) if !is_full => {
                tracing::error!(%error, "the disk of the ledger has no room: calls are refused until it has");
            }
            _ => {}
        }
    }

    /// The disk is full: what runs is to be settled all the same.
    fn make_room(&mut self) {
        tracing::error!(
            "the disk of the ledger is full, or fails: running calls are settled, and calls are refused until it has room"
        );
        self.ballast.give_up();
        self.is_full.store(true, Ordering::Relaxed);
        self.looked_for_room_at = Some(Instant::now());
    }

    fn commit(&mut self, group: &[Job]) -> rusqlite::Result<Vec<Outcome>> {
        if self.stale {
            self.begin(self.books.epoch)?;
        }
        self.books.now = self.clock.now();
        self.connection.prepare_cached("begin immediate")?.execute([])?;
        let applied = group.iter().map(|job| self.apply(job)).collect::<rusqlite::Result<Vec<Outcome>>>();
        let written = applied.and_then(|outcomes| {
            rows::save(&self.connection, &self.books.take_changes())?;
            Failpoint::Committing.reach();
            self.connection.prepare_cached("commit")?.execute([])?;
            Ok(outcomes)
        });
        if written.is_err() {
            self.stale = true;
            if !self.connection.is_autocommit() {
                // What cannot be rolled back was never begun, or is rolled back already.
                let _ = self.connection.execute_batch("rollback");
            }
        }
        if group.iter().any(Job::changes_the_directory) {
            self.directory_version.fetch_add(1, Ordering::SeqCst);
        }
        self.stale |= self.books.accounts_loaded() > ACCOUNTS_MAX;
        written
    }

    fn apply(&mut self, job: &Job) -> rusqlite::Result<Outcome> {
        match job {
            Job::Reserve(reserve, _) => {
                self.load(&reserve.project, self.books.now.day())?;
                if let Some(claim) = &reserve.claim {
                    rows::load_claim(&self.connection, &mut self.books, claim.scope)?;
                }
                if let Some(before) = &reserve.after {
                    self.load_settled(before)?;
                }
                Ok(Outcome::Reserved(self.books.reserve(reserve)))
            }
            Job::Settle(settle, _) => {
                self.load_settled(settle)?;
                Ok(Outcome::Settled(self.books.settle(settle)))
            }
            Job::Resolve(resolve, _) => {
                let entry = self.entry(resolve.id)?;
                if let Some(entry) = &entry {
                    self.load(&entry.project.clone(), entry.day)?;
                }
                Ok(Outcome::Resolved(self.books.resolve(resolve, entry)))
            }
            Job::ForgetClaims(_) => Ok(Outcome::Count(claims::forget_expired(&self.connection, self.books.now)?)),
            Job::AddKey(key, _) => {
                keys::insert(&self.connection, key)?;
                Ok(Outcome::Done)
            }
            Job::RevokeKey(id, at, _) => Ok(Outcome::Key(keys::revoke(&self.connection, *id, *at)?)),
            Job::SetProject(project, _) => {
                rows::put_project(&self.connection, project)?;
                self.load(&project.id, self.books.now.day())?;
                self.books.account(&project.id).limits = Some(project.limits.clone());
                Ok(Outcome::Done)
            }
            Job::OpenSlice(slice, _) => self.open_slice(slice),
            _ => self.apply_to_batches(job),
        }
    }

    /// The holds, and the slice of what is held.
    fn open_slice(&mut self, slice: &NewSlice) -> rusqlite::Result<Outcome> {
        let ours = slices::ours(&self.connection, slice, self.books.epoch)?;
        let mut holds = Vec::new();
        for item in slice.items.iter().filter(|item| ours.contains(&item.place)) {
            self.load(&item.reserve.project, self.books.now.day())?;
            holds.push((item.place, self.books.reserve(&item.reserve)));
        }
        slices::open(&self.connection, slice, &holds, self.books.epoch, self.books.now)?;
        Ok(Outcome::Holds(holds))
    }

    fn apply_to_batches(&self, job: &Job) -> rusqlite::Result<Outcome> {
        let (db, now) = (&self.connection, self.books.now);
        Ok(match job {
            Job::AddItems(id, from, items, _) => {
                batches::add_items(db, *id, *from, items)?;
                Outcome::Done
            }
            Job::AddBatch(new, total, _) => Outcome::Added(batches::add(db, new, *total, now)?),
            Job::TakeItems(id, count_max, _) => Outcome::Items(batches::take(db, *id, self.books.epoch, *count_max)?),
            Job::EndItems(id, ended, _) => {
                batches::end(db, *id, ended, now)?;
                Outcome::Done
            }
            Job::GiveBack(id, all_but, _) => {
                batches::give_back(db, *id, self.books.epoch, all_but, now)?;
                Outcome::Done
            }
            Job::CancelBatch(id, _) => Outcome::Batch(batches::cancel(db, *id, now)?),
            Job::TakeSlices(_) => Outcome::Slices(slices::take(db, self.books.epoch)?),
            Job::ChangeSlice(id, change, _) => Outcome::Changed(slices::change(db, *id, change, now)?),
            Job::Adopt(id, found, _) => Outcome::Adopted(slices::adopt(db, *id, found)?),
            Job::ReturnItems(id, places, _) => {
                slices::return_items(db, *id, places, now)?;
                Outcome::Done
            }
            Job::ForgetBatches(_) => Outcome::Count(batches::forget_expired(db, now)?),
            _ => unreachable!("the others are not of batches"),
        })
    }

    /// The entry of this id, as this group of operations has it by now.
    fn entry(&mut self, id: EntryId) -> rusqlite::Result<Option<Entry>> {
        rows::save(&self.connection, &self.books.take_changes())?;
        rows::entry(&self.connection, id)
    }

    /// The entry, if recovery made it.
    fn recovered(&self, id: EntryId) -> rusqlite::Result<Option<Entry>> {
        Ok(rows::entry(&self.connection, id)?.filter(|entry| entry.settled_by == SettledBy::Recovery))
    }

    /// Loads what a settlement names.
    fn load_settled(&mut self, settle: &Settle) -> rusqlite::Result<()> {
        if let Some(scope) = settle.claim {
            rows::load_claim(&self.connection, &mut self.books, scope)?;
        }
        let day = self.books.reservation(settle.id).map(|open| open.day);
        let recovered = if day.is_none() { self.recovered(settle.id)? } else { None };
        if let Some(day) = day.or(recovered.as_ref().map(|entry| entry.day)) {
            self.load(&settle.project, day)?;
        }
        if let Some(entry) = recovered {
            self.books.load_recovered(entry);
        }
        Ok(())
    }

    fn load(&mut self, project: &ProjectId, day: Day) -> rusqlite::Result<()> {
        rows::load_account(&self.connection, &mut self.books, project, day)
    }
}

/// All that waits, once anything does. Nothing comes after everybody has gone.
fn next_group(jobs: &mut mpsc::Receiver<Job>, group: &mut Vec<Job>) -> usize {
    let lingers_until = Instant::now() + LINGER;
    while jobs.is_empty() && Instant::now() < lingers_until {
        std::thread::yield_now();
    }
    jobs.blocking_recv_many(group, GROUP_MAX)
}

/// What takes something on is refused.
fn refuse(group: &mut Vec<Job>) {
    for job in group.extract_if(.., |job| !job.takes_nothing_on()) {
        job.fail(StoreError::Full);
    }
}

/// Whether writing failed for lack of room. What a disk is out of it may also call a failure to write.
fn is_lack_of_room(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}

//! The writer: one thread that owns the connection, and commits together all operations that wait.
//!
//! As the only process on the file it keeps accounts and open reservations in memory; the file is read when something is
//! named for the first time, and after a commit that failed, when memory is forgotten.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::{claims, keys, open::Clock, rows};
use crate::{
    id::EntryId,
    ledger::{Books, Entry, SettledBy},
    project::ProjectId,
    store::{
        CREATED_BY_USE_MAX, StoreError,
        jobs::{GROUP_MAX, Job, Outcome},
    },
    window::Day,
};

/// Memory is forgotten when it holds more accounts than this.
const ACCOUNTS_MAX: usize = 10_000;

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) clock: Arc<Clock>,
    pub(super) directory_version: Arc<AtomicI64>,
    books: Books,
    /// Whether memory has to be made anew from the file.
    stale: bool,
}

impl Writer {
    pub(super) fn new(connection: Connection, clock: Arc<Clock>) -> Self {
        Self { connection, clock, directory_version: Arc::default(), books: Books::default(), stale: false }
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
        let mut group = Vec::with_capacity(GROUP_MAX);
        while jobs.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            match self.commit(&group) {
                Ok(outcomes) => group.drain(..).zip(outcomes).for_each(|(job, outcome)| job.answer(outcome)),
                Err(error) => {
                    tracing::error!(%error, operations = group.len(), "the ledger could not be written");
                    self.stale = true;
                    let error = StoreError::Failed(error.to_string());
                    group.drain(..).for_each(|job| job.fail(error.clone()));
                }
            }
        }
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
            self.connection.prepare_cached("commit")?.execute([])?;
            Ok(outcomes)
        });
        if written.is_err() && !self.connection.is_autocommit() {
            // What cannot be rolled back was never begun, or is rolled back already.
            let _ = self.connection.execute_batch("rollback");
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
                Ok(Outcome::Reserved(self.books.reserve(reserve)))
            }
            Job::Settle(settle, _) => {
                let day = self.books.reservation(settle.id).map(|open| open.day);
                if let Some(scope) = settle.claim {
                    rows::load_claim(&self.connection, &mut self.books, scope)?;
                }
                let recovered = if day.is_none() { self.recovered(settle.id)? } else { None };
                if let Some(day) = day.or(recovered.as_ref().map(|entry| entry.day)) {
                    self.load(&settle.project, day)?;
                }
                if let Some(entry) = recovered {
                    self.books.load_recovered(entry);
                }
                Ok(Outcome::Settled(self.books.settle(settle)))
            }
            Job::Resolve(resolve, _) => {
                let entry = self.entry(resolve.id)?;
                if let Some(entry) = &entry {
                    self.load(&entry.project.clone(), entry.day)?;
                }
                Ok(Outcome::Resolved(self.books.resolve(resolve, entry)))
            }
            Job::ForgetExpired(_) => Ok(Outcome::Count(claims::forget_expired(&self.connection, self.books.now)?)),
            Job::AddKey(key, _) => {
                keys::insert(&self.connection, key)?;
                Ok(Outcome::Done)
            }
            Job::RevokeKey(id, at, _) => Ok(Outcome::Key(keys::revoke(&self.connection, *id, *at)?)),
            Job::SetProject(project, _) => {
                rows::write_project(&self.connection, project)?;
                self.load(&project.id, self.books.now.day())?;
                self.books.account(&project.id).limits = Some(project.limits.clone());
                Ok(Outcome::Done)
            }
        }
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

    fn load(&mut self, project: &ProjectId, day: Day) -> rusqlite::Result<()> {
        rows::load_account(&self.connection, &mut self.books, project, day)
    }
}

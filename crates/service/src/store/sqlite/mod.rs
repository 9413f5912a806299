//! The ledger in one file, `ledger.sqlite` of the data folder, which one process has at a time.
//!
//! Commits survive the death of the process at once, and that of the machine when the disk has them: within about a second,
//! or before each answer with `power_loss_safe`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread::{self, JoinHandle},
};

use claude_code_api_wire::{ServiceHealth, ServiceStatus};
use futures_core::future::BoxFuture;
use rusqlite::Connection;

use super::{
    EntriesWanted, Store, StoreError, Verified, WindowUsage,
    jobs::{Job, Jobs},
};
use crate::{
    directory::Directory,
    id::{BatchId, KeyId, SliceId},
    job::{Added, BatchJob, EndedItem, Item, ItemResult, NewBatchJob, OpenBatchJob},
    key::Key,
    ledger::{ClaimScope, Entry, Project, Reserve, Reserved, Resolve, Resolved, Settle, Settled},
    project::ProjectId,
    slice::{Adopted, NewSlice, Slice, SliceChange, SliceItem},
    window::{Moment, Period},
};

mod ballast;
mod batches;
mod claims;
mod keys;
mod open;
mod read;
mod rows;
mod slices;
mod sync;
mod writer;

pub use open::{Options, lock};

/// How many items of a new batch are written in one piece.
const ITEMS_AT_ONCE: usize = 1_000;

/// A ledger in a folder.
pub struct Sqlite {
    /// `None` once this is being dropped.
    jobs: Option<Jobs>,
    writer: Option<JoinHandle<()>>,
    syncer: Option<(JoinHandle<()>, std::sync::mpsc::Sender<()>)>,
    reader: Arc<Mutex<Connection>>,
    path: PathBuf,
    clock: Arc<open::Clock>,
    power_loss_safe: bool,
    /// Goes up with every change of a key or a project; nobody else can change them.
    directory_version: Arc<AtomicI64>,
    /// Whether the disk has no room.
    is_full: Arc<AtomicBool>,
    /// Held for as long as this is open; released last.
    _lock: File,
}

impl Sqlite {
    /// Takes the folder, makes what is missing in it, and charges at its worst case what a process that died had held.
    ///
    /// # Errors
    /// The folder cannot be written to, is in use, or holds a ledger of a newer version.
    pub fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        let lock = lock(folder)?;
        let path = open::file(folder);
        let clock = Arc::new(open::Clock::new(options.clock));
        let writer = open::writer(folder, options.power_loss_safe, &clock)?;
        let (directory_version, is_full) = (Arc::clone(&writer.directory_version), Arc::clone(&writer.is_full));
        let reader = Arc::new(Mutex::new(open::reader(&path)?));
        let syncer = sync::Syncer::open(&path, &writer)?;
        let (jobs, waiting) = Jobs::new();
        let (stop, stopped) = std::sync::mpsc::channel();
        let failed = |error: std::io::Error| StoreError::Unusable(format!("cannot start a thread: {error}"));
        let writer =
            thread::Builder::new().name("ledger".to_owned()).spawn(move || writer.run(waiting)).map_err(failed)?;
        let sync = move || syncer.run(&stopped);
        let syncer = thread::Builder::new().name("ledger-sync".to_owned()).spawn(sync).map_err(failed)?;
        Ok(Self {
            jobs: Some(jobs),
            writer: Some(writer),
            syncer: Some((syncer, stop)),
            reader,
            path,
            clock,
            power_loss_safe: options.power_loss_safe,
            directory_version,
            is_full,
            _lock: lock,
        })
    }

    fn jobs(&self) -> &Jobs {
        self.jobs.as_ref().expect("taken only by drop")
    }

    /// Reads many rows, on a connection of its own: nobody else waits for that.
    async fn read_apart<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || {
            read(&open::reader(&path)?).map_err(|error| StoreError::Failed(error.to_string()))
        });
        reading.await.map_err(|error| StoreError::Failed(error.to_string()))?
    }

    /// Reads beside the writer, on a thread that may wait.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = Arc::clone(&self.reader);
        let reading = tokio::task::spawn_blocking(move || read(&locked(&reader)));
        let read = reading.await.map_err(|error| StoreError::Failed(error.to_string()))?;
        read.map_err(|error| StoreError::Failed(error.to_string()))
    }
}

/// A reader that panicked has changed nothing.
fn locked(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // The writer ends when nobody can ask it any more; a thread that panicked has said so.
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        if let Some((syncer, stop)) = self.syncer.take() {
            drop(stop);
            let _ = syncer.join();
        }
    }
}

impl Store for Sqlite {
    fn reserve(&self, reserve: Reserve) -> BoxFuture<'_, Result<Reserved, StoreError>> {
        Box::pin(self.jobs().ask(|reply| Job::Reserve(reserve, reply)))
    }

    fn settle(&self, settle: Settle) -> BoxFuture<'_, Result<Settled, StoreError>> {
        Box::pin(self.jobs().ask(|reply| Job::Settle(settle, reply)))
    }

    fn answer(&self, scope: ClaimScope) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(self.read(move |db| claims::answer(db, scope)))
    }

    fn forget_expired(&self) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async { Ok(self.jobs().ask(Job::ForgetClaims).await? + self.jobs().ask(Job::ForgetBatches).await?) })
    }

    fn usage(&self, project: ProjectId, period: Period) -> BoxFuture<'_, Result<WindowUsage, StoreError>> {
        let day = self.clock.now().day();
        Box::pin(self.read(move |db| read::usage(db, &project, period, day)))
    }

    fn project(&self, project: ProjectId) -> BoxFuture<'_, Result<Option<Project>, StoreError>> {
        Box::pin(self.read(move |db| rows::project(db, &project)))
    }

    fn projects(&self) -> BoxFuture<'_, Result<Vec<Project>, StoreError>> {
        Box::pin(self.read(read::projects))
    }

    fn set_project(&self, project: Project) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.jobs().ask(|reply| Job::SetProject(project, reply)))
    }

    fn add_key(&self, key: Key) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.jobs().ask(|reply| Job::AddKey(key, reply)))
    }

    fn revoke_key(&self, id: KeyId, at: Moment) -> BoxFuture<'_, Result<Option<Key>, StoreError>> {
        Box::pin(self.jobs().ask(move |reply| Job::RevokeKey(id, at, reply)))
    }

    fn directory(&self, since: Option<i64>) -> BoxFuture<'_, Result<Option<Directory>, StoreError>> {
        // Read before what it counts: a change that comes in between is read twice, and not missed.
        let version = self.directory_version.load(Ordering::SeqCst);
        if since == Some(version) {
            return Box::pin(async { Ok(None) });
        }
        Box::pin(self.read(move |db| Ok(Some(Directory::new(version, keys::all(db)?, read::projects(db)?)))))
    }

    fn resolve(&self, resolve: Resolve) -> BoxFuture<'_, Result<Resolved, StoreError>> {
        Box::pin(self.jobs().ask(|reply| Job::Resolve(resolve, reply)))
    }

    fn entries(&self, wanted: EntriesWanted) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(self.read_apart(move |db| read::entries(db, &wanted)))
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, StoreError>> {
        Box::pin(self.read_apart(read::verify))
    }

    fn add_batch(&self, mut new: NewBatchJob) -> BoxFuture<'_, Result<Added, StoreError>> {
        Box::pin(async move {
            let items = std::mem::take(&mut new.items);
            let sent = new.clone();
            if let Some(known) = self.read(move |db| batches::known(db, &sent)).await? {
                return Ok(known);
            }
            let total = items.len() as u64;
            // In pieces, so that no call waits for all of it.
            for (from, piece) in (0..).step_by(ITEMS_AT_ONCE).zip(items.chunks(ITEMS_AT_ONCE)) {
                self.jobs().ask(|reply| Job::AddItems(new.id, from, piece.to_vec(), reply)).await?;
            }
            self.jobs().ask(|reply| Job::AddBatch(Box::new(new), total, reply)).await
        })
    }

    fn batch(&self, id: BatchId) -> BoxFuture<'_, Result<Option<BatchJob>, StoreError>> {
        Box::pin(self.read(move |db| batches::job(db, id)))
    }

    fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        count_max: u32,
    ) -> BoxFuture<'_, Result<Vec<BatchJob>, StoreError>> {
        Box::pin(self.read(move |db| batches::jobs(db, &project, before, count_max)))
    }

    fn open_batches(&self) -> BoxFuture<'_, Result<Vec<OpenBatchJob>, StoreError>> {
        Box::pin(self.read(batches::open))
    }

    fn take_items(&self, id: BatchId, count_max: u32) -> BoxFuture<'_, Result<Vec<Item>, StoreError>> {
        Box::pin(self.jobs().ask(move |reply| Job::TakeItems(id, count_max, reply)))
    }

    fn end_items(&self, id: BatchId, ended: Vec<EndedItem>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.jobs().ask(move |reply| Job::EndItems(id, ended, reply)))
    }

    fn give_back(&self, id: BatchId, all_but: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.jobs().ask(move |reply| Job::GiveBack(id, all_but, reply)))
    }

    fn results(&self, id: BatchId, after: u64, count_max: u32) -> BoxFuture<'_, Result<Vec<ItemResult>, StoreError>> {
        Box::pin(self.read(move |db| batches::results(db, id, after, count_max)))
    }

    fn cancel_batch(&self, id: BatchId) -> BoxFuture<'_, Result<Option<BatchJob>, StoreError>> {
        Box::pin(self.jobs().ask(move |reply| Job::CancelBatch(id, reply)))
    }

    fn open_slice(&self, slice: NewSlice) -> BoxFuture<'_, Result<Vec<(u32, Reserved)>, StoreError>> {
        Box::pin(self.jobs().ask(move |reply| Job::OpenSlice(slice, reply)))
    }

    fn take_slices(&self) -> BoxFuture<'_, Result<Vec<Slice>, StoreError>> {
        Box::pin(self.jobs().ask(Job::TakeSlices))
    }

    fn change_slice(&self, id: SliceId, change: SliceChange) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.jobs().ask(move |reply| Job::ChangeSlice(id, change, reply)))
    }

    fn adopt(&self, id: SliceId, found: Vec<String>) -> BoxFuture<'_, Result<Adopted, StoreError>> {
        Box::pin(self.jobs().ask(move |reply| Job::Adopt(id, found, reply)))
    }

    fn slice_items(&self, id: SliceId) -> BoxFuture<'_, Result<Vec<SliceItem>, StoreError>> {
        Box::pin(self.read(move |db| slices::items(db, id)))
    }

    fn return_items(&self, id: SliceId, places: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.jobs().ask(move |reply| Job::ReturnItems(id, places, reply)))
    }

    fn health(&self) -> ServiceHealth {
        let closed = self.jobs.as_ref().is_none_or(Jobs::is_closed);
        let (status, detail) = if self.is_full.load(Ordering::Relaxed) {
            (
                ServiceStatus::Down,
                "sqlite: the disk is full, or fails; calls are refused, and those that run are settled",
            )
        } else if closed {
            (ServiceStatus::Down, "sqlite: closed")
        } else if self.power_loss_safe {
            (ServiceStatus::Ok, "sqlite: commits survive the process and a power failure at once")
        } else {
            (ServiceStatus::Ok, "sqlite: commits survive the process at once, and a power failure after about a second")
        };
        ServiceHealth { status, detail: Some(detail.to_owned()) }
    }
}

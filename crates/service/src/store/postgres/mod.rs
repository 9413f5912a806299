//! The ledger in a PostgreSQL database, from which any number of processes serve.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use claude_code_api_wire::{ServiceHealth, ServiceStatus};
use futures_core::future::BoxFuture;
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_postgres::Error;

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

mod batches;
mod connect;
mod epoch;
mod manage;
mod migrate;
mod read;
mod rows;
mod slices;
mod writer;

use connect::{Connection, Connector, failed};
use epoch::{Epoch, Keeper};
use writer::Writer;

/// How long what is read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What there is to choose about a store in a database.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a process may be silent before the others take it for dead. Of two that say different times, the longer holds.
    pub ttl: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10) }
    }
}

/// A ledger in a database, as one process has it.
pub struct Postgres {
    /// `None` once this is being closed.
    jobs: Option<Jobs>,
    writer: Option<JoinHandle<()>>,
    keeper: JoinHandle<()>,
    connector: Arc<Connector>,
    reader: Mutex<Option<Arc<Connection>>>,
    /// What changes batches, which no call waits for. `None` once this is being closed.
    batches: Option<Jobs>,
    epoch: Arc<Epoch>,
    is_up: Arc<AtomicBool>,
}

impl Postgres {
    /// Connects, and makes what is missing in the database.
    ///
    /// # Errors
    /// The URL is none, the database cannot be reached, or holds a ledger of a newer version.
    pub async fn open(url: &str, options: Options) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(url, options.ttl)?);
        let unusable = |why| StoreError::Unusable(format!("cannot use the database: {why}"));
        let connection = connector.connect().await.map_err(unusable)?;
        migrate::migrate(&connection).await?;
        let (epoch, is_up) = (Arc::new(Epoch::new(options.ttl)), Arc::new(AtomicBool::new(true)));
        let (jobs, waiting) = Jobs::new();
        let (batches, batches_waiting) = Jobs::new();
        let writer = Writer::new(Arc::clone(&connector), Arc::clone(&epoch), Arc::clone(&is_up));
        let of_batches = Writer::new(Arc::clone(&connector), Arc::clone(&epoch), Arc::default());
        let keeper = Keeper { connector: Arc::clone(&connector), epoch: Arc::clone(&epoch), ttl: options.ttl };
        #[expect(clippy::disallowed_methods, reason = "the store ends them")]
        let writer = tokio::spawn(async move {
            // The epoch ends with the one that calls need; what changes batches is done before that.
            let (writer, mut of_batches) = (writer, of_batches);
            tokio::join!(of_batches.work(batches_waiting), writer.run(waiting));
        });
        #[expect(clippy::disallowed_methods, reason = "the store ends it")]
        let keeper = tokio::spawn(keeper.run());
        let reader = Mutex::new(Some(Arc::new(connection)));
        Ok(Self {
            jobs: Some(jobs),
            writer: Some(writer),
            keeper,
            connector,
            reader,
            batches: Some(batches),
            epoch,
            is_up,
        })
    }

    /// The number of this process, once it has held anything.
    pub fn epoch(&self) -> Option<i64> {
        self.epoch.current()
    }

    /// Takes a process for dead at once, on the word of somebody who knows: what it held is charged at its worst case. How many
    /// holds that were; `None` where there is no such process any more, or where its count of beats is not `beat` any more.
    ///
    /// # Errors
    /// The database failed.
    pub async fn take_for_dead(&self, epoch: i64, beat: Option<i64>) -> Result<Option<usize>, StoreError> {
        let connection = self.connector.connect().await.map_err(StoreError::Failed)?;
        epoch::reap(&connection, epoch, beat).await.map_err(|error| failed(&error))
    }

    fn jobs(&self) -> &Jobs {
        self.jobs.as_ref().expect("taken only by drop")
    }

    fn batch_jobs(&self) -> &Jobs {
        self.batches.as_ref().expect("taken only by drop")
    }

    /// The connection that reads, which many share.
    async fn reader(&self) -> Result<Arc<Connection>, StoreError> {
        let mut reader = self.reader.lock().await;
        if let Some(live) = reader.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(live));
        }
        let connection = Arc::new(self.connector.connect().await.map_err(StoreError::Failed)?);
        *reader = Some(Arc::clone(&connection));
        Ok(connection)
    }

    async fn read<T>(&self, read: impl AsyncFnOnce(&Connection) -> Result<T, Error>) -> Result<T, StoreError> {
        let reading = async {
            let connection = self.reader().await?;
            read(&connection).await.map_err(|error| failed(&error))
        };
        if let Ok(read) = tokio::time::timeout(READ_TIMEOUT, reading).await {
            return read;
        }
        // Whoever makes another one at the moment does what is to be done.
        if let Ok(mut reader) = self.reader.try_lock() {
            *reader = None;
        }
        Err(StoreError::Failed(format!("no answer within {} s", READ_TIMEOUT.as_secs())))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.keeper.abort();
        // The writer ends by itself when nobody can ask it any more.
        drop(self.batches.take());
        drop(self.jobs.take());
        drop(self.writer.take());
    }
}

impl Store for Postgres {
    fn reserve(&self, reserve: Reserve) -> BoxFuture<'_, Result<Reserved, StoreError>> {
        Box::pin(self.jobs().ask(|reply| Job::Reserve(reserve, reply)))
    }

    fn settle(&self, settle: Settle) -> BoxFuture<'_, Result<Settled, StoreError>> {
        Box::pin(self.jobs().ask(|reply| Job::Settle(settle, reply)))
    }

    fn answer(&self, scope: ClaimScope) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(self.read(async move |db| read::answer(db, scope).await))
    }

    fn forget_expired(&self) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async {
            Ok(self.jobs().ask(Job::ForgetClaims).await? + self.batch_jobs().ask(Job::ForgetBatches).await?)
        })
    }

    fn usage(&self, project: ProjectId, period: Period) -> BoxFuture<'_, Result<WindowUsage, StoreError>> {
        Box::pin(self.read(async move |db| read::usage(db, &project, period).await))
    }

    fn project(&self, project: ProjectId) -> BoxFuture<'_, Result<Option<Project>, StoreError>> {
        Box::pin(self.read(async move |db| read::project(db, &project).await))
    }

    fn projects(&self) -> BoxFuture<'_, Result<Vec<Project>, StoreError>> {
        Box::pin(self.read(async |db| read::projects(db).await))
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
        Box::pin(self.read(async move |db| read::directory(db, since).await))
    }

    fn resolve(&self, resolve: Resolve) -> BoxFuture<'_, Result<Resolved, StoreError>> {
        Box::pin(self.jobs().ask(|reply| Job::Resolve(resolve, reply)))
    }

    fn entries(&self, wanted: EntriesWanted) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(self.read(async move |db| read::entries(db, &wanted).await))
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, StoreError>> {
        Box::pin(async {
            let connection = self.connector.connect().await.map_err(StoreError::Failed)?;
            read::verify(&connection).await.map_err(|error| failed(&error))
        })
    }

    fn add_batch(&self, new: NewBatchJob) -> BoxFuture<'_, Result<Added, StoreError>> {
        let total = new.items.len() as u64;
        Box::pin(self.batch_jobs().ask(move |reply| Job::AddBatch(Box::new(new), total, reply)))
    }

    fn batch(&self, id: BatchId) -> BoxFuture<'_, Result<Option<BatchJob>, StoreError>> {
        Box::pin(self.read(async move |db| batches::job(db, id).await))
    }

    fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        count_max: u32,
    ) -> BoxFuture<'_, Result<Vec<BatchJob>, StoreError>> {
        Box::pin(self.read(async move |db| batches::jobs(db, &project, before, count_max).await))
    }

    fn open_batches(&self) -> BoxFuture<'_, Result<Vec<OpenBatchJob>, StoreError>> {
        Box::pin(self.read(async |db| batches::open(db).await))
    }

    fn take_items(&self, id: BatchId, count_max: u32) -> BoxFuture<'_, Result<Vec<Item>, StoreError>> {
        Box::pin(self.batch_jobs().ask(move |reply| Job::TakeItems(id, count_max, reply)))
    }

    fn end_items(&self, id: BatchId, ended: Vec<EndedItem>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.batch_jobs().ask(move |reply| Job::EndItems(id, ended, reply)))
    }

    fn give_back(&self, id: BatchId, all_but: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.batch_jobs().ask(move |reply| Job::GiveBack(id, all_but, reply)))
    }

    fn results(&self, id: BatchId, after: u64, count_max: u32) -> BoxFuture<'_, Result<Vec<ItemResult>, StoreError>> {
        Box::pin(self.read(async move |db| batches::results(db, id, after, count_max).await))
    }

    fn cancel_batch(&self, id: BatchId) -> BoxFuture<'_, Result<Option<BatchJob>, StoreError>> {
        Box::pin(self.batch_jobs().ask(move |reply| Job::CancelBatch(id, reply)))
    }

    fn open_slice(&self, slice: NewSlice) -> BoxFuture<'_, Result<Vec<(u32, Reserved)>, StoreError>> {
        Box::pin(self.batch_jobs().ask(move |reply| Job::OpenSlice(slice, reply)))
    }

    fn take_slices(&self) -> BoxFuture<'_, Result<Vec<Slice>, StoreError>> {
        Box::pin(self.batch_jobs().ask(Job::TakeSlices))
    }

    fn change_slice(&self, id: SliceId, change: SliceChange) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.batch_jobs().ask(move |reply| Job::ChangeSlice(id, change, reply)))
    }

    fn adopt(&self, id: SliceId, found: Vec<String>) -> BoxFuture<'_, Result<Adopted, StoreError>> {
        Box::pin(self.batch_jobs().ask(move |reply| Job::Adopt(id, found, reply)))
    }

    fn slice_items(&self, id: SliceId) -> BoxFuture<'_, Result<Vec<SliceItem>, StoreError>> {
        Box::pin(self.read(async move |db| slices::items(db, id).await))
    }

    fn return_items(&self, id: SliceId, places: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.batch_jobs().ask(move |reply| Job::ReturnItems(id, places, reply)))
    }

    fn fenced(&self, epoch: i64) -> BoxFuture<'_, ()> {
        Box::pin(self.epoch.fenced(epoch))
    }

    fn health(&self) -> ServiceHealth {
        let is_up = self.is_up.load(Ordering::Relaxed) && !self.jobs().is_closed();
        let (status, detail) = if is_up {
            (ServiceStatus::Ok, "postgresql: commits are as durable as the database makes them")
        } else {
            (
                ServiceStatus::Down,
                "postgresql: the database could not be reached when it was last asked; calls are refused",
            )
        };
        ServiceHealth { status, detail: Some(detail.to_owned()) }
    }
}

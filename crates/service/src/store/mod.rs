//! Edge down: where the ledger is kept. The only place that names a database.
//!
//! A method of [`Store`] is one whole transaction, named by what it does; no transaction leaves it. What is decided in one is
//! decided by [`crate::ledger::Books`].

use futures_core::future::BoxFuture;

use crate::{
    directory::Directory,
    id::{BatchId, KeyId, SliceId},
    job::{Added, BatchJob, EndedItem, Item, ItemResult, NewBatchJob, OpenBatchJob},
    key::Key,
    ledger::{
        Amount, ClaimScope, Entry, Limits, ModelUsage, Project, Reserve, Reserved, Resolve, Resolved, Settle, Settled,
    },
    project::ProjectId,
    slice::{Adopted, NewSlice, Slice, SliceChange, SliceItem},
    window::{Day, Moment, Period},
};

pub mod conformance;
mod jobs;
pub mod postgres;
pub mod sqlite;
mod verify;

/// The most projects that use may make.
const CREATED_BY_USE_MAX: usize = 1_000;

/// A place that keeps the ledger. Implementations pass [`conformance`].
pub trait Store: Send + Sync {
    /// Holds the worst case of a call, in every window of its project, or says why not. What it grants is durable. Sending the
    /// same operation again changes nothing.
    fn reserve(&self, reserve: Reserve) -> BoxFuture<'_, Result<Reserved, StoreError>>;

    /// Closes a reservation: with an entry, or as released. When this returns it is durable. Sending the same operation again
    /// changes nothing.
    fn settle(&self, settle: Settle) -> BoxFuture<'_, Result<Settled, StoreError>>;

    /// The answer that is kept under an idempotency key.
    fn answer(&self, scope: ClaimScope) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// Forgets some of the idempotency keys and batches whose time is over, with their answers; how many rows.
    fn forget_expired(&self) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// What a project has used in the window of this length that is now. A project that is not there has used nothing.
    fn usage(&self, project: ProjectId, period: Period) -> BoxFuture<'_, Result<WindowUsage, StoreError>>;

    /// The project, if there is one.
    fn project(&self, project: ProjectId) -> BoxFuture<'_, Result<Option<Project>, StoreError>>;

    /// Every project, by name.
    fn projects(&self) -> BoxFuture<'_, Result<Vec<Project>, StoreError>>;

    /// Makes the project, or gives it other limits. What is held or spent stays.
    fn set_project(&self, project: Project) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps a new key.
    fn add_key(&self, key: Key) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Revokes a key from this moment on, unless it is revoked already; the key as it is then, if there is one.
    fn revoke_key(&self, id: KeyId, at: Moment) -> BoxFuture<'_, Result<Option<Key>, StoreError>>;

    /// Every key and every project that was set up; `None` when nothing has changed since that version of it.
    fn directory(&self, since: Option<i64>) -> BoxFuture<'_, Result<Option<Directory>, StoreError>>;

    /// Corrects an estimated entry by hand.
    fn resolve(&self, resolve: Resolve) -> BoxFuture<'_, Result<Resolved, StoreError>>;

    /// The newest entries that these are looked for among, newest first.
    fn entries(&self, wanted: EntriesWanted) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>>;

    /// Recomputes every counter from the entries and the reservations.
    fn verify(&self) -> BoxFuture<'_, Result<Verified, StoreError>>;

    /// Ends when this process is no longer the one of this number: it was taken for dead, and what it held is charged. A store that
    /// one process has at a time never takes it for dead.
    fn fenced(&self, epoch: i64) -> BoxFuture<'_, ()> {
        let _ = epoch;
        Box::pin(std::future::pending())
    }

    /// Stores a batch. When this returns it is durable, and with whoever works on batches.
    fn add_batch(&self, batch: NewBatchJob) -> BoxFuture<'_, Result<Added, StoreError>>;

    /// A stored batch.
    fn batch(&self, id: BatchId) -> BoxFuture<'_, Result<Option<BatchJob>, StoreError>>;

    /// Batches of a project that are older than `before`, the newest first.
    fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        count_max: u32,
    ) -> BoxFuture<'_, Result<Vec<BatchJob>, StoreError>>;

    /// Every batch that has not ended, the oldest first.
    fn open_batches(&self) -> BoxFuture<'_, Result<Vec<OpenBatchJob>, StoreError>>;

    /// Items of a batch that wait: from now on this process works on them, until it has ended them or has died.
    fn take_items(&self, id: BatchId, count_max: u32) -> BoxFuture<'_, Result<Vec<Item>, StoreError>>;

    /// Items that this process had taken on have ended: an item has one result, the first that is told. A batch ends with its last
    /// item, and a cancelled one with the last that ran. Sending the same again changes nothing.
    fn end_items(&self, id: BatchId, ended: Vec<EndedItem>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Items of a batch that this process had taken on wait again, but for those in these places.
    fn give_back(&self, id: BatchId, all_but: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Results of a batch with numbers above `after`, in the order in which they came.
    fn results(&self, id: BatchId, after: u64, count_max: u32) -> BoxFuture<'_, Result<Vec<ItemResult>, StoreError>>;

    /// Cancels a batch, unless it has ended; the batch as it is then, if there is one.
    fn cancel_batch(&self, id: BatchId) -> BoxFuture<'_, Result<Option<BatchJob>, StoreError>>;

    /// Makes a slice of those of these items that this process has taken on and whose holds are granted, in one commit; without any
    /// there is none. What came of each hold, by place. Sending the same again changes nothing.
    fn open_slice(&self, slice: NewSlice) -> BoxFuture<'_, Result<Vec<(u32, Reserved)>, StoreError>>;

    /// The slices that have not ended and that this process works on: from now on also those that nobody works on.
    fn take_slices(&self) -> BoxFuture<'_, Result<Vec<Slice>, StoreError>>;

    /// Takes note of what became of a slice. Whether that is so now: it may only be sent again where this process works on it, and it has
    /// not ended.
    fn change_slice(&self, id: SliceId, change: SliceChange) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Gives a slice without a batch upstream the first of these that no slice has.
    fn adopt(&self, id: SliceId, found: Vec<String>) -> BoxFuture<'_, Result<Adopted, StoreError>>;

    /// The items of a slice that have no result.
    fn slice_items(&self, id: SliceId) -> BoxFuture<'_, Result<Vec<SliceItem>, StoreError>>;

    /// These items of a slice wait again, to be submitted in another one.
    fn return_items(&self, id: SliceId, places: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether it can be reached, in a few words.
    fn health(&self) -> claude_code_api_wire::ServiceHealth;
}

/// Which entries to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntriesWanted {
    /// Of this project only.
    pub project: Option<ProjectId>,
    /// Estimated ones only.
    pub estimated: bool,
    /// At most so many.
    pub count_max: u32,
}

/// What a project has used in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowUsage {
    /// First day of the window.
    pub start: Day,
    /// First day after it.
    pub end: Day,
    /// What may be used; `None`: there is no such project.
    pub limits: Option<Limits>,
    /// Settled.
    pub spent: Amount,
    /// Reserved.
    pub held: Amount,
    /// Settled, by model.
    pub by_model: Vec<(String, ModelUsage)>,
}

/// What [`Store::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries that were added up.
    pub entries: u64,
    /// Those of them that are estimates.
    pub estimated: u64,
    /// Those of them that came to more than was held: a bound was wrong.
    pub overruns: u64,
    /// What they add up to, of all projects.
    pub spent: Amount,
    /// Open reservations.
    pub reservations: u64,
    /// Every counter that is not the sum it should be, in words.
    pub differences: Vec<String>,
}

/// Why a store did not do what it was asked for. After it nothing is known of the operation: send it again, or look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("{0}")]
    Unusable(String),
    /// It failed; a later attempt may succeed.
    #[error("the ledger's store failed: {0}")]
    Failed(String),
    /// There is no room for more: what runs is settled, and nothing is taken on.
    #[error("the disk of the ledger is full, or fails; only running calls are settled until there is room")]
    Full,
    /// The service is shutting down.
    #[error("the ledger's store is closed")]
    Closed,
}

//! Jobs: what waits for a store's writer, which commits together all that it finds waiting.

use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use crate::{
    id::{BatchId, KeyId, SliceId},
    job::{Added, BatchJob, EndedItem, Item, NewBatchJob, NewItem},
    key::Key,
    ledger::{Project, Reserve, Reserved, Resolve, Resolved, Settle, Settled},
    slice::{Adopted, NewSlice, Slice, SliceChange},
    window::Moment,
};

/// The most operations that may wait; more wait to be let in.
const WAITING_MAX: usize = 4_096;

/// The most operations in one commit.
pub(super) const GROUP_MAX: usize = 1_024;

/// How many rows are deleted at a time whose time is over, so that nobody waits long for the writer.
pub(super) const FORGOTTEN_MAX: u32 = 500;

/// An operation that waits for its commit.
pub(super) enum Job {
    Reserve(Reserve, Reply<Reserved>),
    Settle(Settle, Reply<Settled>),
    Resolve(Resolve, Reply<Resolved>),
    SetProject(Project, Reply<()>),
    AddKey(Key, Reply<()>),
    RevokeKey(KeyId, Moment, Reply<Option<Key>>),
    ForgetClaims(Reply<usize>),
    ForgetBatches(Reply<usize>),
    /// Some of the items of a batch that is about to be stored; the first of them has this place.
    AddItems(BatchId, u32, Vec<NewItem>, Reply<()>),
    /// A batch, so many of whose items are there.
    AddBatch(Box<NewBatchJob>, u64, Reply<Added>),
    TakeItems(BatchId, u32, Reply<Vec<Item>>),
    EndItems(BatchId, Vec<EndedItem>, Reply<()>),
    GiveBack(BatchId, Vec<u32>, Reply<()>),
    CancelBatch(BatchId, Reply<Option<BatchJob>>),
    OpenSlice(NewSlice, Reply<Vec<(u32, Reserved)>>),
    TakeSlices(Reply<Vec<Slice>>),
    ChangeSlice(SliceId, SliceChange, Reply<bool>),
    Adopt(SliceId, Vec<String>, Reply<Adopted>),
    ReturnItems(SliceId, Vec<u32>, Reply<()>),
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What came of an operation.
pub(super) enum Outcome {
    Reserved(Reserved),
    Settled(Settled),
    Resolved(Resolved),
    Key(Option<Key>),
    Count(usize),
    Added(Added),
    Items(Vec<Item>),
    Batch(Option<BatchJob>),
    Holds(Vec<(u32, Reserved)>),
    Slices(Vec<Slice>),
    Adopted(Adopted),
    Changed(bool),
    Done,
}

/// Where jobs are handed in.
#[derive(Clone)]
pub(super) struct Jobs(mpsc::Sender<Job>);

impl Jobs {
    pub(super) fn new() -> (Self, mpsc::Receiver<Job>) {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        (Self(jobs), waiting)
    }

    /// Hands a job in, and waits for its outcome.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(job(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Whether nobody works on jobs any more.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl Job {
    /// Whether it is one step of a call, rather than management.
    pub(super) fn is_of_a_call(&self) -> bool {
        matches!(self, Self::Reserve(..) | Self::Settle(..))
    }

    /// Whether it changes a batch.
    pub(super) fn is_of_a_batch(&self) -> bool {
        matches!(
            self,
            Self::AddItems(..)
                | Self::AddBatch(..)
                | Self::TakeItems(..)
                | Self::EndItems(..)
                | Self::GiveBack(..)
                | Self::CancelBatch(..)
                | Self::ForgetBatches(..)
        ) || self.is_of_slices()
    }

    /// Whether it changes slices of batches.
    pub(super) fn is_of_slices(&self) -> bool {
        matches!(
            self,
            Self::OpenSlice(..)
                | Self::TakeSlices(..)
                | Self::ChangeSlice(..)
                | Self::Adopt(..)
                | Self::ReturnItems(..)
        )
    }

    /// Whether it takes nothing on: it ends something, or takes something away.
    pub(super) fn takes_nothing_on(&self) -> bool {
        matches!(self, Self::Settle(..) | Self::RevokeKey(..) | Self::ChangeSlice(..) | Self::Adopt(..))
    }

    /// Whether it may be sent again when it is not known what became of it.
    pub(super) fn may_be_repeated(&self) -> bool {
        // What was taken on then would be nobody's.
        !matches!(self, Self::TakeItems(..))
    }

    /// Keeps no answer, where it is to keep one.
    pub(super) fn forget_answer(&mut self) {
        if let Self::Settle(settle, _) = self {
            settle.answer = None;
        }
    }

    /// Whether it changes a key or what a project may use.
    pub(super) fn changes_the_directory(&self) -> bool {
        matches!(self, Self::SetProject(..) | Self::AddKey(..) | Self::RevokeKey(..))
    }

    pub(super) fn answer(self, outcome: Outcome) {
        // Who asked may have gone; the books are right all the same.
        match (self, outcome) {
            (Self::Reserve(_, reply), Outcome::Reserved(reserved)) => drop(reply.send(Ok(reserved))),
            (Self::Settle(_, reply), Outcome::Settled(settled)) => drop(reply.send(Ok(settled))),
            (Self::Resolve(_, reply), Outcome::Resolved(resolved)) => drop(reply.send(Ok(resolved))),
            (
                Self::SetProject(_, reply)
                | Self::AddKey(_, reply)
                | Self::AddItems(.., reply)
                | Self::EndItems(.., reply)
                | Self::GiveBack(.., reply)
                | Self::ReturnItems(.., reply),
                Outcome::Done,
            ) => drop(reply.send(Ok(()))),
            (Self::AddBatch(.., reply), Outcome::Added(added)) => drop(reply.send(Ok(added))),
            (Self::TakeItems(.., reply), Outcome::Items(items)) => drop(reply.send(Ok(items))),
            (Self::CancelBatch(_, reply), Outcome::Batch(batch)) => drop(reply.send(Ok(batch))),
            (Self::OpenSlice(_, reply), Outcome::Holds(holds)) => drop(reply.send(Ok(holds))),
            (Self::TakeSlices(reply), Outcome::Slices(slices)) => drop(reply.send(Ok(slices))),
            (Self::ChangeSlice(.., reply), Outcome::Changed(is_so)) => drop(reply.send(Ok(is_so))),
            (Self::Adopt(.., reply), Outcome::Adopted(adopted)) => drop(reply.send(Ok(adopted))),
            (Self::RevokeKey(.., reply), Outcome::Key(key)) => drop(reply.send(Ok(key))),
            (Self::ForgetClaims(reply) | Self::ForgetBatches(reply), Outcome::Count(count)) => {
                drop(reply.send(Ok(count)));
            }
            _ => unreachable!("an operation is answered in kind"),
        }
    }

    pub(super) fn fail(self, error: StoreError) {
        match self {
            Self::Reserve(_, reply) => drop(reply.send(Err(error))),
            Self::Settle(_, reply) => drop(reply.send(Err(error))),
            Self::Resolve(_, reply) => drop(reply.send(Err(error))),
            Self::SetProject(_, reply)
            | Self::AddKey(_, reply)
            | Self::AddItems(.., reply)
            | Self::EndItems(.., reply)
            | Self::GiveBack(.., reply)
            | Self::ReturnItems(.., reply) => drop(reply.send(Err(error))),
            Self::AddBatch(.., reply) => drop(reply.send(Err(error))),
            Self::TakeItems(.., reply) => drop(reply.send(Err(error))),
            Self::CancelBatch(_, reply) => drop(reply.send(Err(error))),
            Self::OpenSlice(_, reply) => drop(reply.send(Err(error))),
            Self::TakeSlices(reply) => drop(reply.send(Err(error))),
            Self::ChangeSlice(.., reply) => drop(reply.send(Err(error))),
            Self::Adopt(.., reply) => drop(reply.send(Err(error))),
            Self::RevokeKey(.., reply) => drop(reply.send(Err(error))),
            Self::ForgetClaims(reply) | Self::ForgetBatches(reply) => drop(reply.send(Err(error))),
        }
    }
}

//! Slice: items of an economy batch that are held for and submitted together, as one batch upstream. Data, no IO.

use std::time::Duration;

use crate::{
    id::{BatchId, EntryId, SliceId},
    ledger::{Amount, Reserve},
    window::Moment,
};

/// The most items of one.
pub const ITEMS_MAX: usize = 500;

/// A slice to make of items that this process has taken on: of those of them whose holds are granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSlice {
    /// Its id.
    pub id: SliceId,
    /// The batch that its items are of.
    pub batch: BatchId,
    /// Its items.
    pub items: Vec<NewItem>,
}

/// An item that a slice is to be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// Its place among those of its batch.
    pub place: u32,
    /// What is asked of the ledger for it.
    pub reserve: Reserve,
    /// How its model was chosen, in JSON, where the caller left that to the service.
    pub route: Option<String>,
}

/// A slice that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Its id.
    pub id: SliceId,
    /// The batch that its items are of.
    pub batch: BatchId,
    /// The batch that upstream has of it. `None`: an intent, of which it is not known whether upstream has it.
    pub upstream: Option<String>,
    /// Whether that was found among upstream's batches, so that only its results show whether it is the right one.
    pub is_adopted: bool,
    /// When it was made: what prices apply.
    pub created_at: Moment,
    /// When it was submitted, or was about to be, for the last time. `None`: upstream has refused it since.
    pub sent_at: Option<Moment>,
}

/// What becomes of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceChange {
    /// It is about to be submitted once more.
    Sending,
    /// Upstream has refused it: it is nowhere.
    Refused,
    /// Upstream has taken it, as this batch.
    Submitted(String),
    /// The batch that it had adopted is not its own.
    NotOurs,
    /// Each of its items has ended, or waits again.
    Ended,
}

/// What came of looking for a slice among upstream's batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// It has this one.
    Batch(String),
    /// There is one that another slice has adopted meanwhile, and that may turn out to be this one's.
    Contended,
    /// There is none.
    Nothing,
}

/// An item of a slice that has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceItem {
    /// Its place among those of its batch.
    pub place: u32,
    /// What it is held under.
    pub entry: EntryId,
    /// How often it was submitted.
    pub attempts: u32,
    /// The dearest model that is held for, as callers see it.
    pub model: String,
    /// How the model was chosen: see [`NewItem::route`].
    pub route: Option<String>,
    /// What is held; `None` once it is settled.
    pub held: Option<Held>,
}

/// What is held for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// All of it.
    pub amount: Amount,
    /// The bound on the input in it, in tokens.
    pub input_tokens: i64,
}

impl Slice {
    /// How long ago it was submitted.
    pub fn age(&self) -> Duration {
        let since = self.sent_at.unwrap_or(self.created_at);
        Duration::from_millis(u64::try_from(Moment::of_system().0 - since.0).unwrap_or(0))
    }

    /// What an item is called upstream.
    pub fn name_of(&self, place: u32) -> String {
        format!("{}_{place}", self.id.as_uuid().simple())
    }

    /// The place of the item that is called so, if it is of this slice.
    pub fn place_of(&self, name: &str) -> Option<u32> {
        let (slice, place) = name.split_once('_')?;
        place.parse().ok().filter(|_| slice == self.id.as_uuid().simple().to_string())
    }
}

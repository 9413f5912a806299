//! Batch job: a batch that is stored before it is accepted, and worked on until every item has its result. Data, no IO.

use std::time::Duration;

use crate::{
    id::BatchId,
    ledger::{Claim, ClaimScope},
    project::ProjectId,
    window::Moment,
};

/// A batch to store. It is stored once, however often this is sent.
#[derive(Clone, Debug)]
pub struct NewBatchJob {
    /// Its id.
    pub id: BatchId,
    /// Who pays.
    pub terms: Terms,
    /// The key under which the caller would send it again.
    pub claim: Option<Claim>,
    /// The prompts.
    pub items: Vec<NewItem>,
    /// How long it is kept once it has ended.
    pub kept_for: Duration,
}

/// What all items of a batch have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The project that pays.
    pub project: ProjectId,
    /// Whether a project that is not there yet is made by this.
    pub makes_project: bool,
    /// How many items one process works on at a time.
    pub items_max: u32,
    /// What is asked beside each prompt, in the caller's words.
    pub request: String,
    /// Whether an upstream runs them when it has room, at half price.
    pub is_economy: bool,
}

/// A prompt to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// The prompt.
    pub prompt: String,
    /// What the caller knows it by.
    pub name: Option<String>,
}

/// What became of a batch that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is stored; or was, under the same key.
    Stored(BatchJob),
    /// Its key was used for another batch.
    Conflict,
}

/// A stored batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchJob {
    /// Its id.
    pub id: BatchId,
    /// The project that pays.
    pub project: ProjectId,
    /// Whether it runs upstream, at half price.
    pub is_economy: bool,
    /// How many items there are.
    pub total: u64,
    /// How many of them were answered, and what came of it.
    pub sums: Sums,
    /// When it was stored.
    pub created_at: Moment,
    /// When it was cancelled.
    pub cancelled_at: Option<Moment>,
    /// When its last item ended.
    pub ended_at: Option<Moment>,
    /// When it is deleted.
    pub expires_at: Option<Moment>,
}

/// Counts and sums over results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many items were answered.
    pub completed: u64,
    /// How many were not.
    pub failed: u64,
    /// What the answers cost, in nano-dollars.
    pub nanos: i64,
    /// What the answers took, in tokens.
    pub tokens: u64,
}

impl Sums {
    /// Adds what another result came to.
    pub fn add(&mut self, other: Self) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.nanos = self.nanos.saturating_add(other.nanos);
        self.tokens = self.tokens.saturating_add(other.tokens);
    }
}

/// A batch that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBatchJob {
    /// Its id.
    pub id: BatchId,
    /// What its items have in common.
    pub terms: Terms,
    /// Whether it was cancelled: what runs is to end, and nothing is to begin.
    pub is_cancelled: bool,
}

/// An item that a process has taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its place among those of its batch, from 0.
    pub place: u32,
    /// The prompt.
    pub prompt: String,
}

/// An item that has its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedItem {
    /// Its place.
    pub place: u32,
    /// The result, as the caller is to read it.
    pub result: String,
    /// What it adds to the sums of its batch.
    pub sums: Sums,
}

/// A result as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemResult {
    /// Its number among the results of its batch, from 1, as they came.
    pub number: u64,
    /// The place of its item.
    pub place: u32,
    /// The prompt.
    pub prompt: String,
    /// What the caller knows it by.
    pub name: Option<String>,
    /// The result.
    pub result: String,
}

/// The key of an item: under it the item is paid for once, however often it is begun.
pub fn item_scope(project: &ProjectId, batch: BatchId, place: u32) -> ClaimScope {
    ClaimScope::of(project, "batches", &format!("{batch}/{place}"))
}

//! Edge down: where the ledger is kept. The only place that names a database.
//!
//! A method of [`Store`] is one whole transaction, named by what it does; no transaction leaves it. What is decided in one is
//! decided by [`crate::ledger::Books`].

use futures_core::future::BoxFuture;

use crate::{
    ledger::{Amount, Limits, ModelUsage, Project, Reserve, Reserved, Settle, Settled},
    project::ProjectId,
    window::{Day, Period},
};

pub mod conformance;
pub mod sqlite;

/// A place that keeps the ledger. Implementations pass [`conformance`].
pub trait Store: Send + Sync {
    /// Holds the worst case of a call, in every window of its project, or says why not. What it grants is durable. Sending the
    /// same operation again changes nothing.
    fn reserve(&self, reserve: Reserve) -> BoxFuture<'_, Result<Reserved, StoreError>>;

    /// Closes a reservation: with an entry, or as released. When this returns it is durable. Sending the same operation again
    /// changes nothing.
    fn settle(&self, settle: Settle) -> BoxFuture<'_, Result<Settled, StoreError>>;

    /// What a project has used in the window of this length that is now. A project that is not there has used nothing.
    fn usage(&self, project: ProjectId, period: Period) -> BoxFuture<'_, Result<WindowUsage, StoreError>>;

    /// The project, if there is one.
    fn project(&self, project: ProjectId) -> BoxFuture<'_, Result<Option<Project>, StoreError>>;

    /// Every project, by name.
    fn projects(&self) -> BoxFuture<'_, Result<Vec<Project>, StoreError>>;

    /// Makes the project, or gives it other limits. What is held or spent stays.
    fn set_project(&self, project: Project) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Recomputes every counter from the entries and the reservations.
    fn verify(&self) -> BoxFuture<'_, Result<Verified, StoreError>>;

    /// Whether it can be reached, in a few words.
    fn health(&self) -> claude_code_api_wire::ServiceHealth;
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
    /// The service is shutting down.
    #[error("the ledger's store is closed")]
    Closed,
}

//! Lines: calls that wait for room in their project's budget, first come, first served.
//!
//! Room comes when a call of the project settles; who is at the head of the line then tries again. A call joins the line
//! when others stand in it, or when it was told to wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{MutexGuard, Notify},
    time::Instant,
};

use crate::project::ProjectId;

/// How long the head of a line waits at most before it tries again: room may come from another replica, or at midnight.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// The lines of all projects that have one.
#[derive(Debug, Default)]
pub struct Lines(Mutex<BTreeMap<ProjectId, Arc<Line>>>);

#[derive(Debug, Default)]
struct Line {
    waiting: AtomicUsize,
    /// Fair: who asks first has it first.
    head: tokio::sync::Mutex<()>,
    room: Notify,
}

impl Lines {
    /// Room may have come: the head of the project's line tries again.
    pub(super) fn room(&self, project: &ProjectId) {
        if let Some(line) = self.locked().get(project) {
            line.room.notify_one();
        }
    }

    /// Whether calls of the project wait.
    pub(crate) fn has_waiting(&self, project: &ProjectId) -> bool {
        self.locked().contains_key(project)
    }

    /// A place at the end of the project's line.
    pub(super) fn join(&self, project: &ProjectId) -> Place<'_> {
        let mut lines = self.locked();
        let line = Arc::clone(lines.entry(project.clone()).or_default());
        // While nobody can leave: whoever leaves last takes the line away.
        line.waiting.fetch_add(1, Ordering::SeqCst);
        drop(lines);
        Place { lines: self, project: project.clone(), line }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<ProjectId, Arc<Line>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a line; dropping it leaves.
pub(super) struct Place<'a> {
    lines: &'a Lines,
    project: ProjectId,
    line: Arc<Line>,
}

impl Place<'_> {
    /// Waits to be at the head; `None` when that takes too long.
    pub(super) async fn head(&self, until: Instant) -> Option<Head<'_>> {
        let head = tokio::time::timeout_at(until, self.line.head.lock()).await.ok()?;
        Some(Head { line: &self.line, _turn: head })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.lines.locked();
        if self.line.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            lines.remove(&self.project);
        }
    }
}

/// The head of a line.
pub(super) struct Head<'a> {
    line: &'a Line,
    _turn: MutexGuard<'a, ()>,
}

impl Head<'_> {
    /// Waits until there may be room.
    pub(super) async fn room(&self) {
        let _ = tokio::time::timeout(TRY_EVERY, self.line.room.notified()).await;
    }
}

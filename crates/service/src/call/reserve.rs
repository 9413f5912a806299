//! Step 4 of 7: the call's place in the books, taken before anything leaves for a backend.
//!
//! A [`Reservation`] is opened here and closed by `settle`, exactly once. There are no budgets yet: what is held is the place
//! of the call among the open ones, in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{CallFailure, Caller};
use crate::{app::App, id::CallId, project::ProjectId};

/// How many reservations are open now.
#[derive(Clone, Debug, Default)]
pub struct OpenReservations(Arc<AtomicUsize>);

impl OpenReservations {
    /// The number.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A call's place in the books.
pub(super) struct Reservation {
    pub(super) id: CallId,
    pub(super) project: ProjectId,
    pub(super) opened_at: Instant,
    open: OpenReservations,
}

pub(super) fn hold(app: &App, id: CallId, caller: Caller) -> Result<Reservation, CallFailure> {
    if app.is_draining() {
        return Err(CallFailure::ShuttingDown);
    }
    let open = app.open_reservations().clone();
    open.0.fetch_add(1, Ordering::SeqCst);
    Ok(Reservation { id, project: caller.project, opened_at: Instant::now(), open })
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.open.0.fetch_sub(1, Ordering::SeqCst);
    }
}

//! Step 4 of 7: the call's place in the books, taken before anything leaves for a backend.
//!
//! A [`Reservation`] is opened here and closed by `settle`, exactly once. There are no budgets yet: what is held is the place
//! of the call among the open ones, in memory.

use std::time::Instant;

use super::{CallFailure, Caller};
use crate::{
    app::{App, OpenReservation},
    id::CallId,
    project::ProjectId,
};

/// A call's place in the books.
pub(super) struct Reservation {
    pub(super) id: CallId,
    pub(super) project: ProjectId,
    pub(super) opened_at: Instant,
    _open: OpenReservation,
}

pub(super) fn hold(app: &App, id: CallId, caller: Caller) -> Result<Reservation, CallFailure> {
    if app.is_draining() {
        return Err(CallFailure::ShuttingDown);
    }
    let open = app.open_reservations().open();
    Ok(Reservation { id, project: caller.project, opened_at: Instant::now(), _open: open })
}

//! Deadline: when a call is ended, whatever it has come to.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::{Priority, Request};

/// The deadline of a call. A prompt of a batch waits for its turn as long as that takes: its deadline begins with its turn, and that of
/// any other call with the call.
pub(super) struct Deadline {
    pub(super) timeout: Duration,
    at: watch::Sender<Option<Instant>>,
}

impl Deadline {
    pub(super) fn of(request: &Request) -> Self {
        let deadline = Self { timeout: request.timeout, at: watch::Sender::new(None) };
        if request.priority != Priority::Batch {
            deadline.begin();
        }
        deadline
    }

    /// Begins, unless it has.
    pub(super) fn begin(&self) {
        self.at.send_if_modified(|at| {
            let begins = at.is_none();
            at.get_or_insert_with(|| Instant::now() + self.timeout);
            begins
        });
    }

    /// Ends when it has passed.
    pub(super) async fn passed(&self) {
        let mut at = self.at.subscribe();
        // The sender lives as long as we do.
        let at = at.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        match at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

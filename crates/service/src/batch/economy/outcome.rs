//! How slices end that upstream reports nothing of.

use futures_util::future::try_join_all;

use super::work::{Step, Trouble, Work};
use crate::{
    call::CallFailure,
    slice::{SliceChange, SliceItem},
};

const UNKNOWN: &str = "was being sent this prompt when that was cut off, and it is not known whether it took it; it is charged at its \
    worst case, and not sent again: send it again if you want its answer";
const SILENT: &str = "has not said within 25 hours what became of this prompt; it is charged at its worst case";

/// Why nobody says what became of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lost {
    /// Its submission was cut off, and it is not found.
    Unknown,
    /// Upstream has not reported it in time.
    Silent,
}

impl Work {
    /// Upstream does not have it: its items wait again.
    pub(super) async fn withdraw(&self) -> Step {
        let withdrawn: Result<(), Trouble> = async {
            let items = self.app.store().slice_items(self.slice.id).await?;
            self.release(&items).await?;
            self.app.store().return_items(self.slice.id, items.iter().map(|item| item.place).collect()).await?;
            self.app.store().change_slice(self.slice.id, SliceChange::Ended).await?;
            Ok(())
        }
        .await;
        self.over(withdrawn)
    }

    /// Upstream will never take it: its items fail, and cost nothing.
    pub(super) async fn fail(&self, failure: &CallFailure) -> Step {
        let failed: Result<(), Trouble> = async {
            let items = self.app.store().slice_items(self.slice.id).await?;
            self.release(&items).await?;
            self.end(&items, failure).await
        }
        .await;
        self.over(failed)
    }

    /// Nobody says what became of it: its items fail, and cost all that is held.
    pub(super) async fn charge(&self, lost: Lost) -> Result<Step, Trouble> {
        let items = self.app.store().slice_items(self.slice.id).await?;
        tracing::error!(slice = %self.slice.id, prompts = items.len(), ?lost, "prompts of a batch are charged at their worst case");
        let settling = self.settling();
        try_join_all(items.iter().map(|item| settling.charged_in_full(item))).await?;
        let message = match lost {
            Lost::Unknown => UNKNOWN,
            Lost::Silent => SILENT,
        };
        let failure = CallFailure::Backend { backend: self.backend(), message: message.into(), retryable: false };
        self.end(&items, &failure).await?;
        Ok(Step::Over)
    }

    async fn release(&self, items: &[SliceItem]) -> Result<(), Trouble> {
        let settling = self.settling();
        try_join_all(items.iter().map(|item| settling.released(item))).await?;
        Ok(())
    }

    async fn end(&self, items: &[SliceItem], failure: &CallFailure) -> Result<(), Trouble> {
        let ended = items.iter().map(|item| (self.dialect.result)(item.place, Err(failure.clone()))).collect();
        self.app.store().end_items(self.slice.batch, ended).await?;
        self.app.store().change_slice(self.slice.id, SliceChange::Ended).await?;
        Ok(())
    }

    /// Where it did not work it is tried again by whoever takes the slice on next.
    fn over(&self, done: Result<(), Trouble>) -> Step {
        if let Err(trouble) = done {
            tracing::warn!(slice = %self.slice.id, %trouble, "a slice could not be ended; trying again");
        }
        Step::Over
    }
}

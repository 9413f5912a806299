//! Takes in what upstream reports of a slice's items. Taking in the same again changes nothing.

use std::collections::BTreeMap;

use futures_util::{StreamExt, future::try_join_all};

use super::work::{Trouble, Work};
use crate::{
    backend::{Reason, economy::Reported},
    call::CallFailure,
    job::EndedItem,
    slice::SliceItem,
    store::StoreError,
};

/// How many results are taken in at a time.
const AT_ONCE: usize = 100;

/// How often an item is submitted that fails in a way that may pass.
const ATTEMPTS_MAX: u32 = 5;

const CANCELED: &str =
    "has canceled this prompt, and not for us; it cost nothing. Send it again if you want its answer";
const EXPIRED: &str = "did not come to this prompt within a day; it cost nothing. Send it again if you want its answer";

/// What becomes of an item.
enum End {
    Ended(EndedItem),
    /// It waits again, or for nothing more where its batch was cancelled.
    Returned(u32),
}

impl Work {
    /// Takes in all results of a batch that has ended upstream; false where they are not of this slice.
    pub(super) async fn take_in(&self, id: &str) -> Result<bool, Trouble> {
        let items = self.app.store().slice_items(self.slice.id).await?;
        let mut open: BTreeMap<u32, SliceItem> = items.into_iter().map(|item| (item.place, item)).collect();
        let mut reports = self.economy().reports(id).await?;
        let mut heard = Vec::new();
        loop {
            let report = reports.next().await.transpose();
            if let Ok(Some((name, reported))) = report {
                let Some(place) = self.slice.place_of(&name) else { return self.is_another_s(id) };
                // One that is not open has ended before.
                heard.extend(open.remove(&place).map(|item| (item, reported)));
                if heard.len() < AT_ONCE {
                    continue;
                }
                self.take_in_some(std::mem::take(&mut heard)).await?;
                continue;
            }
            self.take_in_some(std::mem::take(&mut heard)).await?;
            report?;
            break;
        }
        if open.is_empty() {
            return Ok(true);
        }
        let message = format!("says nothing of {} prompts of a batch that it has ended", open.len());
        Err(Trouble::Upstream(Reason::Broken { message: message.into(), retryable: true }))
    }

    fn is_another_s(&self, id: &str) -> Result<bool, Trouble> {
        if self.slice.is_adopted {
            return Ok(false);
        }
        let message = format!("has results in batch {id} that are not of it");
        Err(Trouble::Upstream(Reason::Broken { message: message.into(), retryable: true }))
    }

    async fn take_in_some(&self, heard: Vec<(SliceItem, Reported)>) -> Result<(), Trouble> {
        let ends = try_join_all(heard.into_iter().map(|(item, reported)| self.settled(item, reported))).await?;
        let (mut ended, mut returned) = (Vec::new(), Vec::new());
        for end in ends {
            match end {
                End::Ended(item) => ended.push(item),
                End::Returned(place) => returned.push(place),
            }
        }
        if !ended.is_empty() {
            self.app.store().end_items(self.slice.batch, ended).await?;
        }
        if !returned.is_empty() {
            self.app.store().return_items(self.slice.id, returned).await?;
        }
        Ok(())
    }

    async fn settled(&self, item: SliceItem, reported: Reported) -> Result<End, StoreError> {
        let failure = match reported {
            Reported::Succeeded(message) => {
                let (answer, text) = self.settling().answered(&item, message).await?;
                return Ok(End::Ended((self.dialect.result)(item.place, Ok((answer, text)))));
            }
            Reported::Errored(reason) if reason.may_pass() && item.attempts < ATTEMPTS_MAX => None,
            Reported::Errored(reason) => Some(CallFailure::from_backend(self.backend(), reason)),
            Reported::Canceled if self.cancel.is_cancelled() => None,
            Reported::Canceled => Some(self.broken(CANCELED)),
            Reported::Expired => Some(self.broken(EXPIRED)),
        };
        self.settling().released(&item).await?;
        Ok(match failure {
            Some(failure) => End::Ended((self.dialect.result)(item.place, Err(failure))),
            None => End::Returned(item.place),
        })
    }

    fn broken(&self, message: &'static str) -> CallFailure {
        CallFailure::Backend { backend: self.backend(), message: message.into(), retryable: false }
    }
}

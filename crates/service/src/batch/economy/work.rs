//! Works on one slice: submits it, asks how far it is, and takes its results in. What it does not come to, another process does.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{Telling, forming::Forming};
use crate::{
    app::App,
    backend::{
        Backend, Failure, Reason,
        economy::{BatchPrompt, Economy, Unsubmitted},
    },
    batch::runner::Dialect,
    call::{CallFailure, economy::Settling},
    failpoint::Failpoint,
    job::Terms,
    slice::{Adopted, Slice, SliceChange, SliceItem},
    store::StoreError,
    window::Moment,
};

/// How long upstream may take: it says that a batch takes a day at most.
const PATIENCE: Duration = Duration::from_hours(25);

/// How long a slice is submitted again that is refused.
const REFUSED_MAX: Duration = Duration::from_hours(24);

/// How long it is looked for a slice that was refused in a way in which it may be there all the same.
const DOUBT: Duration = Duration::from_mins(1);

/// How far apart the clocks of the ledger and of the upstream may be.
const CLOCKS_APART: Duration = Duration::from_mins(5);

/// The pauses between questions: the twentieth part of a slice's age, within these bounds.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_mins(1);
const PAUSE_REFUSED_MAX: Duration = Duration::from_mins(5);

const UNKNOWN: &str = "was being sent this prompt when that was cut off, and it is not known whether it took it; it is charged at its \
    worst case, and not sent again: send it again if you want its answer";
const SILENT: &str = "has not said within 25 hours what became of this prompt; it is charged at its worst case";

/// A slice, as this process works on it.
pub(super) struct Work {
    pub(super) app: Arc<App>,
    upstream: Arc<dyn Backend>,
    pub(super) dialect: Dialect,
    pub(super) terms: Arc<Terms>,
    pub(super) cancel: CancellationToken,
    pub(super) slice: Slice,
    /// Whether it is known here that its batch was cancelled, and known upstream.
    knows_of_cancel: bool,
    is_cancelled_upstream: bool,
    /// Batches upstream whose results are not of this slice.
    not_ours: BTreeSet<String>,
}

/// What a step has come to.
pub(super) enum Step {
    /// There is more to do, after a pause.
    Waits,
    /// All of it is done.
    Over,
}

/// Why a step has come to nothing; it is taken again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}", words(.0))]
    Upstream(Reason),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Upstream(failure.reason)
    }
}

fn words(reason: &Reason) -> String {
    match reason {
        Reason::Invalid { message, .. } | Reason::Refused { message, .. } => format!("upstream refuses: {message}"),
        Reason::RateLimited { .. } => "upstream limits how often it may be asked".to_owned(),
        Reason::Overloaded { .. } => "upstream has no room".to_owned(),
        Reason::Broken { message, .. } => format!("upstream {message}"),
    }
}

impl Work {
    pub(super) fn new(
        app: &Arc<App>,
        upstream: &Arc<dyn Backend>,
        dialect: Dialect,
        of: &Forming,
        slice: Slice,
    ) -> Self {
        Self {
            app: Arc::clone(app),
            upstream: Arc::clone(upstream),
            dialect,
            terms: Arc::clone(&of.terms),
            cancel: of.cancel.clone(),
            slice,
            knows_of_cancel: false,
            is_cancelled_upstream: false,
            not_ours: BTreeSet::new(),
        }
    }

    /// Submits the slice, where that is still to be done, and works on it until each of its items has ended, or until shutdown.
    pub(super) async fn run(mut self, submission: Option<(Vec<BatchPrompt>, OwnedSemaphorePermit)>, telling: &Telling) {
        if let Some((prompts, permit)) = submission {
            let step = self.submit(prompts).await;
            drop(permit);
            telling.submitted();
            if matches!(step, Step::Over) {
                return;
            }
        }
        let app = Arc::clone(&self.app);
        loop {
            let step = tokio::select! {
                step = self.step() => step,
                () = app.draining() => return,
            };
            match step {
                Ok(Step::Over) => return,
                Ok(Step::Waits) => {}
                Err(trouble) => {
                    tracing::warn!(slice = %self.slice.id, %trouble, "work on a batch is held up; trying again");
                }
            }
            if self.pause((self.slice.age() / 20).clamp(PAUSE_MIN, PAUSE_MAX)).await.is_err() {
                return;
            }
        }
    }

    pub(super) fn backend(&self) -> &'static str {
        self.upstream.name()
    }

    pub(super) fn economy(&self) -> &dyn Economy {
        self.upstream.economy().expect("it was chosen for that")
    }

    /// Waits; an error at shutdown.
    async fn pause(&self, pause: Duration) -> Result<(), ()> {
        tokio::select! {
            () = self.app.draining() => Err(()),
            () = self.cancel.cancelled(), if !self.knows_of_cancel => Ok(()),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Submits it until upstream has taken it, or may have, or does not take it at all. Not cut off by shutdown in between: then it
    /// would not be known what became of it.
    async fn submit(&mut self, prompts: Vec<BatchPrompt>) -> Step {
        Failpoint::Intended.reach();
        let mut pause = PAUSE_MIN;
        loop {
            let reason = match self.economy().submit(&prompts).await {
                Ok(id) => {
                    Failpoint::Submitted.reach();
                    self.slice.upstream = Some(id.clone());
                    self.note(SliceChange::Submitted(id)).await;
                    return Step::Waits;
                }
                Err(Unsubmitted::Unknown(reason)) => {
                    tracing::warn!(slice = %self.slice.id, reason = words(&reason), "it is not known whether a batch was taken");
                    return Step::Waits;
                }
                Err(Unsubmitted::Doubtful(reason)) => {
                    if self.look_in_doubt().await || self.app.is_draining() {
                        return Step::Waits;
                    }
                    reason
                }
                Err(Unsubmitted::Refused(reason)) => reason,
            };
            if self.is_refused_for_good(&reason) {
                return self.fail(&CallFailure::from_backend(self.backend(), reason)).await;
            }
            tracing::warn!(slice = %self.slice.id, reason = words(&reason), "a batch is not taken; trying again");
            self.slice.sent_at = None;
            self.note(SliceChange::Refused).await;
            pause = (pause * 2).max(wait_of(&reason)).min(PAUSE_REFUSED_MAX);
            let is_over = self.pause(pause).await.is_err() || self.cancel.is_cancelled();
            if is_over {
                return self.withdraw().await;
            }
            self.slice.sent_at = Some(Moment::of_system());
            self.note(SliceChange::Sending).await;
        }
    }

    fn is_refused_for_good(&self, reason: &Reason) -> bool {
        let since = Duration::from_millis(u64::try_from(Moment::of_system().0 - self.slice.created_at.0).unwrap_or(0));
        !reason.may_pass() || since > REFUSED_MAX
    }

    /// Takes note of what must not be forgotten, however long that takes. What is not written when the process ends, the next one
    /// finds out by itself.
    async fn note(&self, change: SliceChange) {
        while let Err(error) = self.app.store().change_slice(self.slice.id, change.clone()).await {
            tracing::warn!(slice = %self.slice.id, %error, "what became of a slice could not be noted; trying again");
            if self.pause(PAUSE_MIN).await.is_err() {
                return;
            }
        }
    }

    /// Whether it is found after all.
    async fn look_in_doubt(&mut self) -> bool {
        let doubt = DOUBT.min(self.app.limits().economy_unknown_after);
        loop {
            match self.look().await {
                Ok(Adopted::Batch(_)) => return true,
                Ok(Adopted::Nothing) if self.slice.age() > doubt => return false,
                Ok(_) => {}
                Err(trouble) => {
                    tracing::warn!(slice = %self.slice.id, %trouble, "a batch cannot be looked for; trying again");
                }
            }
            if self.pause(PAUSE_MIN).await.is_err() {
                return false;
            }
        }
    }

    /// The next thing to do for a slice that was submitted.
    async fn step(&mut self) -> Result<Step, Trouble> {
        let done = self.next().await;
        let is_over = matches!(done, Ok(Step::Over));
        if !is_over && self.slice.age() > PATIENCE {
            tracing::error!(slice = %self.slice.id, "upstream has not said in time what became of a batch; it is charged");
            return self.charge(SILENT).await;
        }
        done
    }

    async fn next(&mut self) -> Result<Step, Trouble> {
        self.knows_of_cancel = self.cancel.is_cancelled();
        let Some(id) = self.slice.upstream.clone() else { return self.find().await };
        // Of one that was adopted it is not known yet whether it is ours to cancel.
        if self.knows_of_cancel && !self.is_cancelled_upstream && !self.slice.is_adopted {
            self.economy().cancel(&id).await?;
            self.is_cancelled_upstream = true;
        }
        if !self.economy().has_ended(&id).await? {
            return Ok(Step::Waits);
        }
        if self.take_in(&id).await? {
            self.app.store().change_slice(self.slice.id, SliceChange::Ended).await?;
            return Ok(Step::Over);
        }
        tracing::warn!(slice = %self.slice.id, "the batch that was found upstream is another one; looking on");
        self.app.store().change_slice(self.slice.id, SliceChange::NotOurs).await?;
        self.not_ours.insert(id);
        self.slice.upstream = None;
        Ok(Step::Waits)
    }

    /// A slice of which it is not known whether upstream has it.
    async fn find(&mut self) -> Result<Step, Trouble> {
        if self.slice.sent_at.is_none() {
            return Ok(self.withdraw().await);
        }
        let found = self.look().await?;
        if found == Adopted::Nothing && self.slice.age() > self.app.limits().economy_unknown_after {
            tracing::error!(slice = %self.slice.id, "it stays unknown whether upstream has taken a batch; it is charged");
            return self.charge(UNKNOWN).await;
        }
        Ok(Step::Waits)
    }

    /// Looks among upstream's batches for one of this size that was made since.
    async fn look(&mut self) -> Result<Adopted, Trouble> {
        let apart = i64::try_from(CLOCKS_APART.as_millis()).expect("minutes");
        let count = self.app.store().slice_items(self.slice.id).await?.len() as u64;
        let listed = self.economy().made_since(Moment(self.slice.created_at.0 - apart)).await?;
        let like_it = listed.into_iter().filter(|batch| batch.total == count && !self.not_ours.contains(&batch.id));
        let adopted = self.app.store().adopt(self.slice.id, like_it.map(|batch| batch.id).collect()).await?;
        if let Adopted::Batch(id) = &adopted {
            (self.slice.upstream, self.slice.is_adopted) = (Some(id.clone()), true);
        }
        Ok(adopted)
    }

    /// Upstream does not have it: its items wait again.
    async fn withdraw(&self) -> Step {
        let withdrawn: Result<(), Trouble> = async {
            let items = self.app.store().slice_items(self.slice.id).await?;
            self.release(&items).await?;
            self.app.store().return_items(self.slice.id, items.iter().map(|item| item.place).collect()).await?;
            Ok(self.app.store().change_slice(self.slice.id, SliceChange::Ended).await?)
        }
        .await;
        self.over(withdrawn)
    }

    /// Upstream will never take it: its items fail, and cost nothing.
    async fn fail(&self, failure: &CallFailure) -> Step {
        let failed: Result<(), Trouble> = async {
            let items = self.app.store().slice_items(self.slice.id).await?;
            self.release(&items).await?;
            self.end(&items, failure).await
        }
        .await;
        self.over(failed)
    }

    /// Nobody says what became of it: its items fail, and cost all that is held.
    async fn charge(&self, why: &'static str) -> Result<Step, Trouble> {
        let items = self.app.store().slice_items(self.slice.id).await?;
        for item in &items {
            self.settling().charged_in_full(item).await?;
        }
        let failure = CallFailure::Backend { backend: self.backend(), message: why.into(), retryable: false };
        self.end(&items, &failure).await?;
        Ok(Step::Over)
    }

    async fn release(&self, items: &[SliceItem]) -> Result<(), Trouble> {
        for item in items {
            self.settling().released(item).await?;
        }
        Ok(())
    }

    async fn end(&self, items: &[SliceItem], failure: &CallFailure) -> Result<(), Trouble> {
        let ended = items.iter().map(|item| (self.dialect.result)(item.place, Err(failure.clone()))).collect();
        self.app.store().end_items(self.slice.batch, ended).await?;
        Ok(self.app.store().change_slice(self.slice.id, SliceChange::Ended).await?)
    }

    /// Where it did not work it is tried again by whoever takes the slice on next.
    fn over(&self, done: Result<(), Trouble>) -> Step {
        if let Err(trouble) = done {
            tracing::warn!(slice = %self.slice.id, %trouble, "a slice could not be ended; trying again");
        }
        Step::Over
    }

    pub(super) fn settling(&self) -> Settling<'_> {
        Settling { app: &self.app, slice: &self.slice, project: &self.terms.project, backend: self.backend() }
    }
}

fn wait_of(reason: &Reason) -> Duration {
    match reason {
        Reason::RateLimited { retry_after, .. } | Reason::Overloaded { retry_after } => *retry_after,
        _ => Duration::ZERO,
    }
}

//! Works on one slice: submits it, asks how far it is, and takes its results in. What it does not come to, another process does.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Telling, forming::Forming, outcome::Lost};
use crate::{
    app::App,
    backend::{
        Backend, Failure, Reason,
        economy::{BatchPrompt, Economy},
    },
    batch::runner::Dialect,
    call::economy::Settling,
    job::Terms,
    slice::{Adopted, Slice, SliceChange},
    store::StoreError,
    window::Moment,
};

/// How long upstream may take: it says that a batch takes a day at most.
const PATIENCE: Duration = Duration::from_hours(25);

/// After that, how long upstream is asked in vain before it is taken for silent: what it has to say, this process has not heard, which may
/// have slept meanwhile.
const IN_VAIN_MAX: Duration = Duration::from_hours(1);

/// How far apart the clocks of the ledger and of the upstream may be.
const CLOCKS_APART: Duration = Duration::from_mins(5);

/// The pauses between questions: the twentieth part of a slice's age, or the fourth of the time in which they came to nothing; within these
/// bounds.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// A slice, as this process works on it.
pub(super) struct Work {
    pub(super) app: Arc<App>,
    upstream: Arc<dyn Backend>,
    pub(super) dialect: Dialect,
    pub(super) terms: Arc<Terms>,
    pub(super) cancel: CancellationToken,
    pub(super) slice: Slice,
    /// Whether a pause was cut short by the cancel of its batch, and whether upstream knows of that.
    knows_of_cancel: bool,
    is_cancelled_upstream: bool,
    /// Batches upstream whose results are not of this slice.
    not_ours: BTreeSet<String>,
    /// Since when steps come to nothing.
    in_vain_since: Option<Instant>,
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

/// What upstream said.
pub(super) fn words(reason: &Reason) -> String {
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
            in_vain_since: None,
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
            // What has not gone well for a moment may go well in a moment.
            let pause = self.in_vain_since.map_or_else(|| self.slice.age() / 20, |since| since.elapsed() / 4);
            if self.pause(pause.clamp(PAUSE_MIN, PAUSE_MAX)).await.is_err() {
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
    pub(super) async fn pause(&mut self, pause: Duration) -> Result<(), ()> {
        tokio::select! {
            () = self.app.draining() => return Err(()),
            () = self.cancel.cancelled(), if !self.knows_of_cancel => self.knows_of_cancel = true,
            () = tokio::time::sleep(pause) => {}
        }
        Ok(())
    }

    /// The next thing to do for a slice that was submitted.
    async fn step(&mut self) -> Result<Step, Trouble> {
        let done = self.next().await;
        let is_silent = match &done {
            Ok(step) => {
                self.in_vain_since = None;
                matches!(step, Step::Waits)
            }
            Err(_) => self.in_vain_since.get_or_insert_with(Instant::now).elapsed() > IN_VAIN_MAX,
        };
        if is_silent && self.slice.age() > PATIENCE {
            return self.charge(Lost::Silent).await;
        }
        done
    }

    async fn next(&mut self) -> Result<Step, Trouble> {
        let Some(id) = self.slice.upstream.clone() else { return self.find().await };
        // Of one that was adopted it is not known yet whether it is ours to cancel.
        if self.cancel.is_cancelled() && !self.is_cancelled_upstream && !self.slice.is_adopted {
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
            return self.charge(Lost::Unknown).await;
        }
        Ok(Step::Waits)
    }

    /// Looks among upstream's batches for one of this size that was made since.
    pub(super) async fn look(&mut self) -> Result<Adopted, Trouble> {
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

    pub(super) fn settling(&self) -> Settling<'_> {
        Settling { app: &self.app, slice: &self.slice, project: &self.terms.project, backend: self.backend() }
    }
}

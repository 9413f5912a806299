//! Works on economy batches: makes slices of their items, holds for them, and has an upstream run them when it has room.
//!
//! What is held belongs to the job: a process that dies leaves its slices to the next one, which goes on asking for the same batches
//! upstream. A slice is stored, with what it holds, before it is submitted, and the id that it has upstream once that is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};

use crate::{
    app::App,
    backend::{Backend, economy::BatchPrompt},
    batch::runner::Dialect,
    id::{BatchId, SliceId},
    job::OpenBatchJob,
    slice::Slice,
};
use forming::{Formed, Forming};
use work::Work;

mod forming;
mod outcome;
mod results;
mod submit;
mod work;

/// How often it is looked which batches there are, where nobody says that this has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many slices are submitted at a time.
const SUBMITTING_MAX: usize = 2;

/// Works on economy batches until shutdown.
pub(crate) async fn run(app: Arc<App>, dialect: Dialect) {
    let Some(upstream) = app.backends().iter().find(|backend| backend.economy().is_some()).cloned() else {
        return warn_of_what_waits(&app).await;
    };
    let (tell, told) = mpsc::unbounded_channel();
    let submitting = Arc::new(Semaphore::new(SUBMITTING_MAX));
    let mut changes = app.batches_changes();
    let mut desk = Desk {
        app: Arc::clone(&app),
        dialect,
        upstream,
        batches: BTreeMap::new(),
        working: BTreeSet::new(),
        submitting,
        tell,
        told,
    };
    let mut looked_at = None;
    while !app.is_draining() {
        if looked_at.is_none_or(|at: Instant| at.elapsed() >= LOOK_EVERY) {
            desk.look().await;
            looked_at = Some(Instant::now());
        }
        desk.submit().await;
        tokio::select! {
            () = app.draining() => {}
            () = changes.next() => looked_at = None,
            () = desk.hear() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    desk.end().await;
}

/// There is nobody here to run them, nor to ask what became of them.
async fn warn_of_what_waits(app: &App) {
    let open = app.store().open_batches().await.unwrap_or_default();
    let waiting = open.iter().filter(|batch| batch.terms.is_economy).count();
    if waiting > 0 {
        tracing::warn!(
            waiting,
            "economy batches wait for backend anthropic, which is not configured; what they hold stays held"
        );
    }
}

/// What a slice's task tells.
enum Told {
    /// There is room to submit another one.
    Submitted,
    /// It has ended its work.
    Over(SliceId),
}

struct Desk {
    app: Arc<App>,
    dialect: Dialect,
    upstream: Arc<dyn Backend>,
    batches: BTreeMap<BatchId, Forming>,
    /// Slices that have a task.
    working: BTreeSet<SliceId>,
    submitting: Arc<Semaphore>,
    tell: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Desk {
    /// Finds out which batches and slices there are, and which were cancelled.
    async fn look(&mut self) {
        let open = match self.app.store().open_batches().await {
            Ok(open) => open,
            Err(error) => return tracing::warn!(%error, "batches could not be read; trying again"),
        };
        let open: Vec<OpenBatchJob> = open.into_iter().filter(|batch| batch.terms.is_economy).collect();
        let ids: BTreeSet<BatchId> = open.iter().map(|batch| batch.id).collect();
        self.batches.retain(|id, _| ids.contains(id));
        for OpenBatchJob { id, terms, is_cancelled } in open {
            let forming = self.batches.entry(id).or_insert_with(|| Forming::of(id, terms));
            forming.seen_again(is_cancelled);
        }
        if !self.batches.is_empty() {
            self.take_slices().await;
        }
    }

    /// Goes on with slices that other processes have left.
    async fn take_slices(&mut self) {
        match self.app.store().take_slices().await {
            Ok(slices) => {
                for slice in slices {
                    self.work_on(slice, None);
                }
            }
            Err(error) => tracing::warn!(%error, "slices of batches could not be taken on; trying again"),
        }
    }

    /// Makes slices and submits them, one of each batch in turn, for as long as there is room.
    async fn submit(&mut self) {
        for forming in self.batches.values_mut() {
            forming.tidy(&self.app).await;
        }
        let mut has_more: Vec<BatchId> = self.batches.keys().copied().collect();
        while !has_more.is_empty() {
            for id in std::mem::take(&mut has_more) {
                let Ok(permit) = Arc::clone(&self.submitting).try_acquire_owned() else { return };
                let Some(forming) = self.batches.get_mut(&id) else { continue };
                let Some(Formed { slice, prompts }) = forming.next(&self.app, self.dialect).await else { continue };
                self.work_on(slice, Some((prompts, permit)));
                has_more.push(id);
            }
        }
    }

    /// Gives a slice a task, unless it has one.
    fn work_on(&mut self, slice: Slice, submission: Option<(Vec<BatchPrompt>, OwnedSemaphorePermit)>) {
        let Some(forming) = self.batches.get(&slice.batch) else { return };
        if !self.working.insert(slice.id) {
            return;
        }
        let telling = Telling { tell: self.tell.clone(), slice: slice.id };
        let work = Work::new(&self.app, &self.upstream, self.dialect, forming, slice);
        self.app.spawn(async move {
            work.run(submission, &telling).await;
        });
    }

    /// Hears at least one thing that slices' tasks tell.
    async fn hear(&mut self) {
        let mut heard = Vec::new();
        self.told.recv_many(&mut heard, 100).await;
        for told in heard {
            if let Told::Over(slice) = told {
                self.working.remove(&slice);
            }
        }
        // What was held may be free.
        self.batches.values_mut().for_each(Forming::has_room);
    }

    /// Shutdown: items that are in no slice are for whoever comes next.
    async fn end(&self) {
        for id in self.batches.keys() {
            // Where that fails, the next process finds out by itself that this one has ended.
            let _ = self.app.store().give_back(*id, Vec::new()).await;
        }
    }
}

/// Tells of a slice's task; when it is dropped, also by a panic, that it is over.
struct Telling {
    tell: mpsc::UnboundedSender<Told>,
    slice: SliceId,
}

impl Telling {
    fn submitted(&self) {
        // A desk that has gone wants to know nothing.
        let _ = self.tell.send(Told::Submitted);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.tell.send(Told::Over(self.slice));
    }
}

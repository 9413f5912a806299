//! Works on stored batches: takes items on, runs each as a call under a key of its own, and stores what came of them.
//!
//! An item that was begun is begun again by whoever takes it on next, under the same key, when this process dies or gives it back:
//! where it had ended, it is answered from the ledger and not paid for again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{End, at_a_time, room_in};
use crate::{
    app::App,
    call::{self, CallFailure, Caller, Hearing, Priority, Request},
    id::BatchId,
    job::{EndedItem, Item, OpenBatchJob, Terms, item_scope},
};

/// The most items that this process works on at a time.
const ITEMS_MAX: usize = 1_000;

/// The most items that are taken on, or told of, in one go.
const AT_ONCE: usize = 200;

/// How often it is looked which batches there are, where nobody says that this has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long an item waits for room.
const PATIENCE: Duration = Duration::from_hours(24);

/// How often an item is tried whose failures may pass, and the pause before that, which doubles each time.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// How a prompt becomes a request, and its end a result: as at the door that took the batch.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    /// From what all items are asked ([`Terms::request`]), and a prompt.
    pub(crate) request: fn(&str, String) -> Result<Request, CallFailure>,
    /// The result of the item in this place.
    pub(crate) result: fn(u32, End) -> EndedItem,
}

/// Works on batches until shutdown.
pub(crate) async fn run(app: Arc<App>, dialect: Dialect) {
    let (tell, told) = mpsc::unbounded_channel();
    let mut changes = app.batches_changes();
    let mut runner = Runner { app: Arc::clone(&app), dialect, batches: BTreeMap::new(), tell, told };
    let mut looked_at = None;
    while !app.is_draining() {
        if looked_at.is_none_or(|at: Instant| at.elapsed() >= LOOK_EVERY) {
            runner.look().await;
            looked_at = Some(Instant::now());
        }
        runner.fill().await;
        tokio::select! {
            () = app.draining() => {}
            () = changes.next() => looked_at = None,
            () = runner.hear() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        runner.store_results().await;
    }
    runner.end().await;
}

struct Runner {
    app: Arc<App>,
    dialect: Dialect,
    batches: BTreeMap<BatchId, Here>,
    tell: mpsc::UnboundedSender<Ended>,
    /// As many as items that run.
    told: mpsc::UnboundedReceiver<Ended>,
}

/// A batch, as this process works on it.
struct Here {
    terms: Arc<Terms>,
    cancel: CancellationToken,
    /// Taken on, and not begun.
    waiting: VecDeque<Item>,
    running: BTreeSet<u32>,
    /// Ended, and not stored.
    ended: Vec<EndedItem>,
    /// Whether there is nothing more to take on, as far as is known.
    is_all_taken: bool,
    /// Whether there may be items that this process has taken on and knows nothing of, or wants no more.
    is_to_give_back: bool,
}

/// How an item has ended; without a result it is given back.
struct Ended {
    batch: BatchId,
    place: u32,
    result: Option<EndedItem>,
}

impl Here {
    fn of(terms: Terms) -> Self {
        Self {
            terms: Arc::new(terms),
            cancel: CancellationToken::new(),
            waiting: VecDeque::new(),
            running: BTreeSet::new(),
            ended: Vec::new(),
            is_all_taken: false,
            is_to_give_back: false,
        }
    }

    /// Places of the items that it works on, or has worked on.
    fn places(&self) -> Vec<u32> {
        let waiting = self.waiting.iter().map(|item| item.place);
        waiting.chain(self.running.iter().copied()).chain(self.ended.iter().map(|item| item.place)).collect()
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.ended.is_empty()
    }

    /// How many items it would take on now: so many that there is always one to begin, and no more are kept from others.
    fn wants(&self) -> usize {
        let most = self.terms.items_max as usize;
        let has_enough = self.waiting.len() * 2 > most.min(AT_ONCE) || self.is_all_taken || self.cancel.is_cancelled();
        if has_enough { 0 } else { most.min(AT_ONCE) }
    }
}

impl Runner {
    /// Finds out which batches there are, and which were cancelled.
    async fn look(&mut self) {
        let open = match self.app.store().open_batches().await {
            Ok(open) => open,
            Err(error) => return tracing::warn!(%error, "batches could not be read; trying again"),
        };
        let open: Vec<OpenBatchJob> = open.into_iter().filter(|batch| !batch.terms.is_economy).collect();
        let ids: BTreeSet<BatchId> = open.iter().map(|batch| batch.id).collect();
        self.batches.retain(|id, here| ids.contains(id) || !here.is_idle());
        for OpenBatchJob { id, terms, is_cancelled } in open {
            let here = self.batches.entry(id).or_insert_with(|| Here::of(terms));
            here.is_all_taken = false;
            if is_cancelled {
                here.cancel.cancel();
                here.waiting.clear();
                here.is_to_give_back = true;
            }
        }
    }

    /// Takes items on and begins them, as many as there is room for, a share of it for each batch.
    async fn fill(&mut self) {
        let store = Arc::clone(self.app.store());
        let batches = self.batches.len();
        for (id, here) in &mut self.batches {
            if here.is_to_give_back {
                here.is_to_give_back = store.give_back(*id, here.places()).await.is_err();
            }
            let wanted = here.wants();
            if wanted > 0 {
                let count_max = u32::try_from(wanted).expect("a small number");
                match store.take_items(*id, count_max).await {
                    Ok(items) => {
                        here.is_all_taken = items.len() < wanted;
                        // Some may be here already, where this process was taken for dead since.
                        let known: BTreeSet<u32> = here.places().into_iter().collect();
                        here.waiting.extend(items.into_iter().filter(|item| !known.contains(&item.place)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "items of a batch could not be taken on; trying again");
                        here.is_all_taken = true;
                        here.is_to_give_back = true;
                    }
                }
            }
            let most = at_a_time(here.terms.items_max as usize, here.terms.request.len());
            let share = (ITEMS_MAX / batches.max(1)).max(1).min(most);
            while here.running.len() < share {
                let Some(item) = here.waiting.pop_front() else { break };
                here.running.insert(item.place);
                begin(&self.app, self.dialect, *id, here, item, self.tell.clone());
            }
        }
    }

    /// Hears of at least one item that has ended, and of all that have by then.
    async fn hear(&mut self) {
        let mut heard = Vec::new();
        self.told.recv_many(&mut heard, AT_ONCE).await;
        for mut ended in heard {
            let Some(here) = self.batches.get_mut(&ended.batch) else { continue };
            here.running.remove(&ended.place);
            let Some(result) = ended.result.take() else {
                here.is_to_give_back = true;
                // Not at once again.
                here.is_all_taken = true;
                continue;
            };
            here.ended.push(result);
        }
    }

    /// Stores the results that have come.
    async fn store_results(&mut self) {
        for (id, here) in &mut self.batches {
            if here.ended.is_empty() {
                continue;
            }
            let ended = mem::take(&mut here.ended);
            if let Err(error) = self.app.store().end_items(*id, ended.clone()).await {
                tracing::warn!(%error, "results of a batch could not be stored; trying again");
                here.ended = ended;
            }
        }
    }

    /// Shutdown: what runs may end, and the rest is for whoever comes next.
    async fn end(&mut self) {
        while self.batches.values().any(|here| !here.running.is_empty()) {
            self.hear().await;
            self.store_results().await;
        }
        self.store_results().await;
        for id in self.batches.keys() {
            // Where that fails, the next process finds out by itself that this one has ended.
            let _ = self.app.store().give_back(*id, Vec::new()).await;
        }
    }
}

/// Begins an item in a task of its own.
fn begin(
    app: &Arc<App>,
    dialect: Dialect,
    batch: BatchId,
    here: &Here,
    item: Item,
    tell: mpsc::UnboundedSender<Ended>,
) {
    let (terms, cancel) = (Arc::clone(&here.terms), here.cancel.clone());
    let mut telling = Telling { tell, ended: Some(Ended { batch, place: item.place, result: None }) };
    let task_app = Arc::clone(app);
    app.spawn(async move {
        let place = item.place;
        let end = tokio::select! {
            end = call(&task_app, dialect, batch, &terms, item) => end,
            () = cancel.cancelled() => return,
        };
        if !end.as_ref().is_err_and(CallFailure::is_of_the_service) {
            telling.result((dialect.result)(place, end));
        }
    });
}

async fn call(app: &Arc<App>, dialect: Dialect, batch: BatchId, terms: &Terms, item: Item) -> End {
    let Terms { project, makes_project, request, .. } = terms;
    let mut request = (dialect.request)(request, item.prompt)?;
    let scope = item_scope(project, batch, item.place);
    request.claim = Some(call::claim_in(scope, &request, app.limits().batch_ttl.max(PATIENCE)));
    (request.priority, request.is_stored) = (Priority::Batch, true);
    let caller = Caller { project: project.clone(), makes_project: *makes_project };
    let (give_up_at, mut broken) = (Instant::now() + PATIENCE, 0);
    loop {
        let failure = match attempt(app, &caller, &request).await {
            Ok(answered) => return Ok(answered),
            Err(failure) => failure,
        };
        broken += u32::from(may_pass(&failure));
        let pause =
            if may_pass(&failure) && broken < ATTEMPTS_MAX { Some(PAUSE * (1 << broken)) } else { room_in(&failure) };
        let Some(pause) = pause.filter(|pause| Instant::now() + *pause < give_up_at) else { return Err(failure) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app.draining() => return Err(CallFailure::ShuttingDown),
        }
    }
}

fn may_pass(failure: &CallFailure) -> bool {
    matches!(failure, CallFailure::Backend { retryable: true, .. })
}

async fn attempt(app: &Arc<App>, caller: &Caller, request: &Request) -> End {
    let mut updates = call::start(app, caller.clone(), request.clone(), Hearing::Whole);
    Ok((updates.end().await?, updates.text()))
}

/// Tells when it is dropped, so that an item whose task panics is given back.
struct Telling {
    tell: mpsc::UnboundedSender<Ended>,
    ended: Option<Ended>,
}

impl Telling {
    fn result(&mut self, result: EndedItem) {
        if let Some(ended) = &mut self.ended {
            ended.result = Some(result);
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            // A runner that has gone wants to know nothing.
            let _ = self.tell.send(ended);
        }
    }
}

//! Makes slices of a batch's items: of as many as fit the budget, a slice at a time.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    backend::economy::BatchPrompt,
    batch::runner::Dialect,
    call::{
        CallFailure, Caller, Pressure,
        economy::{Admission, Offered},
    },
    id::{BatchId, SliceId},
    job::{EndedItem, Item, Terms},
    ledger::{Grant, Reserved},
    slice::{ITEMS_MAX, NewItem, NewSlice, Slice},
};

/// The most bytes of a slice's prompts, by their bounds.
const BYTES_MAX: i64 = 32 << 20;

/// How many inputs are counted in one go, and how many of them at a time.
const COUNTED_MAX: usize = 32;
const COUNTED_AT_ONCE: usize = 8;

/// How long a batch rests that has found no room, unless there may be some sooner.
const REST: Duration = Duration::from_secs(2);

/// A slice that is stored, and what is to be submitted.
pub(super) struct Formed {
    pub(super) slice: Slice,
    pub(super) prompts: Vec<BatchPrompt>,
}

/// An item with its place and what is held for it.
type HeldItem = (u32, Offered, Grant);

/// What came of trying to form one.
enum Step {
    Formed(Formed),
    /// Better bounds are known of some items.
    Counted,
    Nothing,
}

/// A batch, as far as its items are in no slice.
pub(super) struct Forming {
    id: BatchId,
    pub(super) terms: Arc<Terms>,
    pub(super) cancel: CancellationToken,
    /// Taken on, and not read.
    taken: VecDeque<Item>,
    /// Read, and in no slice.
    waiting: VecDeque<(u32, Offered)>,
    /// Ended without having been in one, and not stored.
    ended: Vec<EndedItem>,
    /// Whether there is nothing more to take on, as far as is known.
    is_all_taken: bool,
    /// Whether there may be items that this process has taken on and knows nothing of, or wants no more.
    is_to_give_back: bool,
    rests_until: Option<Instant>,
}

impl Forming {
    pub(super) fn of(id: BatchId, terms: Terms) -> Self {
        Self {
            id,
            terms: Arc::new(terms),
            cancel: CancellationToken::new(),
            taken: VecDeque::new(),
            waiting: VecDeque::new(),
            ended: Vec::new(),
            is_all_taken: false,
            is_to_give_back: false,
            rests_until: None,
        }
    }

    /// It is still there; items may wait again.
    pub(super) fn seen_again(&mut self, is_cancelled: bool) {
        self.is_all_taken = false;
        if is_cancelled {
            self.cancel.cancel();
            self.taken.clear();
            self.waiting.clear();
            // Each time: what another process had taken on when it died may be what the batch still waits for.
            self.is_to_give_back = true;
        }
    }

    /// There may be room now.
    pub(super) fn has_room(&mut self) {
        self.rests_until = None;
    }

    /// The next slice, where there are items and room for them.
    pub(super) async fn next(&mut self, app: &App, dialect: Dialect) -> Option<Formed> {
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        if rests || self.cancel.is_cancelled() || app.lines().has_waiting(&self.terms.project) {
            return None;
        }
        self.take_on(app).await;
        self.read(app, dialect).await;
        let formed = loop {
            match self.form(app, dialect).await {
                Step::Formed(formed) => break Some(formed),
                Step::Counted => {}
                Step::Nothing => break None,
            }
        };
        self.tidy(app).await;
        formed
    }

    /// Stores what ended, and gives back what is not wanted.
    pub(super) async fn tidy(&mut self, app: &App) {
        if !self.ended.is_empty() {
            let ended = mem::take(&mut self.ended);
            if let Err(error) = app.store().end_items(self.id, ended.clone()).await {
                tracing::warn!(%error, "results of a batch could not be stored; trying again");
                self.ended = ended;
            }
        }
        if self.is_to_give_back {
            self.is_to_give_back = app.store().give_back(self.id, self.places()).await.is_err();
        }
    }

    /// Places of the items that are here.
    fn places(&self) -> Vec<u32> {
        let taken = self.taken.iter().map(|item| item.place);
        let waiting = self.waiting.iter().map(|(place, _)| *place);
        taken.chain(waiting).chain(self.ended.iter().map(|item| item.place)).collect()
    }

    async fn take_on(&mut self, app: &App) {
        let wanted = ITEMS_MAX.saturating_sub(self.taken.len() + self.waiting.len());
        if wanted == 0 || self.is_all_taken {
            return;
        }
        match app.store().take_items(self.id, u32::try_from(wanted).expect("a small number")).await {
            Ok(items) => {
                self.is_all_taken = items.len() < wanted;
                // Some may be here already, where this process was taken for dead since.
                let here: BTreeSet<u32> = self.places().into_iter().collect();
                self.taken.extend(items.into_iter().filter(|item| !here.contains(&item.place)));
            }
            Err(error) => {
                tracing::warn!(%error, "items of a batch could not be taken on; trying again");
                (self.is_all_taken, self.is_to_give_back) = (true, true);
            }
        }
    }

    /// Reads as many as a slice may have, which is also as many as are in memory: each has all that the batch shares, as a system text.
    async fn read(&mut self, app: &App, dialect: Dialect) {
        if self.taken.is_empty() {
            return;
        }
        let Terms { project, makes_project, request, .. } = &*Arc::clone(&self.terms);
        let caller = Caller { project: project.clone(), makes_project: *makes_project };
        let pressure = Pressure::of(app, project).await;
        let mut bytes: i64 = self.waiting.iter().map(|(_, offered)| offered.bytes()).sum();
        while bytes < BYTES_MAX
            && let Some(Item { place, prompt }) = self.taken.pop_front()
        {
            match (dialect.request)(request, prompt).and_then(|request| Offered::new(app, &caller, request, &pressure))
            {
                Ok(offered) => {
                    bytes += offered.bytes();
                    self.waiting.push_back((place, offered));
                }
                Err(failure) => self.fails(dialect, place, failure),
            }
        }
    }

    fn fails(&mut self, dialect: Dialect, place: u32, failure: CallFailure) {
        self.ended.push((dialect.result)(place, Err(failure)));
    }

    /// Holds for items that wait, in their order, and makes a slice of what is held for.
    async fn form(&mut self, app: &App, dialect: Dialect) -> Step {
        let offered = self.first_of_waiting();
        if offered.is_empty() {
            return Step::Nothing;
        }
        let item = |(place, offered): &(u32, Offered)| NewItem {
            place: *place,
            reserve: offered.reserve.clone(),
            route: offered.route(),
        };
        let items = offered.iter().map(item).collect();
        let new = NewSlice { id: SliceId::new(), batch: self.id, items };
        let Some(holds) = hold(app, &new).await else { return Step::Nothing };
        let (held, uncertain) = self.sort(dialect, offered, holds);
        let may_fit = !uncertain.is_empty() && self.rests_until.is_none();
        self.count(app, uncertain).await;
        let Some((_, _, first)) = held.first() else {
            return if may_fit { Step::Counted } else { Step::Nothing };
        };
        let slice = Slice {
            id: new.id,
            batch: self.id,
            upstream: None,
            is_adopted: false,
            created_at: first.reserved_at,
            sent_at: Some(first.reserved_at),
        };
        let prompt = |(place, offered, grant): &HeldItem| {
            let (model_id, prompt) = offered.submission(grant);
            BatchPrompt { name: slice.name_of(*place), model_id: model_id.to_owned(), prompt }
        };
        let prompts = held.iter().map(prompt).collect();
        Step::Formed(Formed { slice, prompts })
    }

    /// As many as a slice may have.
    fn first_of_waiting(&mut self) -> Vec<(u32, Offered)> {
        let mut bytes = 0;
        let fits = self.waiting.iter().take(ITEMS_MAX).take_while(|(_, offered)| {
            let is_first = bytes == 0;
            bytes += offered.bytes();
            is_first || bytes <= BYTES_MAX
        });
        let count = fits.count();
        self.waiting.drain(..count).collect()
    }

    /// What the ledger says of each: those that are held for, and those of which better bounds are wanted. The others wait, or have
    /// ended; and what it says nothing of is no longer this process's.
    fn sort(
        &mut self,
        dialect: Dialect,
        offered: Vec<(u32, Offered)>,
        holds: Vec<(u32, Reserved)>,
    ) -> (Vec<HeldItem>, Vec<(u32, Offered)>) {
        let (mut held, mut uncertain, mut wait) = (Vec::new(), Vec::new(), Vec::new());
        let mut holds = holds.into_iter().peekable();
        for (place, offered) in offered {
            let Some((_, reserved)) = holds.next_if(|(of, _)| *of == place) else { continue };
            match offered.admission(reserved) {
                Ok(Admission::Held(grant)) => held.push((place, offered, grant)),
                Ok(Admission::Wait) => wait.push((place, offered)),
                Ok(Admission::Uncertain) => uncertain.push((place, offered)),
                Err(failure) => self.fails(dialect, place, failure),
            }
        }
        if !wait.is_empty() {
            self.rests_until = Some(Instant::now() + REST);
        }
        self.wait(wait);
        (held, uncertain)
    }

    /// Counts some of those whose bounds are too high, and has all of them wait.
    async fn count(&mut self, app: &App, mut uncertain: Vec<(u32, Offered)>) {
        let some = uncertain.iter_mut().take(COUNTED_MAX);
        stream::iter(some).for_each_concurrent(COUNTED_AT_ONCE, |(_, offered)| offered.count(app)).await;
        self.wait(uncertain);
    }

    fn wait(&mut self, items: Vec<(u32, Offered)>) {
        self.waiting.extend(items);
        self.waiting.make_contiguous().sort_by_key(|(place, _)| *place);
    }
}

/// What is held is held whatever this process hears of it: it is asked until it is known. `None`: shutdown.
async fn hold(app: &App, new: &NewSlice) -> Option<Vec<(u32, Reserved)>> {
    while !app.is_draining() {
        match app.store().open_slice(new.clone()).await {
            Ok(holds) => return Some(holds),
            Err(error) => tracing::warn!(%error, "prompts of a batch could not be held for; trying again"),
        }
        tokio::select! {
            () = app.draining() => {}
            () = tokio::time::sleep(REST) => {}
        }
    }
    None
}

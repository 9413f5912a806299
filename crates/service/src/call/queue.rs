//! Queue: who waits for a turn at a backend, and whose turn is next. Data and decisions; the waiting is in `turn`.
//!
//! Calls that somebody waits for come before items of batches, which never take the last turn, and are not starved either. Among
//! equals the next turn is of the project that has the fewest, so that projects share a backend evenly however many calls each
//! of them sends, and however long these take; and within a project, of the call that came first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{backend::Capacity, project::ProjectId};

/// How soon a call is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for it.
    Interactive,
    /// It is an item of a batch.
    Batch,
}

/// While calls of both kinds wait, one turn in so many is a batch's.
const BATCH_TURN_EVERY: usize = 16;

/// The calls of one backend. `W` is what a waiting one is told by.
pub(super) struct Queue<W> {
    capacity: Capacity,
    projects: BTreeMap<ProjectId, Share<W>>,
    /// The calls that have a turn.
    turns: BTreeSet<u64>,
    /// How many have a turn, and how many wait, of each priority.
    running: [usize; 2],
    waiting: [usize; 2],
    /// Counts what happens: what came earlier has the smaller number.
    clock: u64,
    /// Turns since the last of a batch that a batch could have had.
    passed_over: usize,
}

/// A project's part.
struct Share<W> {
    running: usize,
    /// When it had its latest turn.
    served_at: u64,
    /// Those who wait, of each priority, in the order they came.
    waiting: [VecDeque<(u64, W)>; 2],
}

/// A call's place, first in the queue and then at the backend. It is kept until [`Queue::leave`].
#[derive(Debug)]
pub(super) struct Place {
    project: ProjectId,
    priority: Priority,
    ticket: u64,
}

/// As many wait as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<W> Queue<W> {
    pub(super) fn new(capacity: Capacity) -> Self {
        let projects = BTreeMap::new();
        Self { capacity, projects, turns: BTreeSet::new(), running: [0; 2], waiting: [0; 2], clock: 0, passed_over: 0 }
    }

    /// A place at the end, and who loses theirs for it: where as many wait as may, the last of the project that has most waiting. So
    /// no project can keep the others out.
    pub(super) fn join(
        &mut self,
        project: &ProjectId,
        priority: Priority,
        waiter: W,
    ) -> Result<(Place, Option<W>), Full> {
        let of = priority as usize;
        let sent_away =
            if self.waiting[of] < self.capacity.waiting_max { None } else { Some(self.make_room(project, of)?) };
        let ticket = self.tick();
        let share = self.projects.entry(project.clone()).or_insert_with(Share::new);
        share.waiting[of].push_back((ticket, waiter));
        self.waiting[of] += 1;
        Ok((Place { project: project.clone(), priority, ticket }, sent_away))
    }

    fn make_room(&mut self, project: &ProjectId, of: usize) -> Result<W, Full> {
        let own = self.projects.get(project).map_or(0, |share| share.waiting[of].len());
        let longest = self.projects.values_mut().map(|share| &mut share.waiting[of]).max_by_key(|line| line.len());
        let longest = longest.filter(|line| line.len() > own + 1).ok_or(Full)?;
        self.waiting[of] -= 1;
        Ok(longest.pop_back().expect("it is longer than another").1)
    }

    /// Gives the next turn, where there is one to give.
    pub(super) fn next(&mut self) -> Option<W> {
        let priority = self.next_priority()?;
        let (of, now) = (priority as usize, self.tick());
        let waiting = self.projects.values_mut().filter_map(|share| {
            let ticket = share.waiting[of].front()?.0;
            // Where all have as many, as at a backend with a single turn, they alternate.
            Some(((share.running, share.served_at, ticket), share))
        });
        let (_, share) = waiting.min_by_key(|(order, _)| *order).expect("a call of this priority waits");
        let (ticket, waiter) = share.waiting[of].pop_front().expect("this share has one");
        (share.running, share.served_at) = (share.running + 1, now);
        self.turns.insert(ticket);
        self.running[of] += 1;
        self.waiting[of] -= 1;
        Some(waiter)
    }

    fn next_priority(&mut self) -> Option<Priority> {
        let [interactive, batch] = self.waiting.map(|waiting| waiting > 0);
        let is_free = self.turns.len() < self.capacity.calls_max;
        // One turn is kept for calls that somebody waits for.
        let batch_max = (self.capacity.calls_max - 1).max(1);
        let batch = batch && self.running[Priority::Batch as usize] < batch_max;
        let is_due = !interactive || self.passed_over + 1 >= BATCH_TURN_EVERY;
        if is_free && batch && is_due {
            self.passed_over = 0;
            return Some(Priority::Batch);
        }
        self.passed_over += usize::from(is_free && interactive && batch);
        (is_free && interactive).then_some(Priority::Interactive)
    }

    /// The call gives its turn back, or no longer waits for one. One that was sent away has nothing to leave.
    pub(super) fn leave(&mut self, place: &Place) {
        let of = place.priority as usize;
        let Some(share) = self.projects.get_mut(&place.project) else { return };
        if self.turns.remove(&place.ticket) {
            share.running -= 1;
            self.running[of] -= 1;
        } else if let Ok(at) = share.waiting[of].binary_search_by_key(&place.ticket, |(ticket, _)| *ticket) {
            share.waiting[of].remove(at);
            self.waiting[of] -= 1;
        }
        // For as long as anybody waits it is known who had a turn when.
        if self.waiting() == 0 {
            self.projects.retain(|_, share| share.running > 0);
        }
    }

    /// Calls that have a turn.
    pub(super) fn running(&self) -> usize {
        self.turns.len()
    }

    /// Calls that wait for one.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().sum()
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl<W> Share<W> {
    fn new() -> Self {
        Self { running: 0, served_at: 0, waiting: [VecDeque::new(), VecDeque::new()] }
    }
}

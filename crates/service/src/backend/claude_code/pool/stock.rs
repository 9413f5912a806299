//! What can be had, and who waits for it. A call has a worker that knows calls of its affinity, else one that knows none; whoever has
//! waited longest comes first.

use std::{collections::VecDeque, time::Instant};

use tokio::sync::oneshot;

use super::demand::Demand;
use crate::backend::Affinity;

/// Workers that are in nobody's hands, and calls that wait for one.
#[derive(Debug)]
pub(super) struct Stock<W> {
    /// Those that have served no call.
    ready: VecDeque<W>,
    /// Those that have, the one that has rested longest first.
    used: VecDeque<(Affinity, W)>,
    /// Of those that end a round: they will be among the used in a moment, or gone.
    resting: Vec<Affinity>,
    waiting: VecDeque<(Affinity, oneshot::Sender<W>)>,
    /// Of those who wait, how many wait for one that is not there yet.
    unserved: usize,
    demand: Demand,
}

impl<W> Default for Stock<W> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            used: VecDeque::new(),
            resting: Vec::new(),
            waiting: VecDeque::new(),
            unserved: 0,
            demand: Demand::default(),
        }
    }
}

impl<W> Stock<W> {
    /// A worker for a call, when there is one; nothing comes of it where nobody is to wait any more.
    pub(super) fn want(&mut self, affinity: &Affinity) -> oneshot::Receiver<W> {
        let (tell, told) = oneshot::channel();
        self.waiting.push_back((affinity.clone(), tell));
        self.serve();
        told
    }

    /// Nobody is to wait for one that is not there yet.
    pub(super) fn disappoint(&mut self) {
        let mut resting = self.resting.clone();
        self.waiting.retain(|(affinity, _)| {
            let at = resting.iter().position(|resting| resting == affinity);
            at.map(|at| resting.swap_remove(at)).is_some()
        });
        self.unserved = 0;
    }

    /// There is one that has served no call.
    pub(super) fn add(&mut self, worker: W) {
        self.ready.push_back(worker);
        self.serve();
    }

    /// One that has served such a call ends its round.
    pub(super) fn rest(&mut self, affinity: Affinity) {
        self.resting.push(affinity);
    }

    /// It has ended it, or is gone.
    pub(super) fn rested(&mut self, affinity: Affinity, worker: Option<W>) {
        let at = self.resting.iter().position(|resting| *resting == affinity);
        self.resting.swap_remove(at.expect("it was noted"));
        self.used.extend(worker.map(|worker| (affinity, worker)));
        self.serve();
    }

    /// One that is not worth its memory: used ones beyond `used_max`, and fresh ones beyond demand where there are `surplus` in all.
    pub(super) fn surplus(&mut self, used_max: usize, surplus: usize) -> Option<W> {
        if self.used.len() > used_max {
            return self.used.pop_front().map(|(_, worker)| worker);
        }
        if surplus > 0 && self.ready.len() > self.wanted() { self.ready.pop_front() } else { None }
    }

    /// How many that have served no call should be ready.
    pub(super) fn wanted(&mut self) -> usize {
        self.demand.ready(Instant::now()).max(self.unserved)
    }

    /// Whether somebody waits for one that is not there yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.unserved > 0
    }

    /// What is known of how many are wanted.
    pub(super) fn demand(&mut self) -> &mut Demand {
        &mut self.demand
    }

    /// How many there are that have served no call, and that have.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.ready.len(), self.used.len())
    }

    /// Everything in it.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = W> {
        self.waiting.clear();
        self.unserved = 0;
        let used = std::mem::take(&mut self.used).into_iter().map(|(_, worker)| worker);
        std::mem::take(&mut self.ready).into_iter().chain(used)
    }

    fn serve(&mut self) {
        let mut resting = self.resting.clone();
        self.unserved = 0;
        for (affinity, tell) in std::mem::take(&mut self.waiting) {
            if tell.is_closed() {
                continue;
            }
            if let Some(at) = self.used.iter().rposition(|(used, _)| *used == affinity) {
                let used = self.used.remove(at).map(|(_, worker)| tell.send(worker));
                // Whoever gave up in this very moment leaves it to the next.
                self.used.extend(used.and_then(Result::err).map(|worker| (affinity, worker)));
            } else if let Some(at) = resting.iter().position(|resting| *resting == affinity) {
                resting.swap_remove(at);
                self.waiting.push_back((affinity, tell));
            } else if let Some(worker) = self.ready.pop_front() {
                self.demand.taken(Instant::now());
                self.ready.extend(tell.send(worker).err());
            } else {
                self.unserved += 1;
                self.waiting.push_back((affinity, tell));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::ProjectId;

    fn of(name: &str) -> Affinity {
        Affinity::of(&ProjectId::parse(name).expect("a name"))
    }

    fn stock(ready: impl IntoIterator<Item = u32>) -> Stock<u32> {
        let mut stock = Stock::default();
        ready.into_iter().for_each(|worker| stock.add(worker));
        stock
    }

    #[test]
    fn a_call_has_the_worker_that_knows_its_project_and_last_answered() {
        let mut stock = stock([9]);
        for (project, worker) in [("a", 1), ("b", 2), ("a", 3), ("b", 4)] {
            stock.rest(of(project));
            stock.rested(of(project), Some(worker));
        }
        let mut had = |project| stock.want(&of(project)).try_recv().ok();
        assert_eq!([had("a"), had("a"), had("c"), had("c"), had("b")], [Some(3), Some(1), Some(9), None, Some(4)]);
    }

    #[test]
    fn whoever_waits_longest_comes_first_and_keeps_nobody_from_what_is_not_for_it() {
        let mut stock = stock([]);
        let (mut first, mut second) = (stock.want(&of("a")), stock.want(&of("b")));
        assert_eq!(stock.wanted(), 2);
        stock.rest(of("b"));
        stock.rested(of("b"), Some(1));
        assert_eq!((first.try_recv().ok(), second.try_recv().ok(), stock.wanted()), (None, Some(1), 1));
        let mut third = stock.want(&of("c"));
        stock.add(2);
        assert_eq!((first.try_recv().ok(), third.try_recv().ok()), (Some(2), None));
    }

    #[test]
    fn a_worker_that_ends_its_round_is_waited_for_by_one() {
        let mut stock = stock([]);
        stock.rest(of("a"));
        let (mut first, mut second) = (stock.want(&of("a")), stock.want(&of("a")));
        assert_eq!(stock.wanted(), 1, "the second waits for a fresh one");
        stock.add(7);
        assert_eq!((first.try_recv().ok(), second.try_recv().ok()), (None, Some(7)));
        stock.rested(of("a"), None);
        stock.add(8);
        assert_eq!(first.try_recv().ok(), Some(8), "it was gone");
    }

    #[test]
    fn who_gives_up_takes_nothing_and_who_is_not_to_wait_is_told() {
        let mut stock = stock([]);
        drop(stock.want(&of("a")));
        stock.add(1);
        assert_eq!(stock.len(), (1, 0));
        assert_eq!(stock.want(&of("a")).try_recv().ok(), Some(1));
        stock.rest(of("b"));
        let (mut waiting, mut next) = (stock.want(&of("a")), stock.want(&of("b")));
        stock.disappoint();
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        stock.rested(of("b"), Some(2));
        assert_eq!(next.try_recv(), Ok(2), "that one was there already");
    }

    #[test]
    fn what_is_not_worth_its_memory_is_the_oldest_of_the_used_and_fresh_ones_beyond_demand() {
        let mut stock = stock([1, 2, 3]);
        for worker in 4..8 {
            stock.rest(of("a"));
            stock.rested(of("a"), Some(worker));
        }
        assert_eq!([stock.surplus(3, 0), stock.surplus(3, 0)], [Some(4), None]);
        assert_eq!([stock.surplus(3, 1), stock.surplus(3, 1), stock.surplus(3, 1)], [Some(1), Some(2), None]);
        assert_eq!(stock.drain().collect::<Vec<_>>(), [3, 5, 6, 7]);
    }
}

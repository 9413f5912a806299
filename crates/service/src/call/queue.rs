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

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{
        Priority::{Batch, Interactive},
        *,
    };

    /// Calls of a queue, by the numbers that a test gives them.
    struct Calls {
        queue: Queue<u32>,
        places: BTreeMap<u32, Place>,
        /// In the order in which they had their turns.
        had_turns: Vec<u32>,
        sent_away: Vec<u32>,
    }

    fn project(name: &str) -> ProjectId {
        ProjectId::parse(name).expect("a name")
    }

    impl Calls {
        fn at(calls_max: usize, waiting_max: usize) -> Self {
            let queue = Queue::new(Capacity { calls_max, waiting_max });
            Self { queue, places: BTreeMap::new(), had_turns: Vec::new(), sent_away: Vec::new() }
        }

        fn come(&mut self, name: &str, priority: Priority, numbers: impl IntoIterator<Item = u32>) {
            for number in numbers {
                match self.queue.join(&project(name), priority, number) {
                    Ok((place, sent_away)) => {
                        self.places.insert(number, place);
                        self.sent_away.extend(sent_away);
                    }
                    Err(Full) => self.sent_away.push(number),
                }
                self.give();
            }
        }

        fn go(&mut self, number: u32) {
            let place = self.places.remove(&number).expect("it came, and has not gone");
            self.queue.leave(&place);
            self.give();
        }

        /// The call that has had its turn for the longest time gives it back, as often as that.
        fn end(&mut self, times: usize) {
            for _ in 0..times {
                let first = self.had_turns.iter().find(|number| self.places.contains_key(number));
                self.go(*first.expect("a call runs"));
            }
        }

        fn give(&mut self) {
            self.had_turns.extend(std::iter::from_fn(|| self.queue.next()));
        }
    }

    #[test]
    fn who_waits_for_an_answer_comes_before_batches_and_finds_a_turn_that_they_left() {
        let mut calls = Calls::at(4, 100);
        calls.come("batch", Batch, 0..10);
        assert_eq!(calls.had_turns, [0, 1, 2], "the last turn is left");
        calls.come("other", Interactive, 20..23);
        assert_eq!(calls.had_turns, [0, 1, 2, 20]);
        calls.end(3);
        assert_eq!(calls.had_turns, [0, 1, 2, 20, 21, 22, 3], "the third found no interactive call any more");
    }

    #[test]
    fn a_batch_has_the_only_turn_where_there_is_one() {
        let mut calls = Calls::at(1, 100);
        calls.come("batch", Batch, 0..2);
        calls.end(1);
        assert_eq!(calls.had_turns, [0, 1]);
    }

    #[test]
    fn a_batch_has_one_turn_in_sixteen_while_others_wait() {
        let mut calls = Calls::at(8, 1_000);
        calls.come("chat", Interactive, 0..200);
        calls.come("batch", Batch, 1_000..1_100);
        calls.end(160);
        let of_batch: Vec<usize> =
            calls.had_turns.iter().enumerate().filter(|(_, number)| **number >= 1_000).map(|(at, _)| at).collect();
        assert_eq!(of_batch.len(), 10, "{of_batch:?}");
        assert!(of_batch.windows(2).all(|pair| pair[1] - pair[0] == 16), "{of_batch:?}");
    }

    #[test]
    fn projects_alternate_at_a_single_turn_however_many_calls_each_has() {
        let mut calls = Calls::at(1, 100);
        calls.come("a", Interactive, 0..50);
        calls.come("b", Interactive, 100..103);
        calls.come("c", Interactive, 200..203);
        calls.end(8);
        assert_eq!(calls.had_turns, [0, 100, 200, 1, 101, 201, 2, 102, 202]);
    }

    #[test]
    fn a_project_that_sends_one_call_after_the_other_keeps_nobody_out() {
        let mut calls = Calls::at(1, 100);
        calls.come("a", Interactive, 0..50);
        // Each comes back as soon as it has had its turn.
        for round in 0..6 {
            calls.come("b", Interactive, [100 + round]);
            calls.come("c", Interactive, [200 + round]);
            calls.end(3);
        }
        let of_a = calls.had_turns.iter().filter(|number| **number < 100).count();
        assert!((6..=7).contains(&of_a), "{:?}", calls.had_turns);
    }

    #[test]
    fn a_project_whose_calls_take_long_has_no_more_turns_than_the_others() {
        let mut calls = Calls::at(8, 100);
        calls.come("long", Interactive, 0..50);
        calls.come("short", Interactive, 100..150);
        // Of the eight that run at first, four end; from then on only the short ones do.
        calls.end(4);
        assert_eq!(calls.had_turns[8..], [100, 101, 102, 103]);
        for number in 100..120 {
            calls.go(number);
        }
        let long = calls.places.keys().filter(|number| **number < 100 && calls.had_turns.contains(number)).count();
        assert_eq!(long, 4, "{:?}", calls.had_turns);
    }

    #[test]
    fn whoever_goes_while_it_waits_leaves_its_place() {
        let mut calls = Calls::at(1, 2);
        calls.come("a", Interactive, 0..3);
        calls.go(1);
        calls.come("a", Interactive, [3]);
        assert!(calls.sent_away.is_empty(), "there was room for it");
        calls.end(2);
        assert_eq!(calls.had_turns, [0, 2, 3]);
    }

    #[test]
    fn a_project_alone_may_fill_the_queue_and_makes_room_for_the_others() {
        let mut calls = Calls::at(1, 4);
        calls.come("a", Interactive, 0..7);
        assert_eq!(calls.sent_away, [5, 6], "one runs, and four wait");
        calls.come("b", Interactive, 100..103);
        assert_eq!(calls.sent_away, [5, 6, 4, 3, 102], "each has half");
        calls.come("batch", Batch, 200..206);
        assert_eq!(calls.sent_away[5..], [204, 205], "batches stand in a queue of their own");
        calls.go(3);
        assert_eq!((calls.queue.running(), calls.queue.waiting()), (1, 8), "who was sent away leaves nothing");
    }

    /// What may happen.
    #[derive(Clone, Debug)]
    enum Step {
        Come { project: usize, priority: Priority },
        Go { which: prop::sample::Index },
    }

    fn step() -> impl Strategy<Value = Step> {
        let priority = prop_oneof![Just(Interactive), Just(Batch)];
        prop_oneof![
            3 => (0..3_usize, priority).prop_map(|(project, priority)| Step::Come { project, priority }),
            2 => any::<prop::sample::Index>().prop_map(|which| Step::Go { which }),
        ]
    }

    proptest! {
        #[test]
        fn no_turn_is_lost_or_given_twice(
            calls_max in 1..5_usize,
            waiting_max in 1..5_usize,
            steps in vec(step(), 0..200),
        ) {
            let mut calls = Calls::at(calls_max, waiting_max);
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Come { project, priority } => calls.come(["a", "b", "c"][project], priority, [number]),
                    Step::Go { .. } if calls.places.is_empty() => {}
                    Step::Go { which } => {
                        let numbers: Vec<u32> = calls.places.keys().copied().collect();
                        calls.go(*which.get(&numbers));
                    }
                }
                check(&calls, calls_max, waiting_max)?;
            }
            while let Some(number) = calls.places.keys().next().copied() {
                calls.go(number);
            }
            prop_assert_eq!((calls.queue.running(), calls.queue.waiting()), (0, 0));
            prop_assert!(calls.queue.projects.is_empty());
        }
    }

    fn check(calls: &Calls, calls_max: usize, waiting_max: usize) -> Result<(), TestCaseError> {
        let queue = &calls.queue;
        let here = |numbers: &[u32]| numbers.iter().filter(|number| calls.places.contains_key(number)).count();
        let running = here(&calls.had_turns);
        prop_assert_eq!(queue.running(), running);
        prop_assert_eq!(queue.running.iter().sum::<usize>(), running);
        prop_assert_eq!(queue.waiting(), calls.places.len() - running - here(&calls.sent_away));
        prop_assert!(queue.waiting.iter().all(|waiting| *waiting <= waiting_max));
        let batch_max = (calls_max - 1).max(1);
        prop_assert!(running <= calls_max && queue.running[1] <= batch_max);
        prop_assert!(queue.waiting[0] == 0 || running == calls_max, "an interactive call waits for nothing");
        prop_assert!(
            queue.waiting[1] == 0 || running == calls_max || queue.running[1] == batch_max,
            "so does a batch's"
        );
        Ok(())
    }
}

//! Feed: what a call has said until now, and everyone who listens. Who comes later hears it from its beginning.
//!
//! The call is never held up by a slow listener. What one listener alone hears as it comes is forgotten once it is heard.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use claude_code_api_wire::anthropic::{Collector, Message};
use http::HeaderMap;
use tokio::sync::watch;

use super::{Answer, CallFailure, Started};
use crate::{
    backend::{Event, Said},
    id::CallId,
};

/// What a call tells the one who waits for it. One `Finished` or `Failed` comes last, always.
#[derive(Debug)]
pub enum Update {
    /// The call has left the queue.
    Started(Arc<Started>),
    /// The next event of the answer; none of those that end it.
    Event(Arc<Event>),
    /// The answer, settled, and the events that end it.
    Finished(Arc<Answer>),
    /// There is no answer, or no whole one; what was spent is settled.
    Failed(CallFailure),
}

/// How the one who starts a call hears its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// At its end, as a whole.
    Whole,
    /// Each event as it comes, once.
    AsItComes,
}

#[derive(Debug, Default)]
struct Log {
    start: Option<Arc<Started>>,
    /// Whether events are kept that were heard: then any number may listen.
    is_kept: bool,
    events: Mutex<VecDeque<Arc<Event>>>,
    end: Option<Result<Arc<Answer>, CallFailure>>,
}

impl Log {
    /// The message that the events make, with those that end it.
    fn message(&self, answer: &Answer) -> Message {
        let mut collector = Collector::default();
        let events = self.events();
        let raw = events.iter().map(|event| &event.raw).chain(&answer.closing);
        raw.for_each(|event| collector.event(&event.data));
        collector.message()
    }

    /// The next event for one who has heard so many.
    fn event(&self, events_heard: usize) -> Option<Arc<Event>> {
        let mut events = self.events();
        if self.is_kept { events.get(events_heard).cloned() } else { events.pop_front() }
    }

    fn events(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        let events = self.events();
        let pieces = events.iter().filter_map(|event| match &event.said {
            Said::Text(text) => Some(text.as_str()),
            _ => None,
        });
        pieces.collect()
    }
}

/// The end of a feed that the call speaks into.
#[derive(Debug)]
pub(super) struct Feed(watch::Sender<Log>);

impl Feed {
    /// `is_kept`: others may listen, or all of it is asked for in the end.
    pub(super) fn new(is_kept: bool) -> (Self, Updates) {
        let (feed, log) = watch::channel(Log { is_kept, ..Log::default() });
        (Self(feed), Updates::new(log))
    }

    pub(super) fn start(&self, started: Arc<Started>) {
        self.0.send_modify(|log| log.start = Some(started));
    }

    pub(super) fn event(&self, event: Arc<Event>) {
        self.0.send_modify(|log| log.events().push_back(event));
    }

    pub(super) fn end(&self, end: Result<Answer, CallFailure>) {
        self.0.send_modify(|log| log.end = Some(end.map(Arc::new)));
    }

    /// The whole message, once the call has its answer.
    pub(super) fn message(&self, answer: &Answer) -> Message {
        self.0.borrow().message(answer)
    }

    /// One more who listens, from the beginning.
    pub(super) fn listen(&self) -> Updates {
        Updates::new(self.0.subscribe())
    }

    /// Ends when nobody listens.
    pub(super) async fn unheard(&self) {
        self.0.closed().await;
    }
}

/// A running call, as one of those who wait for it hears it. When the last of them drops it, nobody waits any more, which
/// cancels the call.
#[derive(Debug)]
pub struct Updates {
    log: watch::Receiver<Log>,
    started: bool,
    events_heard: usize,
}

impl Updates {
    fn new(log: watch::Receiver<Log>) -> Self {
        Self { log, started: false, events_heard: 0 }
    }

    /// The next update. A call that ends without a last word has panicked.
    pub async fn next(&mut self) -> Update {
        loop {
            if let Some(update) = self.ready() {
                return update;
            }
            if self.log.changed().await.is_err() {
                return self.ready().unwrap_or_else(|| {
                    tracing::error!("a call ended without an answer");
                    Update::Failed(CallFailure::Abandoned)
                });
            }
        }
    }

    /// The next update, if there is one already.
    pub fn ready(&mut self) -> Option<Update> {
        let log = self.log.borrow_and_update();
        if let Some(started) = log.start.as_ref().filter(|_| !self.started) {
            self.started = true;
            return Some(Update::Started(Arc::clone(started)));
        }
        if let Some(event) = log.event(self.events_heard) {
            self.events_heard += 1;
            return Some(Update::Event(event));
        }
        log.end.clone().map(|end| end.map_or_else(Update::Failed, Update::Finished))
    }

    /// The end, whatever comes before it.
    pub async fn end(&mut self) -> Result<Arc<Answer>, CallFailure> {
        loop {
            match self.next().await {
                Update::Started(_) | Update::Event(_) => {}
                Update::Finished(answer) => return Ok(answer),
                Update::Failed(failure) => return Err(failure),
            }
        }
    }

    /// What the upstream said beside the answer, where that has begun.
    pub fn headers(&self) -> HeaderMap {
        self.log.borrow().start.as_ref().map(|started| started.headers.clone()).unwrap_or_default()
    }

    /// The whole message of a call that has its answer, and is heard as a whole.
    pub fn message(&self, answer: &Answer) -> Message {
        self.log.borrow().message(answer)
    }

    /// All text of the answer until now, where it is heard as a whole.
    pub fn text(&self) -> String {
        self.log.borrow().text()
    }
}

/// The feeds of the calls of this process that run under an idempotency key.
#[derive(Debug, Default)]
pub struct Feeds(Mutex<BTreeMap<CallId, Weak<Feed>>>);

impl Feeds {
    /// From now on others can listen, until what this returns is dropped.
    pub(super) fn announce(&self, call: CallId, feed: &Arc<Feed>) -> Announced<'_> {
        let feed = Arc::downgrade(feed);
        self.locked().insert(call, Weak::clone(&feed));
        Announced { feeds: self, call, feed }
    }

    /// The running call, for one more who listens.
    pub(super) fn listen(&self, call: CallId) -> Option<Updates> {
        let feeds = self.locked();
        let feed = feeds.get(&call)?.upgrade()?;
        Some(feed.listen())
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<CallId, Weak<Feed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that others can listen to.
pub(super) struct Announced<'a> {
    feeds: &'a Feeds,
    call: CallId,
    feed: Weak<Feed>,
}

impl Announced<'_> {
    /// Ends when nobody has listened for as long as a caller whose connection broke may take to come back. Nobody can come
    /// after that.
    pub(super) async fn abandoned(&self, feed: &Feed, grace: Duration) {
        loop {
            feed.unheard().await;
            tokio::time::sleep(grace).await;
            let mut feeds = self.feeds.locked();
            if feed.0.is_closed() {
                self.withdraw(&mut feeds);
                return;
            }
        }
    }

    /// Nobody can listen any more, unless the next attempt of the call has announced itself already.
    fn withdraw(&self, feeds: &mut BTreeMap<CallId, Weak<Feed>>) {
        if feeds.get(&self.call).is_some_and(|feed| feed.ptr_eq(&self.feed)) {
            feeds.remove(&self.call);
        }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.withdraw(&mut self.feeds.locked());
    }
}

#[cfg(test)]
mod tests {
    use claude_code_api_wire::anthropic::say;

    use super::*;

    fn text(text: &str) -> Arc<Event> {
        Arc::new(Event { said: Said::Text(text.to_owned()), raw: say::text(text) })
    }

    fn words(update: &Update) -> String {
        match update {
            Update::Started(started) => format!("start {}", started.id),
            Update::Event(event) => event.raw.data.clone(),
            Update::Finished(_) => "end".to_owned(),
            Update::Failed(failure) => format!("{failure:?}"),
        }
    }

    #[tokio::test]
    async fn what_one_alone_hears_as_it_comes_is_forgotten_once_it_is_heard() {
        let (feed, mut updates) = Feed::new(false);
        feed.event(text("one "));
        feed.event(text("two"));
        assert_eq!(words(&updates.next().await), say::text("one ").data);
        assert_eq!(updates.text(), "two");
        assert_eq!(words(&updates.next().await), say::text("two").data);
        assert!(updates.ready().is_none());
    }

    #[tokio::test]
    async fn who_comes_late_hears_all_of_it() {
        let (feed, mut early) = Feed::new(true);
        feed.start(Arc::new(Started { id: "c".to_owned(), ..Started::default() }));
        assert_eq!(words(&early.next().await), "start c");
        feed.event(text("one "));
        assert_eq!(words(&early.next().await), say::text("one ").data);
        feed.event(text("two"));
        let mut late = feed.listen();
        feed.end(Err(CallFailure::ShuttingDown));
        let all = ["start c".to_owned(), say::text("one ").data, say::text("two").data, "ShuttingDown".to_owned()];
        for said in &all {
            assert_eq!(words(&late.next().await), *said);
        }
        assert_eq!(words(&early.next().await), all[2]);
        assert_eq!((words(&early.next().await), early.text().as_str()), (all[3].clone(), "one two"));
    }

    #[tokio::test]
    async fn a_feed_that_is_dropped_without_an_end_is_told_as_abandoned() {
        let (feed, mut updates) = Feed::new(true);
        feed.event(text("half"));
        drop(feed);
        assert_eq!(words(&updates.next().await), say::text("half").data);
        assert_eq!(words(&updates.next().await), "Abandoned");
    }

    #[tokio::test]
    async fn who_comes_back_within_the_grace_finds_the_call_running() {
        const GRACE: Duration = Duration::from_millis(200);
        let (feeds, call) = (Feeds::default(), CallId::new());
        let (feed, updates) = Feed::new(true);
        let feed = Arc::new(feed);
        let announced = feeds.announce(call, &feed);
        drop(updates);
        let mut back = None;
        tokio::select! {
            () = announced.abandoned(&feed, GRACE) => panic!("too soon"),
            () = async {
                tokio::time::sleep(GRACE / 4).await;
                back = feeds.listen(call);
                tokio::time::sleep(3 * GRACE).await;
            } => {}
        }
        assert!(back.is_some());
        drop(back);
        announced.abandoned(&feed, GRACE).await;
        assert!(feeds.listen(call).is_none(), "it was given up");
    }
}

//! Feed: what a call has said until now, and everyone who listens. Who comes later hears it from its beginning.
//!
//! The call is never held up by a slow listener, as the whole answer is in memory anyway; a slow one hears longer pieces.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use claude_code_api_wire::{CompleteResponse, Start};
use tokio::sync::watch;

use super::CallFailure;
use crate::id::CallId;

/// What a call tells the one who waits for it. One `Finished` or `Failed` comes last, always.
#[derive(Debug)]
pub enum Update {
    /// The call has left the queue.
    Started(Start),
    /// The next piece of the answer.
    Text(String),
    /// The answer, settled.
    Finished(Box<CompleteResponse>),
    /// There is no answer, or no whole one; what was spent is settled.
    Failed(CallFailure),
}

#[derive(Debug, Default)]
struct Log {
    start: Option<Start>,
    text: String,
    end: Option<Result<Box<CompleteResponse>, CallFailure>>,
}

/// The end of a feed that the call speaks into.
#[derive(Debug)]
pub(super) struct Feed(watch::Sender<Log>);

impl Feed {
    pub(super) fn new() -> (Self, Updates) {
        let (feed, log) = watch::channel(Log::default());
        (Self(feed), Updates::new(log))
    }

    pub(super) fn start(&self, start: Start) {
        self.0.send_modify(|log| log.start = Some(start));
    }

    pub(super) fn text(&self, text: &str) {
        self.0.send_modify(|log| log.text.push_str(text));
    }

    pub(super) fn end(&self, end: Result<CompleteResponse, CallFailure>) {
        self.0.send_modify(|log| log.end = Some(end.map(Box::new)));
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
    text_heard: usize,
}

impl Updates {
    fn new(log: watch::Receiver<Log>) -> Self {
        Self { log, started: false, text_heard: 0 }
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

    /// The next update, if there is one already. Texts that have come one after the other are one piece.
    pub fn ready(&mut self) -> Option<Update> {
        let log = self.log.borrow_and_update();
        if let Some(start) = log.start.as_ref().filter(|_| !self.started) {
            self.started = true;
            return Some(Update::Started(start.clone()));
        }
        if log.text.len() > self.text_heard {
            let text = log.text[self.text_heard..].to_owned();
            self.text_heard = log.text.len();
            return Some(Update::Text(text));
        }
        log.end.clone().map(|end| end.map_or_else(Update::Failed, Update::Finished))
    }

    /// The end, whatever comes before it.
    pub async fn end(mut self) -> Result<Box<CompleteResponse>, CallFailure> {
        loop {
            match self.next().await {
                Update::Started(_) | Update::Text(_) => {}
                Update::Finished(response) => return Ok(response),
                Update::Failed(failure) => return Err(failure),
            }
        }
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

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<CallId, Weak<Feed>>> {
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
    use super::*;

    fn words(update: &Update) -> String {
        match update {
            Update::Started(start) => format!("start {}", start.id),
            Update::Text(text) => text.clone(),
            Update::Finished(_) => "end".to_owned(),
            Update::Failed(failure) => format!("{failure:?}"),
        }
    }

    #[tokio::test]
    async fn who_comes_late_hears_all_of_it_in_longer_pieces() {
        let (feed, mut early) = Feed::new();
        feed.start(Start { id: "c".to_owned(), model: String::new(), model_id: String::new() });
        assert_eq!(words(&early.next().await), "start c");
        feed.text("one ");
        assert_eq!(words(&early.next().await), "one ");
        feed.text("two ");
        feed.text("three");
        let mut late = feed.listen();
        assert_eq!(words(&late.next().await), "start c");
        assert_eq!(words(&late.next().await), "one two three");
        assert!(late.ready().is_none());
        assert_eq!(words(&early.next().await), "two three");
        feed.end(Err(CallFailure::ShuttingDown));
        assert_eq!(
            (words(&early.next().await), words(&late.next().await)),
            ("ShuttingDown".into(), "ShuttingDown".into())
        );
    }

    #[tokio::test]
    async fn a_feed_that_is_dropped_without_an_end_is_told_as_abandoned() {
        let (feed, mut updates) = Feed::new();
        feed.text("half");
        drop(feed);
        assert_eq!(words(&updates.next().await), "half");
        assert_eq!(words(&updates.next().await), "Abandoned");
    }

    #[tokio::test]
    async fn who_comes_back_within_the_grace_finds_the_call_running() {
        const GRACE: Duration = Duration::from_millis(200);
        let (feeds, call) = (Feeds::default(), CallId::new());
        let (feed, updates) = Feed::new();
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

//! Streams on the caller's thread.

use std::{
    pin::{Pin, pin},
    sync::Arc,
};

use super::{driver::Driver, wait};
use crate::{BatchTotals, CompleteResponse, Error, ErrorKind, TextStream};

/// The results of a batch as they come. Dropping it cancels what is unfinished.
pub type BatchStream = Stream<crate::BatchStream>;

/// The results that a stored batch has, in the order in which they came. Dropping it cancels nothing.
pub type BatchResults = Stream<crate::BatchResults>;

/// An answer as it comes, or ([`BatchStream`]) the results of a batch: an iterator. Dropping it stops the generation.
#[derive(Debug)]
#[must_use = "a stream that nobody reads is stopped when it is dropped"]
pub struct Stream<S = TextStream> {
    /// `None` once closed.
    inner: Option<S>,
    runtime: Arc<Driver>,
    pid: u32,
}

impl Stream {
    /// Id of the call: see [`TextStream::id`]. `None` once closed, as all that is told of an answer.
    ///
    /// ```no_run
    /// # fn example(stream: claude_code_api_client::blocking::Stream) {
    /// println!("call {}", stream.id().unwrap_or("not begun"));
    /// # }
    /// ```
    pub fn id(&self) -> Option<&str> {
        self.inner.as_ref()?.id()
    }

    /// The model: see [`TextStream::model`].
    ///
    /// ```no_run
    /// # fn example(stream: claude_code_api_client::blocking::Stream) {
    /// println!("answered by {}", stream.model().unwrap_or("nobody yet"));
    /// # }
    /// ```
    pub fn model(&self) -> Option<&str> {
        self.inner.as_ref()?.model()
    }

    /// The text handed over until now: see [`TextStream::text`].
    ///
    /// ```no_run
    /// # fn example(mut stream: claude_code_api_client::blocking::Stream) {
    /// stream.by_ref().take(5).for_each(drop);
    /// println!("so far: {}", stream.text().unwrap_or_default());
    /// # }
    /// ```
    pub fn text(&self) -> Option<&str> {
        Some(self.inner.as_ref()?.text())
    }

    /// The whole answer with its usage and cost, once the stream has ended as it should.
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// let mut stream = client.stream("Tell me a story")?;
    /// for text in &mut stream {
    ///     print!("{}", text?);
    /// }
    /// println!("{} tokens", stream.response().expect("it has ended").usage.total_tokens);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn response(&self) -> Option<&CompleteResponse> {
        self.inner.as_ref()?.response()
    }
}

impl BatchStream {
    /// Counts and sums over the results handed over until now; `None` once closed.
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// let mut stream = client.batch_stream(["Write a haiku", "Count to 5"])?;
    /// while let Some(event) = stream.next() {
    ///     println!("prompt {}: ${:.4} so far", event?.index, stream.totals().expect("it is open").total_cost);
    /// }
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn totals(&self) -> Option<BatchTotals> {
        self.inner.as_ref().map(crate::BatchStream::totals)
    }
}

impl<S: futures_core::Stream<Item = Result<T, Error>> + Unpin, T> Stream<S> {
    /// The next text or result, with `stop` as in [`Client::wait`](super::Client::wait): a stream whose read was interrupted goes on,
    /// until it is closed.
    ///
    /// ```no_run
    /// # fn example(mut stream: claude_code_api_client::blocking::Stream) {
    /// # use std::time::{Duration, Instant};
    /// let begun = Instant::now();
    /// let text = stream.next_unless(Some(&mut || begun.elapsed() > Duration::from_secs(1)));
    /// # }
    /// ```
    pub fn next_unless(&mut self, stop: Option<&mut dyn FnMut() -> bool>) -> Option<Result<T, Error>> {
        if self.pid != std::process::id() {
            let message = "this stream belongs to the process that forked this one; start another here";
            return Some(Err(Error::new(ErrorKind::Configuration, message)));
        }
        let stream = self.inner.as_mut()?;
        let next = pin!(std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)));
        // A read that is given up ends no connection, so that none is waited for.
        wait::in_slices(&self.runtime, next, stop).unwrap_or_else(|| Some(Err(wait::interrupted())))
    }
}

impl<S> Stream<S> {
    pub(super) fn new(inner: S, runtime: Arc<Driver>) -> Self {
        Self { inner: Some(inner), runtime, pid: std::process::id() }
    }

    /// The async stream that this one drives; `None` once closed.
    ///
    /// ```no_run
    /// # fn example(stream: claude_code_api_client::blocking::Stream) {
    /// let is_open = stream.inner().is_some();
    /// # }
    /// ```
    pub fn inner(&self) -> Option<&S> {
        self.inner.as_ref()
    }

    /// Stops the generation and closes the connection.
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// let mut stream = client.stream("Tell me a story that never ends")?;
    /// println!("{:?}", stream.next());
    /// stream.close();
    /// assert!(stream.next().is_none());
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn close(&mut self) {
        let Some(stream) = self.inner.take() else { return };
        if self.pid == std::process::id() {
            wait::ending_connections(&self.runtime, || drop(stream));
        } else {
            // The parent's: its locks and its socket are not to be touched here.
            std::mem::forget(stream);
        }
    }
}

impl<S: futures_core::Stream<Item = Result<T, Error>> + Unpin, T> Iterator for Stream<S> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_unless(None)
    }
}

impl<S> Drop for Stream<S> {
    fn drop(&mut self) {
        self.close();
        if self.pid != std::process::id() {
            std::mem::forget(Arc::clone(&self.runtime));
        }
    }
}

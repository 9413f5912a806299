//! The blocking client: the async one, driven on the caller's thread. It starts no thread, but for the moment in which a host's
//! name is looked up (`localhost` is not). It works in the child of a fork, and lets a wait be interrupted.
//!
//! ```no_run
//! let client = claude_code_api_client::blocking::Client::new()?;
//! for text in client.stream("Tell me a story")? {
//!     print!("{}", text?);
//! }
//! # Ok::<(), claude_code_api_client::Error>(())
//! ```
//!
//! It must not be used on a thread of an async runtime: there, use the async one.

use std::sync::Arc;

use claude_code_api_wire::{CompleteResponse, Health, Period, RouteResponse, UsageReport};

mod batches;
mod driver;
mod stream;
mod wait;

pub use batches::Batches;
pub use stream::{BatchResults, BatchStream, Stream};

use driver::Driver;

use crate::{Batch, BatchResponse, ClientBuilder, Error, ErrorKind, Request, process::PerProcess};

/// A client of one service, for callers that wait. Usable from many threads at a time. Cheap to clone; clones share their
/// connections.
///
/// ```no_run
/// # let client = claude_code_api_client::blocking::Client::new()?;
/// std::thread::scope(|scope| {
///     for prompt in ["Write a haiku", "Count to 5"] {
///         let client = client.clone();
///         scope.spawn(move || println!("{:?}", client.complete(prompt)));
///     }
/// });
/// # Ok::<(), claude_code_api_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client(Arc<Driven>);

/// Closes its connections when the last clone goes.
#[derive(Debug)]
struct Driven {
    inner: crate::Client,
    runtime: PerProcess<Driver>,
}

impl Client {
    /// A client set up by the environment and the defaults; [`ClientBuilder::build_blocking`] makes any other.
    ///
    /// ```no_run
    /// let client = claude_code_api_client::blocking::Client::new()?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// A URL in the environment that is none.
    pub fn new() -> Result<Self, Error> {
        ClientBuilder::default().build_blocking()
    }

    /// The whole answer to one prompt: see [`Client::complete`](crate::Client::complete).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// let answer = client.complete("Write a haiku about Rust")?;
    /// println!("{} ({} tokens)", answer.content, answer.usage.total_tokens);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn complete(&self, request: impl Into<Request>) -> Result<CompleteResponse, Error> {
        self.wait(self.inner().complete(request), None)
    }

    /// The answer as it comes: see [`Client::stream`](crate::Client::stream).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// for text in client.stream("Tell me a story")? {
    ///     print!("{}", text?);
    /// }
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn stream(&self, request: impl Into<Request>) -> Result<Stream, Error> {
        self.stream_unless(request, None)
    }

    /// What came of each of many prompts: see [`Client::batch`](crate::Client::batch).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// let batch = client.batch(["Write a haiku", "Count to 5"])?;
    /// println!("{} of {} answered", batch.totals.completed, batch.totals.total);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn batch(&self, batch: impl Into<Batch>) -> Result<BatchResponse, Error> {
        self.wait(self.inner().batch(batch), None)
    }

    /// The results of many prompts as they come: see [`Client::batch_stream`](crate::Client::batch_stream).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// for event in client.batch_stream(["Write a haiku", "Count to 5"])? {
    ///     let event = event?;
    ///     println!("prompt {}: {}", event.index, event.result.status);
    /// }
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn batch_stream(&self, batch: impl Into<Batch>) -> Result<BatchStream, Error> {
        self.batch_stream_unless(batch, None)
    }

    /// The batches that the service stores: see [`Client::batches`](crate::Client::batches).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// let job = client.batches().create(["Write a haiku", "Count to 5"])?;
    /// println!("{} goes on without this program", job.id);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn batches(&self) -> Batches {
        Batches(self.clone())
    }

    /// Which model `auto` would pick for this: see [`Client::route`](crate::Client::route).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// println!("{}", client.route("Hello")?.route.tier);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As of [`Client::route`](crate::Client::route).
    pub fn route(&self, request: impl Into<Request>) -> Result<RouteResponse, Error> {
        self.wait(self.inner().route(request), None)
    }

    /// What a project has used: see [`Client::usage`](crate::Client::usage).
    ///
    /// ```no_run
    /// # use claude_code_api_client::Period;
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// println!("{} tokens today", client.usage(None, Period::Day)?.total_tokens);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn usage(&self, project: Option<&str>, period: Period) -> Result<UsageReport, Error> {
        self.wait(self.inner().usage(project, period), None)
    }

    /// How the service is: see [`Client::health`](crate::Client::health).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// println!("{}", client.health()?.status);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn health(&self) -> Result<Health, Error> {
        self.wait(self.inner().health(), None)
    }

    /// Waits for an operation of [`Client::inner`]. `stop` is asked every 50 ms; when it says true the operation is dropped, its
    /// connection closed, and the error is [`ErrorKind::Interrupted`].
    ///
    /// ```no_run
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// static QUIT: AtomicBool = AtomicBool::new(false); // Set by a handler of signals, say.
    /// let call = client.inner().complete("Write a haiku");
    /// let answer = client.wait(call, Some(&mut || QUIT.load(Ordering::Relaxed)))?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn wait<T>(
        &self,
        operation: impl Future<Output = Result<T, Error>>,
        stop: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<T, Error> {
        wait::wait(&*self.0.runtime()?, operation, stop)
    }

    /// As [`Client::stream`], with `stop` as in [`Client::wait`].
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// # let mut is_over = || false;
    /// let mut stream = client.stream_unless("Tell me a story", Some(&mut is_over))?;
    /// let first = stream.next_unless(Some(&mut is_over));
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn stream_unless(
        &self,
        request: impl Into<Request>,
        stop: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Stream, Error> {
        self.open_unless(self.inner().stream(request), stop)
    }

    /// As [`Client::batch_stream`], with `stop` as in [`Client::wait`].
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// # let mut is_over = || false;
    /// let mut results = client.batch_stream_unless(["Write a haiku", "Count to 5"], Some(&mut is_over))?;
    /// let first = results.next_unless(Some(&mut is_over));
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn batch_stream_unless(
        &self,
        batch: impl Into<Batch>,
        stop: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<BatchStream, Error> {
        self.open_unless(self.inner().batch_stream(batch), stop)
    }

    fn open_unless<S>(
        &self,
        opening: impl Future<Output = Result<S, Error>>,
        stop: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Stream<S>, Error> {
        let runtime = self.0.runtime()?;
        let inner = wait::wait(&runtime, opening, stop)?;
        Ok(Stream::new(inner, runtime))
    }

    /// The async client that this one drives.
    ///
    /// ```
    /// # let client = claude_code_api_client::Client::builder().base_url("http://localhost:8080").build_blocking()?;
    /// assert_eq!(client.inner().base_url(), "http://localhost:8080/");
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn inner(&self) -> &crate::Client {
        &self.0.inner
    }

    /// Closes the connections that are not in use. The client can still be used, and connects anew.
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// client.close();
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn close(&self) {
        self.0.close();
    }
}

impl Driven {
    fn runtime(&self) -> Result<Arc<Driver>, Error> {
        let runtime = self.runtime.get_or_try_make(Driver::new);
        runtime.map_err(|error| Error::new(ErrorKind::Configuration, format!("no runtime: {error}")))
    }

    fn close(&self) {
        if let Some(runtime) = self.runtime.get() {
            wait::ending_connections(&runtime, || self.inner.close());
        }
    }
}

impl From<crate::Client> for Client {
    fn from(inner: crate::Client) -> Self {
        Self(Arc::new(Driven { inner, runtime: PerProcess::new() }))
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.close();
    }
}

//! The blocking client: the async one, driven on the caller's thread. It starts no thread, but for the moment in which a host's
//! name is looked up (`localhost` is not). It works in the child of a fork, and lets a wait be interrupted.
//!
//! ```no_run
//! # fn main() -> Result<(), claude_code_api_client::Error> {
//! let client = claude_code_api_client::blocking::Client::new()?;
//! for text in client.stream("Tell me a story")? {
//!     print!("{}", text?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It must not be used on a thread of an async runtime: there, use the async one.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use claude_code_api_wire::{CompleteResponse, Health, Period, UsageReport};
use tokio::runtime::Runtime;

use crate::{Batch, BatchResponse, Error, ErrorKind, Request, TextStream, process::PerProcess};

/// How long a wait goes on before it is asked whether to stop.
const SLICE: Duration = Duration::from_millis(50);

/// How long the end of a connection is waited for. Nothing else drives it, and an open socket keeps the generation going.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(20);

/// A client of one service, for callers that wait. Usable from many threads at a time.
#[derive(Debug)]
pub struct Client {
    inner: crate::Client,
    runtime: Arc<PerProcess<Runtime>>,
}

impl Client {
    /// A client set up by the environment and the defaults: see [`ClientBuilder`](crate::ClientBuilder).
    ///
    /// # Errors
    /// A URL in the environment that is none.
    pub fn new() -> Result<Self, Error> {
        crate::Client::new().map(Self::from)
    }

    /// The whole answer to one prompt: see [`Client::complete`](crate::Client::complete).
    pub fn complete(&self, request: impl Into<Request>) -> Result<CompleteResponse, Error> {
        self.wait(self.inner.complete(request), None)
    }

    /// The answer as it comes: see [`Client::stream`](crate::Client::stream).
    pub fn stream(&self, request: impl Into<Request>) -> Result<Stream, Error> {
        self.stream_unless(request, None)
    }

    /// What came of each of many prompts: see [`Client::batch`](crate::Client::batch).
    pub fn batch(&self, batch: impl Into<Batch>) -> Result<BatchResponse, Error> {
        self.wait(self.inner.batch(batch), None)
    }

    /// The results of many prompts as they come: see [`Client::batch_stream`](crate::Client::batch_stream).
    pub fn batch_stream(&self, batch: impl Into<Batch>) -> Result<BatchStream, Error> {
        self.batch_stream_unless(batch, None)
    }

    /// What a project has used: see [`Client::usage`](crate::Client::usage).
    pub fn usage(&self, project: Option<&str>, period: Period) -> Result<UsageReport, Error> {
        self.wait(self.inner.usage(project, period), None)
    }

    /// How the service is: see [`Client::health`](crate::Client::health).
    pub fn health(&self) -> Result<Health, Error> {
        self.wait(self.inner.health(), None)
    }

    /// Waits for an operation of [`Client::inner`]. `stop` is asked every 50 ms; when it says true the operation is dropped, its
    /// connection closed, and the error is [`ErrorKind::Interrupted`].
    pub fn wait<T>(
        &self,
        operation: impl Future<Output = Result<T, Error>>,
        stop: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<T, Error> {
        wait(&*self.runtime()?, operation, stop)
    }

    /// As [`Client::stream`], with `stop` as in [`Client::wait`].
    pub fn stream_unless(
        &self,
        request: impl Into<Request>,
        stop: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Stream, Error> {
        self.open_unless(self.inner.stream(request), stop)
    }

    /// As [`Client::batch_stream`], with `stop` as in [`Client::wait`].
    pub fn batch_stream_unless(
        &self,
        batch: impl Into<Batch>,
        stop: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<BatchStream, Error> {
        self.open_unless(self.inner.batch_stream(batch), stop)
    }

    fn open_unless<S>(
        &self,
        opening: impl Future<Output = Result<S, Error>>,
        stop: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Stream<S>, Error> {
        let runtime = self.runtime()?;
        let inner = wait(&runtime, opening, stop)?;
        Ok(Stream { inner: Some(inner), runtime, pid: std::process::id() })
    }

    /// The async client that this one drives.
    pub fn inner(&self) -> &crate::Client {
        &self.inner
    }

    /// Closes the connections that are not in use. The client can still be used, and connects anew.
    pub fn close(&self) {
        if let Some(runtime) = self.runtime.get() {
            ending_connections(&runtime, || self.inner.close());
        }
    }

    fn runtime(&self) -> Result<Arc<Runtime>, Error> {
        let runtime = self.runtime.get_or_try_make(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                // A host's name is looked up on a thread, which ends with that.
                .thread_keep_alive(Duration::ZERO)
                .build()
        });
        runtime.map_err(|error| Error::new(ErrorKind::Configuration, format!("no runtime: {error}")))
    }
}

impl From<crate::Client> for Client {
    fn from(inner: crate::Client) -> Self {
        Self { inner, runtime: Arc::default() }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

/// The results of a batch as they come. Dropping it cancels what is unfinished.
pub type BatchStream = Stream<crate::BatchStream>;

/// An answer as it comes. Dropping it stops the generation.
#[derive(Debug)]
pub struct Stream<S = TextStream> {
    /// `None` once closed.
    inner: Option<S>,
    runtime: Arc<Runtime>,
    pid: u32,
}

impl<S: futures_core::Stream<Item = Result<T, Error>> + Unpin, T> Stream<S> {
    /// The next text or result, with `stop` as in [`Client::wait`]: a stream whose read was interrupted goes on, until it is closed.
    pub fn next_unless(&mut self, stop: Option<&mut dyn FnMut() -> bool>) -> Option<Result<T, Error>> {
        if self.pid != std::process::id() {
            let message = "this stream belongs to the process that forked this one; start another here";
            return Some(Err(Error::new(ErrorKind::Configuration, message)));
        }
        let stream = self.inner.as_mut()?;
        let next = pin!(std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)));
        // A read that is given up ends no connection, so that none is waited for.
        wait_in_slices(&self.runtime, next, stop).unwrap_or_else(|| Some(Err(interrupted())))
    }
}

impl<S> Stream<S> {
    /// The async stream that this one drives; `None` once closed.
    pub fn inner(&self) -> Option<&S> {
        self.inner.as_ref()
    }

    /// Stops the generation and closes the connection.
    pub fn close(&mut self) {
        let Some(stream) = self.inner.take() else { return };
        if self.pid == std::process::id() {
            ending_connections(&self.runtime, || drop(stream));
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

fn wait<T>(
    runtime: &Runtime,
    operation: impl Future<Output = Result<T, Error>>,
    stop: Option<&mut dyn FnMut() -> bool>,
) -> Result<T, Error> {
    let mut operation = Box::pin(operation);
    wait_in_slices(runtime, operation.as_mut(), stop).unwrap_or_else(|| {
        ending_connections(runtime, || drop(operation));
        Err(interrupted())
    })
}

/// `None`: told to stop.
fn wait_in_slices<T>(
    runtime: &Runtime,
    mut operation: Pin<&mut impl Future<Output = T>>,
    stop: Option<&mut dyn FnMut() -> bool>,
) -> Option<T> {
    let Some(stop) = stop else { return Some(runtime.block_on(operation)) };
    loop {
        match runtime.block_on(async { tokio::time::timeout(SLICE, operation.as_mut()).await }) {
            Ok(result) => return Some(result),
            Err(_) if stop() => return None,
            Err(_) => {}
        }
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted")
}

/// Does what makes connections end, and drives them until one has.
fn ending_connections(runtime: &Runtime, end: impl FnOnce()) {
    let tasks = || runtime.metrics().num_alive_tasks();
    let before = tasks();
    let guard = runtime.enter();
    end();
    drop(guard);
    if before == 0 {
        return;
    }
    let ended = async {
        while tasks() >= before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = runtime.block_on(async { tokio::time::timeout(CLOSE_TIMEOUT, ended).await });
}

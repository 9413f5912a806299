//! Stored batches, on the caller's thread.

use std::time::Duration;

use claude_code_api_wire::{BatchJob, BatchJobList};

use super::{BatchResults, Client, Stream};
use crate::{Batch, Error};

/// The batches that a service stores: [`Client::batches`]. What the methods do is said at the async [`Batches`](crate::Batches).
///
/// ```no_run
/// # let client = claude_code_api_client::blocking::Client::new()?;
/// let batches = client.batches();
/// let job = batches.create(["Write a haiku", "Count to 5"])?;
/// batches.wait(&job.id, None, |job| println!("{} of {}", job.completed + job.failed, job.total))?;
/// for event in batches.results(&job.id)? {
///     println!("{:?}", event?.result.content);
/// }
/// # Ok::<(), claude_code_api_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batches(pub(super) Client);

impl Batches {
    /// Stores a batch: see [`Batches::create`](crate::Batches::create).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// let job = client.batches().create(["Write a haiku", "Count to 5"])?;
    /// println!("{}", job.id);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn create(&self, batch: impl Into<Batch>) -> Result<BatchJob, Error> {
        self.0.wait(self.inner().create(batch), None)
    }

    /// How far a batch is: see [`Batches::get`](crate::Batches::get).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// println!("{}", client.batches().get("batch_01a21378be8f7744b64a5b978ca924f3")?.status);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn get(&self, id: &str) -> Result<BatchJob, Error> {
        self.0.wait(self.inner().get(id), None)
    }

    /// A page of a project's batches: see [`Batches::list`](crate::Batches::list).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// for job in client.batches().list(None, None)?.batches {
    ///     println!("{}: {}", job.id, job.status);
    /// }
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn list(&self, project: Option<&str>, before: Option<&str>) -> Result<BatchJobList, Error> {
        self.0.wait(self.inner().list(project, before), None)
    }

    /// The results that a batch has by now: see [`Batches::results`](crate::Batches::results).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// for event in client.batches().results("batch_01a21378be8f7744b64a5b978ca924f3")? {
    ///     println!("{:?}", event?.result.content);
    /// }
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn results(&self, id: &str) -> Result<BatchResults, Error> {
        self.results_after(id, 0)
    }

    /// The same without the first `count`: see [`Batches::results_after`](crate::Batches::results_after).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// let rest = client.batches().results_after("batch_01a21378be8f7744b64a5b978ca924f3", 10)?.count();
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn results_after(&self, id: &str, count: u64) -> Result<BatchResults, Error> {
        Ok(Stream::new(self.inner().results_after(id, count), self.0.0.runtime()?))
    }

    /// Cancels a batch: see [`Batches::cancel`](crate::Batches::cancel).
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// client.batches().cancel("batch_01a21378be8f7744b64a5b978ca924f3")?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn cancel(&self, id: &str) -> Result<BatchJob, Error> {
        self.0.wait(self.inner().cancel(id), None)
    }

    /// Waits until a batch has ended: see [`Batches::wait`](crate::Batches::wait). To be interrupted, wait for the async one with
    /// [`Client::wait`].
    ///
    /// ```no_run
    /// # let client = claude_code_api_client::blocking::Client::new()?;
    /// client.batches().wait("batch_01a21378be8f7744b64a5b978ca924f3", None, |job| println!("{}", job.completed))?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn wait(
        &self,
        id: &str,
        timeout: Option<Duration>,
        on_progress: impl FnMut(&BatchJob),
    ) -> Result<BatchJob, Error> {
        self.0.wait(self.inner().wait(id, timeout, on_progress), None)
    }

    fn inner(&self) -> crate::Batches {
        self.0.inner().batches()
    }
}

//! What an asyncio stream or batch reads from: one read at a time, ended by `close()`, and none in the child of a fork.

use std::sync::Arc;

use claude_code_api_client::Error;
use pyo3::PyResult;
use tokio::sync::{Mutex, MutexGuard, Notify, TryLockError};

use crate::{
    asynchronous::{RUNTIME, Task, runtime, spawn},
    home::Home,
    mailbox::{Mailbox, Outcome},
};

/// An answer that is read bit by bit.
pub(crate) trait Answer: Send + 'static {
    /// What it is called in an error.
    const NAME: &'static str;

    /// What a read brings when there is no more.
    fn nothing() -> Outcome;

    fn next(&mut self) -> impl Future<Output = Result<Outcome, Error>> + Send;

    /// Closes the connection.
    fn end(&mut self);
}

pub(crate) struct Source<A: Answer> {
    answer: Arc<Mutex<A>>,
    /// Told when `close()` finds that somebody reads.
    closed: Arc<Notify>,
    home: Home,
}

impl<A: Answer> Source<A> {
    pub(crate) fn new(answer: A) -> Self {
        Self { answer: Arc::new(Mutex::new(answer)), closed: Arc::default(), home: Home::here() }
    }

    pub(crate) fn read(&self, mailbox: &Mailbox, id: u64) -> PyResult<Task> {
        self.home.check(A::NAME)?;
        let (answer, closed) = (Arc::clone(&self.answer), Arc::clone(&self.closed));
        spawn(mailbox, id, async move {
            let mut answer = answer.lock().await;
            tokio::select! {
                () = closed.notified() => Ok(A::nothing()),
                read = answer.next() => read,
            }
        })
    }

    pub(crate) fn close(&self) -> PyResult<()> {
        if !self.home.is_here() {
            return Ok(());
        }
        let runtime = runtime()?;
        if let Ok(mut answer) = self.answer.try_lock() {
            // What waits for its next attempt is a request, and those end within a runtime.
            let _entered = runtime.enter();
            answer.end();
            return Ok(());
        }
        // A task reads, which this ends; or one that was cancelled still holds it, for the moment until it is dropped.
        self.closed.notify_one();
        let answer = Arc::clone(&self.answer);
        runtime.spawn(async move { answer.lock().await.end() });
        Ok(())
    }

    /// The answer, unless somebody reads.
    pub(crate) fn look(&self) -> Result<MutexGuard<'_, A>, TryLockError> {
        self.answer.try_lock()
    }
}

impl<A: Answer> Drop for Source<A> {
    fn drop(&mut self) {
        if !self.home.is_here() {
            std::mem::forget(Arc::clone(&self.answer));
        } else if let (Some(runtime), Ok(mut answer)) = (RUNTIME.get(), self.answer.try_lock()) {
            let _entered = runtime.enter();
            answer.end();
        }
    }
}

//! `batch` into a file: a batch that the service stores, and a note beside the file of which one that is. However this program ends, the
//! same command goes on where the file ends, and no prompt is run twice.
//!
//! The order makes it so: the note has the key of the batch before that is sent, the file is emptied before the note has its id, and
//! the note stays until the last result is in the file.

use std::time::Duration;

use anyhow::{Context, ensure};
use claude_code_api_client::{
    Batch, BatchJob, BatchTotals, ClientBuilder, Error, ErrorCode, ErrorKind,
    blocking::{BatchResults, Client},
};

use super::{
    note::{Note, Noted},
    progress::{Left, Progress},
    results::Results,
};
use crate::exit::{Interrupt, Interrupted};

/// Once the batch is stored a service that is not there is probably restarting. Within a call's time-out.
const ATTEMPTS_MAX: u32 = 10;

/// The shortest and the longest time between two looks at the batch.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

pub(super) struct Job {
    pub(super) builder: ClientBuilder,
    pub(super) request: Batch,
    /// How many prompts there are.
    pub(super) total: usize,
    pub(super) left: Left,
    /// The caller's own key.
    pub(super) key: Option<String>,
    pub(super) note: Note,
    pub(super) interrupt: Interrupt,
}

impl Job {
    /// Begins the batch, or goes on with it.
    pub(super) fn run(self, results: &mut Results) -> anyhow::Result<BatchTotals> {
        let noted = self.note.read()?;
        let (id, mut came) = match noted.as_ref().and_then(|noted| noted.id.clone()) {
            Some(id) => (id, results.resume()?),
            None => (self.begin(noted, results)?, 0),
        };
        let ended =
            self.follow(&id, &mut came, results).map_err(|error| self.explained(error, &id)).with_context(|| {
                let how = format!("run it again to go on, or `claude-code-api batches cancel {id}` to end it");
                format!("after {came} of {} results ({how})", self.total)
            })?;
        let totals = BatchTotals::from(&ended);
        results.end(totals)?;
        self.note.remove()?;
        Ok(totals)
    }

    /// Has the service store it, and gives its id.
    fn begin(&self, noted: Option<Noted>, results: &mut Results) -> anyhow::Result<String> {
        let is_new = noted.is_none();
        let noted = match noted {
            Some(noted) => noted,
            None => self.note.begin(self.key.as_deref())?,
        };
        let client = self.builder.clone().build_blocking()?;
        let request = self.request.clone().idempotency_key(&noted.idempotency_key);
        let stored = client.wait(client.inner().batches().create(request), Some(&mut || self.interrupt.came()));
        if is_new && stored.as_ref().is_err_and(is_refusal) {
            self.note.remove()?;
        }
        let id = stored?.id;
        results.begin()?;
        self.note.stored(noted, &id)?;
        Ok(id)
    }

    /// Takes the results as they come, until the batch has ended.
    fn follow(&self, id: &str, came: &mut u64, results: &mut Results) -> anyhow::Result<BatchJob> {
        let client = self.builder.clone().max_retries(ATTEMPTS_MAX).build_blocking()?;
        let progress = Progress::of(self.total, self.left, results.cross_the_terminal());
        let (mut pause, longest) = LOOK_EVERY;
        loop {
            // It is looked at first: what had ended by then has all its results.
            let job = client.wait(client.inner().batches().get(id), Some(&mut || self.interrupt.came()))?;
            ensure!(
                *came <= job.completed + job.failed,
                "the file has lines that are not of {id}; begin it in another one"
            );
            progress.show(BatchTotals::from(&job));
            let before = *came;
            self.take(client.batches().results_after(id, before)?, came, results)?;
            if job.ended_at.is_some() {
                return Ok(job);
            }
            pause = if *came > before { LOOK_EVERY.0 } else { (pause * 3 / 2).min(longest) };
            self.pause(&client, pause)?;
        }
    }

    fn take(&self, mut stream: BatchResults, came: &mut u64, results: &mut Results) -> anyhow::Result<()> {
        // The client asks only while it waits, and results may come without a wait.
        while !self.interrupt.came() {
            let Some(event) = stream.next_unless(Some(&mut || self.interrupt.came())) else { return Ok(()) };
            results.take(event?)?;
            *came += 1;
        }
        Err(Interrupted.into())
    }

    fn pause(&self, client: &Client, time: Duration) -> Result<(), Error> {
        let sleep = async {
            tokio::time::sleep(time).await;
            Ok(())
        };
        client.wait(sleep, Some(&mut || self.interrupt.came()))
    }

    /// Says what to do about a batch that the service knows nothing of.
    fn explained(&self, error: anyhow::Error, id: &str) -> anyhow::Error {
        match error.downcast_ref::<Error>().and_then(Error::code) {
            Some(ErrorCode::NotFound) => error.context(format!("{id} is gone; remove {} to begin anew", self.note)),
            _ => error,
        }
    }
}

/// Whether the service has not stored it, and will not.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Api(_) | ErrorKind::Configuration) && !error.is_retryable()
}

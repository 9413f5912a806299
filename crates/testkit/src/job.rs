//! Stored batches, as one who calls sees them.

use std::time::{Duration, Instant};

use claude_code_api_wire::{BatchEvent, BatchJob, BatchJobStatus};
use http::Method;
use serde_json::Value;

use crate::{Caller, send};

/// How long a batch may take: thousands of items, on a machine that is busy.
const BATCH_TIMEOUT: Duration = Duration::from_mins(3);

const POLL_EVERY: Duration = Duration::from_millis(20);

impl Caller {
    /// `POST /v1/batches` with a batch that is taken.
    pub async fn store_batch(&self, batch: &Value) -> BatchJob {
        let answer = self.post("/v1/batches", batch.to_string()).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()
    }

    /// How far a batch is.
    pub async fn batch(&self, id: &str) -> BatchJob {
        self.try_batch(id).await.expect("the service lives")
    }

    /// The same where there may be nobody to answer.
    pub async fn try_batch(&self, id: &str) -> Option<BatchJob> {
        let answer = send(self.request(Method::GET, &format!("/v1/batches/{id}"))).await.ok()?;
        Some(answer.json())
    }

    /// Waits until a batch is over.
    pub async fn batch_over(&self, id: &str) -> BatchJob {
        let begun = Instant::now();
        loop {
            let job = self.batch(id).await;
            if matches!(job.status, BatchJobStatus::Ended | BatchJobStatus::Cancelled) {
                return job;
            }
            assert!(begun.elapsed() < BATCH_TIMEOUT, "it is over: {job:?}");
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// The results of a batch after the first `after` that came.
    pub async fn batch_results(&self, id: &str, after: usize) -> Vec<BatchEvent> {
        let answer = self.get(&format!("/v1/batches/{id}/results?after={after}")).await;
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        answer.body.lines().map(|line| serde_json::from_str(line).expect("a result")).collect()
    }
}

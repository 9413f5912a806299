//! Exactly once: a call that is sent again under its idempotency key is heard where it runs, or answered from the store. Neither
//! spends anything.

use std::{sync::Arc, time::Duration};

use claude_code_api_wire::{CompleteResponse, Start};
use sha2::{Digest, Sha256};

use super::{
    CallFailure, Request,
    feed::{Feed, Update},
};
use crate::{
    app::App,
    id::CallId,
    ledger::{Claim, ClaimScope},
    project::ProjectId,
};

/// The most bytes of an answer that is kept.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How often it is looked whether a call that runs in another process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The claim of a request that was sent under this key.
pub(crate) fn claim(app: &App, project: &ProjectId, endpoint: &str, key: &str, request: &Request) -> Option<Claim> {
    let kept_for = app.limits().idempotency_ttl;
    let scope = ClaimScope::of(project, endpoint, key);
    (!kept_for.is_zero()).then(|| Claim { scope, fingerprint: fingerprint(request), kept_for })
}

/// Hash of all that decides the answer.
fn fingerprint(request: &Request) -> [u8; 32] {
    let Request { model, system, messages, max_tokens, nanos_max, sampling, claim: _, timeout: _ } = request;
    let crate::backend::Sampling { temperature, top_p, seed, stop_sequences } = sampling;
    let all = (model.as_str(), system, messages, max_tokens, nanos_max, (temperature, top_p, seed, stop_sequences));
    Sha256::digest(serde_json::to_vec(&all).expect("texts and numbers serialize")).into()
}

/// The answer as it is kept; nothing where it is too large for that.
pub(super) fn kept(response: &CompleteResponse) -> Option<Arc<[u8]>> {
    let bytes = serde_json::to_vec(response).expect("wire types serialize");
    if bytes.len() > ANSWER_BYTES_MAX {
        tracing::warn!(bytes = bytes.len(), "an answer is too large to be kept for its idempotency key");
        return None;
    }
    Some(bytes.into())
}

/// Hears a call that runs already, to its end. `None` when it is not here (any more): then it is to be asked for again.
pub(super) async fn follow(app: &App, call: CallId, feed: &Feed) -> Option<Result<CompleteResponse, CallFailure>> {
    let Some(mut updates) = app.feeds().listen(call) else {
        tokio::time::sleep(LOOK_EVERY).await;
        return None;
    };
    loop {
        match updates.next().await {
            Update::Started(start) => feed.start(start),
            Update::Text(text) => feed.text(&text),
            Update::Finished(response) => return Some(Ok(CompleteResponse { replayed: true, ..*response })),
            Update::Failed(failure) => return Some(Err(failure)),
        }
    }
}

/// Answers from the store; `None` when the answer is not there.
pub(super) async fn replay(app: &App, claim: &Claim, feed: &Feed) -> Result<Option<CompleteResponse>, CallFailure> {
    let kept = app.store().answer(claim.scope).await.map_err(|error| {
        tracing::error!(%error, "a kept answer could not be read");
        CallFailure::LedgerDown
    })?;
    let Some(kept) = kept else { return Ok(None) };
    let response: CompleteResponse = serde_json::from_slice(&kept).map_err(|error| {
        tracing::error!(%error, "a kept answer is malformed");
        CallFailure::AnswerNotKept
    })?;
    feed.start(Start { id: response.id.clone(), model: response.model.clone(), model_id: response.model_id.clone() });
    feed.text(&response.content);
    Ok(Some(CompleteResponse { replayed: true, ..response }))
}

//! Exactly once: a call that is sent again under its idempotency key is heard where it runs, or answered from the store. Neither
//! spends anything.

use std::{sync::Arc, time::Duration};

use claude_code_api_wire::anthropic::{Message, say};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Answer, CallFailure, Request,
    feed::{Feed, Update},
};
use crate::{
    app::App,
    backend::{Asked, said::Reader},
    id::CallId,
    ledger::{Claim, ClaimScope},
    project::ProjectId,
};

/// The most bytes of an answer that is kept, but for stored requests: these are to have results, whatever their size.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How often it is looked whether a call that runs in another process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The claim of a request that was sent under this key.
pub(crate) fn claim(app: &App, project: &ProjectId, endpoint: &str, key: &str, request: &Request) -> Option<Claim> {
    let kept_for = app.limits().idempotency_ttl;
    (!kept_for.is_zero()).then(|| claim_in(ClaimScope::of(project, endpoint, key), request, kept_for))
}

/// The claim of a request in this scope.
pub(crate) fn claim_in(scope: ClaimScope, request: &Request, kept_for: Duration) -> Claim {
    Claim { scope, fingerprint: fingerprint(request), kept_for }
}

/// Hash of all that decides the answer.
fn fingerprint(request: &Request) -> [u8; 32] {
    let Request { model, asked, max_tokens, nanos_max, auto, claim: _, timeout: _, priority: _, is_stored: _ } =
        request;
    let Asked { fields, version, betas, seed } = &**asked;
    let all = (model.as_str(), fields, version, betas, seed, max_tokens, nanos_max, auto.routing, &auto.conversation);
    Sha256::digest(serde_json::to_vec(&all).expect("texts and numbers serialize")).into()
}

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    answer: Answer,
    message: Message,
}

/// The answer as it is kept; nothing where it has no key, or is too large for that.
pub(super) fn kept(answer: &Answer, request: &Request, feed: &Feed) -> Option<Arc<[u8]>> {
    request.claim.as_ref()?;
    let kept = Kept { answer: answer.clone(), message: feed.message(answer) };
    let bytes = serde_json::to_vec(&kept).expect("JSON serializes");
    if bytes.len() > ANSWER_BYTES_MAX && !request.is_stored {
        tracing::warn!(bytes = bytes.len(), "an answer is too large to be kept for its idempotency key");
        return None;
    }
    Some(bytes.into())
}

/// Hears a call that runs already, to its end. `None` when it is not here (any more): then it is to be asked for again.
pub(super) async fn follow(app: &App, call: CallId, feed: &Feed) -> Option<Result<Answer, CallFailure>> {
    let Some(mut updates) = app.feeds().listen(call) else {
        tokio::time::sleep(LOOK_EVERY).await;
        return None;
    };
    loop {
        match updates.next().await {
            Update::Started(started) => feed.start(started),
            Update::Event(event) => feed.event(event),
            Update::Finished(answer) => return Some(Ok(Answer { replayed: true, ..(*answer).clone() })),
            Update::Failed(failure) => return Some(Err(failure)),
        }
    }
}

/// Answers from the store; `None` when the answer is not there.
pub(super) async fn replay(app: &App, claim: &Claim, feed: &Feed) -> Result<Option<Answer>, CallFailure> {
    let kept = app.store().answer(claim.scope).await.map_err(|error| {
        tracing::error!(%error, "a kept answer could not be read");
        CallFailure::LedgerDown
    })?;
    let Some(kept) = kept else { return Ok(None) };
    let Kept { answer, message } = serde_json::from_slice(&kept).map_err(|error| {
        tracing::error!(%error, "a kept answer is malformed");
        CallFailure::AnswerNotKept
    })?;
    feed.start(Arc::new(answer.started()));
    let mut reader = Reader::default();
    for raw in say::whole(&message) {
        let event = reader.read(raw).map_err(|_| CallFailure::AnswerNotKept)?;
        // The end is the answer's own.
        if !event.said.ends() {
            feed.event(Arc::new(event));
        }
    }
    Ok(Some(Answer { replayed: true, ..answer }))
}

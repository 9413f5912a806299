//! Claim: what an idempotency key stands for, so that a call that is sent again is not paid for again.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{
    id::{CallId, EntryId},
    project::ProjectId,
    window::Moment,
};

/// Where an idempotency key holds: in its project, at its endpoint. A hash, as keys are the callers' words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimScope([u8; 32]);

impl ClaimScope {
    /// The scope of this key.
    pub fn of(project: &ProjectId, endpoint: &str, key: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [project.as_str(), endpoint, key] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The scope as stores keep it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads what [`ClaimScope::as_bytes`] gives.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for ClaimScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClaimScope(…)")
    }
}

/// An idempotency key, as a call sends it along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where it holds.
    pub scope: ClaimScope,
    /// Hash of what was asked for: the same key is for the same request.
    pub fingerprint: [u8; 32],
    /// How long its answer is kept once it is there.
    pub kept_for: Duration,
}

/// An idempotency key, as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Where it holds.
    pub scope: ClaimScope,
    /// Hash of what was asked for.
    pub fingerprint: [u8; 32],
    /// What has become of the call.
    pub state: ClaimState,
    /// The call; its attempts share the id.
    pub call: CallId,
    /// The latest attempt.
    pub entry: EntryId,
    /// How long the answer is kept once it is there.
    pub kept_for: Duration,
    /// When this is forgotten; `None` while the call runs.
    pub expires_at: Option<Moment>,
}

/// What has become of a claimed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// It runs.
    Running,
    /// It has its answer.
    Done,
    /// It has none, and may run again.
    Aborted,
}

impl ClaimState {
    /// As it stands in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Aborted => "aborted",
        }
    }

    /// Reads what [`ClaimState::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Aborted].into_iter().find(|state| state.as_str() == text)
    }
}

impl Claimed {
    /// Whether it still stands.
    pub(super) fn stands(&self, now: Moment) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }

    /// The call has ended.
    pub(super) fn end(&mut self, state: ClaimState, now: Moment) {
        let kept_ms = i64::try_from(self.kept_for.as_millis()).unwrap_or(i64::MAX);
        self.state = state;
        self.expires_at = Some(Moment(now.0.saturating_add(kept_ms)));
    }
}

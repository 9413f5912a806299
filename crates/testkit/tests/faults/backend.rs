//! The backends that the rows are tried on, and what differs: how many calls at a time, how long one waits, and by which doors.

use std::time::Duration;

use claude_code_api_service::config::{Settings, WorkerIsolation};
use claude_code_api_testkit::{Simulator, TestServer};
use tokio::time::{sleep, timeout};

use super::{
    call::Dialect,
    rows::{Ends, Row},
};

/// Workers of the Claude Code CLI. Half as many calls are made at a time, and as many workers are ready whenever one is made: its time
/// is not over before it is sent.
const WORKERS: usize = 12;
const READY_AFTER_MAX: Duration = Duration::from_mins(1);

/// The ways to ask, so that each and the third after it are two dialects, one whole and one streamed.
pub(super) const DOORS: [(Dialect, bool); 6] = [
    (Dialect::Native, false),
    (Dialect::Native, true),
    (Dialect::Anthropic, false),
    (Dialect::Anthropic, true),
    (Dialect::OpenAi, false),
    (Dialect::OpenAi, true),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Anthropic,
    /// Each call costs a worker, and that half a second of a core: a row is at one door, in turn; at two where nobody but the caller
    /// ends it; and half of the refusals, of which a worker sees nothing, are at none.
    ClaudeCode,
    ClaudeCodeAtEveryDoor,
}

impl Backend {
    pub(super) async fn start(self, simulator: &Simulator, settings: Settings) -> TestServer {
        // No two calls are of one project.
        let isolation = Some(WorkerIsolation::Process);
        let settings = Settings { claude_code_workers: Some(WORKERS), claude_code_isolation: isolation, ..settings };
        match self {
            Self::Anthropic => TestServer::start_on(simulator, settings).await,
            Self::ClaudeCode | Self::ClaudeCodeAtEveryDoor => {
                TestServer::start_on_claude_code(simulator, settings).await
            }
        }
    }

    /// Calls at a time.
    pub(super) fn at_once(self) -> usize {
        if self == Self::Anthropic { 64 } else { WORKERS / 2 }
    }

    /// Waits until a call can be made.
    pub(super) async fn has_room(self, server: &TestServer) {
        let ready = async {
            while self != Self::Anthropic && server.workers_ready() < self.at_once() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(READY_AFTER_MAX, ready).await.expect("workers become ready");
    }

    /// The deadline of calls that never end.
    pub(super) fn late_after(self) -> Duration {
        Duration::from_millis(if self == Self::Anthropic { 500 } else { 4_000 })
    }

    /// The doors of a row.
    pub(super) fn doors(self, row: &Row, place: usize) -> Vec<(Dialect, bool)> {
        let door = |offset: usize| DOORS[(place + offset) % DOORS.len()];
        match (self, row.ends) {
            (Self::Anthropic | Self::ClaudeCodeAtEveryDoor, _) => DOORS.into(),
            (Self::ClaudeCode, Ends::Late) => vec![door(0), door(3)],
            (Self::ClaudeCode, _) if row.is_refusal() && (place / DOORS.len()) % 2 == 1 => Vec::new(),
            (Self::ClaudeCode, _) => vec![door(0)],
        }
    }
}

//! The backends that the rows are tried on, and what differs: how many calls at a time, how long one waits, and by which doors.

use std::time::Duration;

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Simulator, TestServer};
use tokio::time::{sleep, timeout};

use super::call::Dialect;

/// Workers of the Claude Code CLI. Half as many calls are made at a time, and as many workers are ready whenever one is made: its time
/// is not over before it is sent.
const WORKERS: usize = 12;
const READY_AFTER_MAX: Duration = Duration::from_mins(1);

/// The ways to ask.
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
    /// An answer that breaks off costs a worker, and that half a second of a core: a row is at one door of each dialect, whole and
    /// streamed by turns.
    ClaudeCode,
    ClaudeCodeAtEveryDoor,
}

impl Backend {
    pub(super) async fn start(self, simulator: &Simulator, settings: Settings) -> TestServer {
        let settings = Settings { claude_code_workers: Some(WORKERS), ..settings };
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
    pub(super) fn doors(self, place: usize) -> Vec<(Dialect, bool)> {
        let is_due = |number: usize| self != Self::ClaudeCode || (number + number / 2 + place).is_multiple_of(2);
        (0..).zip(DOORS).filter(|(number, _)| is_due(*number)).map(|(_, door)| door).collect()
    }
}

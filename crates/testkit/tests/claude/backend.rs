//! The real CLI as a backend: the first `claude` on the PATH, as the service itself finds it.

use std::sync::Arc;

use claude_code_api_service::{
    backend::{
        anthropic::Anthropic,
        claude_code::{ClaudeCode, upstream::Upstream},
        conformance,
    },
    config::{Config, Settings},
};
use claude_code_api_testkit::{Simulator, simulator::KEY, until};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Claude Code CLI: make sdk"]
async fn the_backend_passes() {
    let (simulator, folder) = (Simulator::start(), TempDir::new().expect("a folder"));
    let settings = Settings {
        anthropic_api_key: Some(KEY.to_owned().into()),
        anthropic_base_url: Some(simulator.base_url()),
        ..Settings::default()
    };
    let config = Config::from_settings(&settings).expect("in range");
    let api = Arc::new(Anthropic::new(&config.anthropic).expect("a backend"));
    let upstream = Upstream { api, login: None };
    let backend = ClaudeCode::open(&config.claude_code, upstream, folder.path()).await.expect("a CLI that does");
    conformance::passes(&backend).await;
    until("what was dropped is cancelled upstream", || simulator.open_streams() == 0).await;
}

//! One call in one dialect: how it is asked, and how long its caller waits.

use std::time::Duration;

use claude_code_api_testkit::{Caller, json_of};
use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{
    rows::{Ends, Row},
    said,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Native,
    Anthropic,
    OpenAi,
}

pub(super) const MAX_TOKENS: u32 = 1_000;

/// The deadline of calls that end.
const LONG: Duration = Duration::from_secs(30);
/// A stream of a dialect without a deadline of its own: so long after it the caller goes away.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) struct Call {
    pub(super) number: u64,
    pub(super) project: String,
    pub(super) door: (Dialect, bool),
    pub(super) script: Value,
    pub(super) ends: Ends,
}

/// What the caller has got.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Got {
    /// A whole answer, with this text.
    Whole(String),
    /// An error, with the time to come back after.
    Error(claude_code_api_wire::ErrorCode, Option<f64>),
    /// Nothing: it went away.
    Left,
}

impl Call {
    pub(super) fn new(number: u64, project: String, door: (Dialect, bool), row: &Row) -> Self {
        let mut script = row.script.clone();
        // By its input a call is found on the bill.
        script["input"] = json!(script["input"].as_u64().unwrap_or(100) + number);
        Self { number, project, door, script, ends: row.ends }
    }

    /// Asks, reads the answer, and holds it against its dialect. `late_after`: the deadline of a call that never ends.
    pub(super) async fn make(&self, caller: &Caller, late_after: Duration) -> Got {
        let deadline = if self.ends == Ends::Late { late_after } else { LONG };
        let waits = deadline + if self.leaves() { PATIENCE } else { Duration::from_secs(2) };
        let got = match tokio::time::timeout(waits, said::read(self.door, self.request(caller, deadline))).await {
            Ok(got) => got,
            Err(_) if self.leaves() => Got::Left,
            Err(error) => panic!("no answer within {deadline:?}: {error}"),
        };
        self.assert_expected(&got);
        got
    }

    fn leaves(&self) -> bool {
        self.ends == Ends::Late && self.door == (Dialect::Anthropic, true)
    }

    fn request(&self, caller: &Caller, deadline: Duration) -> RequestBuilder {
        let (dialect, stream) = self.door;
        // No upstream counts more tokens than there are bytes.
        let prompt = format!("{} call {}. sim:{}", "word ".repeat(300), self.number, self.script);
        let (path, mut body) = match dialect {
            Dialect::Native => ("/v1/complete", json!({"prompt": prompt, "project_id": self.project})),
            Dialect::Anthropic => ("/v1/messages", json!({"messages": [{"role": "user", "content": prompt}]})),
            Dialect::OpenAi => ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": prompt}]})),
        };
        body["model"] = json!("sonnet");
        body["max_tokens"] = json!(MAX_TOKENS);
        body["stream"] = json!(stream);
        if dialect != Dialect::Anthropic {
            body["timeout"] = json!(deadline.as_secs_f64());
        }
        let request = json_of(caller.request(Method::POST, path), body.to_string());
        // What the SDKs of a dialect without such a field send.
        let request = request.header("x-stainless-timeout", deadline.as_secs_f64().to_string());
        if dialect == Dialect::Native { request } else { request.header("x-project-id", &self.project) }
    }

    fn assert_expected(&self, got: &Got) {
        use claude_code_api_wire::ErrorCode::Timeout;
        let is_expected = match (self.ends, got) {
            (Ends::Whole, Got::Whole(text)) => self.words().is_none_or(|words| *text == words),
            (Ends::Fails(code), Got::Error(told, _)) => code == *told,
            (Ends::FailsFor(code, seconds), Got::Error(told, wait)) => (code, Some(seconds)) == (*told, *wait),
            (Ends::Late, Got::Error(told, _)) => *told == Timeout && !self.leaves(),
            (Ends::Late, Got::Left) => self.leaves(),
            _ => false,
        };
        assert!(is_expected, "{got:?} where {:?} is due", self.ends);
    }

    /// The text of the answer, where it is one of so many words.
    fn words(&self) -> Option<String> {
        let is_other = ["thinking", "tool", "bytes_per_delta"].iter().any(|name| self.script.get(name).is_some());
        let output = self.script["output"].as_u64().unwrap_or(16).min(1_000);
        (!is_other).then(|| "word ".repeat(usize::try_from(output).expect("small")))
    }
}

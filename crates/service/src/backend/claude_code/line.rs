//! A line that a worker says, as far as anything here acts on it. What is not known is let pass.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::package::VERSION;

/// What a worker says.
#[derive(Debug)]
pub enum Line {
    /// The answer to a control request.
    Control(Control),
    /// An answer begins, and this is what there is for it to work with.
    Init(Init),
    /// An event of the Messages API, as it came.
    Event(Box<RawValue>),
    /// The answer has ended.
    Result(Ended),
    /// Something else.
    Other,
}

/// The answer to a control request.
#[derive(Debug, Deserialize)]
pub struct Control {
    /// `success` or `error`.
    pub subtype: String,
    /// The request.
    pub request_id: String,
    /// What was wrong.
    pub error: Option<String>,
}

/// What an answer has to work with.
#[derive(Debug, Deserialize)]
pub struct Init {
    /// The version of the CLI.
    pub claude_code_version: String,
    /// Tools.
    pub tools: Vec<Value>,
    /// Servers of the Model Context Protocol.
    pub mcp_servers: Vec<Value>,
    /// Commands.
    pub slash_commands: Vec<Value>,
}

impl Init {
    /// Whether it has nothing, and is the version that the self-test has seen: what holds of one worker at the start holds of every one.
    pub(super) fn is_as_tested(&self) -> bool {
        let has_nothing = self.tools.is_empty() && self.mcp_servers.is_empty() && self.slash_commands.is_empty();
        has_nothing && self.claude_code_version == VERSION
    }
}

/// How an answer has ended. Its `subtype` says `success` of failures, too.
#[derive(Debug, Default, Deserialize)]
pub struct Ended {
    /// Whether it failed.
    pub is_error: bool,
    /// The HTTP status that it failed with, where there was one.
    pub api_error_status: Option<u16>,
}

/// The parts of every line that may be of use.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    event: Option<Box<RawValue>>,
    response: Option<Control>,
}

impl Line {
    /// Reads one.
    ///
    /// # Errors
    /// It is no JSON, or lacks what a line of its kind has.
    pub fn read(line: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(line)?;
        match (raw.kind.as_str(), raw.subtype.as_deref(), raw.event, raw.response) {
            ("stream_event", _, Some(event), _) => Ok(Self::Event(event)),
            ("control_response", _, _, Some(control)) => Ok(Self::Control(control)),
            ("system", Some("init"), ..) => serde_json::from_slice(line).map(Self::Init),
            ("result", ..) => serde_json::from_slice(line).map(Self::Result),
            _ => Ok(Self::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_kind_that_is_not_known_are_let_pass_and_lines_that_lack_something_are_not() {
        let read = |line: &str| Line::read(line.as_bytes());
        assert!(matches!(read(r#"{"type":"tomorrow","response":null}"#), Ok(Line::Other)));
        assert!(matches!(read(r#"{"type":"system","subtype":"status"}"#), Ok(Line::Other)));
        assert!(matches!(read(r#"{"type":"stream_event","event":{"type":"ping"}}"#), Ok(Line::Event(_))));
        let failed = read(r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":401}"#);
        assert!(matches!(failed, Ok(Line::Result(Ended { is_error: true, api_error_status: Some(401) }))));
        for broken in ["", "hello", "[]", r#"{"type":"result"}"#, r#"{"type":"system","subtype":"init","tools":[]}"#] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }
}

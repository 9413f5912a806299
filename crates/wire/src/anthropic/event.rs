//! Events of a stream, read as far as anybody here acts on them.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Usage;

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The model has read the prompt.
    MessageStart {
        /// The message, still empty.
        message: Started,
    },
    /// A block begins.
    ContentBlockStart {
        /// Its place in the content.
        index: usize,
        /// The block, as far as it is there.
        content_block: Block,
    },
    /// A block goes on.
    ContentBlockDelta {
        /// Its place in the content.
        index: usize,
        /// What comes to it.
        delta: Delta,
    },
    /// A block is complete.
    ContentBlockStop {
        /// Its place in the content.
        index: usize,
    },
    /// What is known of the message at its end.
    MessageDelta {
        /// Why it ended.
        delta: MessageDelta,
        /// The tokens until here.
        #[serde(default)]
        usage: Usage,
    },
    /// The message is complete.
    MessageStop,
    /// A sign of life.
    Ping,
    /// The stream ends here.
    Error {
        /// Why.
        error: StreamError,
    },
    /// An event that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The message in a `message_start`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Started {
    /// The model that runs.
    pub model: String,
    /// The tokens until here.
    #[serde(default)]
    pub usage: Usage,
}

/// A block, when it begins.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Text.
    Text {
        /// What is there of it.
        #[serde(default)]
        text: String,
    },
    /// A call of a tool.
    ToolUse {
        /// Its id, for the result.
        id: String,
        /// The tool.
        name: String,
        /// Its input, as far as it is there: mostly empty.
        #[serde(default)]
        input: Map<String, Value>,
    },
    /// What the model thinks, or a summary of it.
    Thinking {
        /// What is there of it.
        #[serde(default)]
        thinking: String,
    },
    /// What the model thinks, unreadable.
    RedactedThinking,
    /// A block that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What comes to a block.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delta {
    /// Text.
    TextDelta {
        /// To append.
        text: String,
    },
    /// Input of a tool.
    InputJsonDelta {
        /// A piece of JSON, cut anywhere.
        partial_json: String,
    },
    /// Thinking.
    ThinkingDelta {
        /// To append.
        thinking: String,
    },
    /// The proof that goes with thinking.
    SignatureDelta,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What a `message_delta` changes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct MessageDelta {
    /// Why the message ended; `None`: it has not.
    #[serde(default)]
    pub stop_reason: Option<String>,
}

/// The error in an `error` event.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StreamError {
    /// Its kind, as in an error's body.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub message: String,
}

//! What an event of the Messages API says, as far as a call acts on it.

use claude_code_api_wire::{
    StopReason,
    anthropic::{self, Block, Delta, RawEvent},
};

use super::{Event, Hides, Said};
use crate::{price::Terms, usage::Usage};

/// Reads the events of one message, in order.
#[derive(Debug, Default)]
pub struct Reader {
    usage: anthropic::Usage,
    started: bool,
    /// A tool is being called.
    calls_tool: bool,
}

/// An event that ends a message without completing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is none, or not in its place.
    Garbage,
    /// The error that the upstream names.
    Error {
        /// Its kind.
        kind: String,
        /// What it says.
        message: String,
    },
}

impl Reader {
    /// What is known of the usage until now; `None` before the message has begun.
    pub fn usage(&self) -> Option<Usage> {
        self.started.then(|| usage(&self.usage))
    }

    /// Reads the next event.
    ///
    /// # Errors
    /// The message does not go on after it.
    pub fn read(&mut self, raw: RawEvent) -> Result<Event, Broken> {
        let event = match serde_json::from_str(&raw.data) {
            Ok(event) => event,
            // An event of a kind that is not known may look like anything, as long as it is JSON.
            Err(_) if is_unknown(&raw) => anthropic::Event::Unknown,
            Err(_) => return Err(Broken::Garbage),
        };
        let said = self.said(event)?;
        Ok(Event { said, raw })
    }

    fn said(&mut self, event: anthropic::Event) -> Result<Said, Broken> {
        use anthropic::Event as Is;
        let of_message = !matches!(event, Is::MessageStart { .. } | Is::Ping | Is::Unknown | Is::Error { .. });
        if of_message && !self.started {
            return Err(Broken::Garbage);
        }
        Ok(match event {
            Is::MessageStart { .. } if self.started => return Err(Broken::Garbage),
            Is::MessageStart { message } => {
                self.started = true;
                self.usage = message.usage;
                Said::Start { model_id: message.model, usage: usage(&self.usage), terms: terms(&self.usage) }
            }
            Is::ContentBlockStart { content_block, .. } => {
                self.calls_tool = matches!(content_block, Block::ToolUse { .. });
                block(content_block)
            }
            Is::ContentBlockDelta { delta, .. } => piece(delta),
            Is::MessageDelta { delta, usage } => self.message_delta(delta.stop_reason, usage),
            Is::MessageStop => Said::End,
            Is::ContentBlockStop { .. } if std::mem::take(&mut self.calls_tool) => {
                Said::Content { bytes: 0, hides: Hides::Nothing }
            }
            Is::ContentBlockStop { .. } | Is::Ping | Is::Unknown => Said::Aside,
            Is::Error { error } => return Err(Broken::Error { kind: error.kind, message: error.message }),
        })
    }

    fn message_delta(&mut self, stop_reason: Option<String>, later: anthropic::Usage) -> Said {
        let is_counted = later.output_tokens.is_some();
        self.usage.update(later);
        let Some(word) = stop_reason else { return Said::Aside };
        let (usage, terms) = (usage(&self.usage), terms(&self.usage));
        Said::Stop { stop_reason: StopReason::parse(&word), usage, terms, is_counted }
    }
}

fn is_unknown(raw: &RawEvent) -> bool {
    const KNOWN: [&str; 8] = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    ];
    let json = serde_json::from_str::<serde_json::Value>(&raw.data);
    let named = json.as_ref().ok().map(|json| json["type"].as_str().unwrap_or(&raw.name));
    named.is_some_and(|name| !KNOWN.contains(&name))
}

fn block(block: Block) -> Said {
    match block {
        Block::Text { text } if text.is_empty() => Said::Aside,
        Block::Text { text } => Said::Text(text),
        Block::ToolUse { name, .. } => Said::Content { bytes: name.len(), hides: Hides::Now },
        Block::Thinking { thinking } => Said::Content { bytes: thinking.len(), hides: Hides::ForGood },
        Block::RedactedThinking | Block::Unknown => Said::Content { bytes: 0, hides: Hides::ForGood },
    }
}

fn piece(delta: Delta) -> Said {
    match delta {
        Delta::TextDelta { text } if text.is_empty() => Said::Aside,
        Delta::TextDelta { text } => Said::Text(text),
        Delta::InputJsonDelta { partial_json } => Said::Content { bytes: partial_json.len(), hides: Hides::Now },
        Delta::ThinkingDelta { thinking } => Said::Content { bytes: thinking.len(), hides: Hides::ForGood },
        Delta::SignatureDelta | Delta::Unknown => Said::Content { bytes: 0, hides: Hides::ForGood },
    }
}

/// Tokens as they are counted here: the input's are all of them.
pub(super) fn usage(counted: &anthropic::Usage) -> Usage {
    let written = counted.cache_creation_input_tokens.unwrap_or(0);
    let an_hour = counted.cache_creation.map_or(0, |of| of.ephemeral_1h_input_tokens).min(written);
    let read = counted.cache_read_input_tokens.unwrap_or(0);
    Usage {
        input_tokens: counted.input_tokens.unwrap_or(0).saturating_add(written).saturating_add(read),
        output_tokens: counted.output_tokens.unwrap_or(0),
        cache_write_5m_tokens: written - an_hour,
        cache_write_1h_tokens: an_hour,
        cache_read_tokens: read,
    }
}

/// How a call is served, as far as its usage says so.
pub(super) fn terms(counted: &anthropic::Usage) -> Terms {
    let is = |value: &Option<String>, known: &[&str]| value.as_deref().is_none_or(|value| known.contains(&value));
    let tools = counted.server_tool_use.iter().flat_map(|tools| tools.values());
    Terms {
        fast: counted.speed.as_deref() == Some("fast"),
        in_us: counted.inference_geo.as_deref() == Some("us"),
        batch: counted.service_tier.as_deref() == Some("batch"),
        unknown: !is(&counted.service_tier, &["standard", "batch"])
            || !is(&counted.inference_geo, &["global", "not_available", "us"])
            || !is(&counted.speed, &["standard", "fast"])
            || counted.iterations.as_ref().is_some_and(|iterations| iterations.len() > 1)
            || tools.into_iter().any(|count| count.as_u64() != Some(0)),
    }
}

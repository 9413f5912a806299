//! What the router reads of a request: what the user said last, what the user said before, and what there is besides.

use std::borrow::Cow;

use claude_code_api_router::Facts;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{backend::Asked, call::Request, project::ProjectId};

/// A conversation, as far as the router reads it.
pub(super) struct Conversation<'a> {
    /// What the user said, the last at the end. What tools answered is not among it.
    pub(super) said: Vec<Cow<'a, str>>,
    pub(super) has_images: bool,
    /// Whether any of it was answered.
    is_answered: bool,
}

/// What a conversation is known by.
pub(in crate::call) type ConversationKey = [u8; 32];

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

impl<'a> Conversation<'a> {
    /// Reads what can be read of it; what cannot will be refused by whoever is asked.
    pub(super) fn of(asked: &'a Asked) -> Self {
        let mut conversation = Self { said: Vec::new(), has_images: false, is_answered: false };
        let turns = asked.fields.get("messages").map(|turns| serde_json::from_str::<Vec<Turn<'_>>>(turns.get()));
        for turn in turns.and_then(Result::ok).unwrap_or_default() {
            conversation.hear(&turn);
        }
        conversation
    }

    fn hear(&mut self, turn: &Turn<'a>) {
        let text = match serde_json::from_str::<Cow<'a, str>>(turn.content.get()) {
            Ok(text) => text,
            Err(_) => self.hear_blocks(turn.content),
        };
        if turn.role == "user" && !text.trim().is_empty() {
            self.said.push(text);
        }
        self.is_answered |= turn.role == "assistant";
    }

    /// Whether a model has had a part in it: where tools are used, while what the user has said is still the first.
    pub(super) fn goes_on(&self) -> bool {
        self.is_answered || self.said.len() > 1
    }

    fn hear_blocks(&mut self, content: &'a RawValue) -> Cow<'a, str> {
        let blocks: Vec<Block<'a>> = serde_json::from_str(content.get()).unwrap_or_default();
        self.has_images |= blocks.iter().any(|block| block.kind == "image" || block.kind == "document");
        let texts: Vec<&str> = blocks.iter().filter(|block| block.kind == "text").map(|block| &*block.text).collect();
        Cow::Owned(texts.join("\n"))
    }

    /// What is known of the request beside what was said in it. `input_bytes`: of all of it.
    pub(super) fn facts(&self, request: &Request, input_bytes: i64) -> Facts {
        /// Of English text; others have fewer.
        const BYTES_PER_TOKEN: u64 = 4;
        let fields = &request.asked.fields;
        Facts {
            input_tokens: input_bytes.cast_unsigned() / BYTES_PER_TOKEN,
            turn: u32::try_from(self.said.len()).unwrap_or(u32::MAX),
            has_tools: fields.get("tools").is_some_and(|tools| tools.get() != "[]"),
            has_images: self.has_images,
            output_max: request.max_tokens.map(u64::from),
            thinking: fields.get("thinking").is_some_and(|thinking| !thinking.get().contains("\"disabled\"")),
        }
    }

    /// What it is known by: what the caller knows it by, else its beginning.
    pub(super) fn key(&self, project: &ProjectId, request: &Request) -> ConversationKey {
        let mut hash = Sha256::new();
        let mut put = |part: &str| {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        };
        put(project.as_str());
        let named = request.auto.conversation.as_deref();
        put(named.unwrap_or_default());
        if named.is_none() {
            put(request.asked.fields.get("system").map_or("", RawValue::get));
            put(self.said.first().map_or("", |text| text));
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use claude_code_api_wire::Fields;
    use serde_json::{Value, json};

    use super::*;

    fn asked(messages: &Value) -> Asked {
        let mut fields = Fields::default();
        fields.set("messages", messages);
        Asked { fields, ..Asked::default() }
    }

    #[test]
    fn what_the_user_said_is_read_in_any_form_and_what_tools_answered_is_not() {
        let cases = [
            (json!([{"role": "user", "content": "one"}]), vec!["one"], false),
            (
                json!([
                    {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image", "source": {}}, {"type": "text", "text": "\u{e4}"}]},
                    {"role": "assistant", "content": "no"},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "no"}]},
                ]),
                vec!["see\n\u{e4}"],
                true,
            ),
            (
                json!([{"role": "user", "content": 7}, {"role": "user", "content": "\"quoted\" \\"}]),
                vec!["\"quoted\" \\"],
                false,
            ),
            (json!("no conversation"), vec![], false),
            (json!([{"role": "user"}]), vec![], false),
        ];
        for (messages, said, has_images) in cases {
            let asked = asked(&messages);
            let read = Conversation::of(&asked);
            assert_eq!(
                (read.said, read.has_images),
                (said.into_iter().map(Cow::from).collect(), has_images),
                "{messages}"
            );
        }
    }
}

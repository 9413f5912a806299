//! The bound on a call's input: what it can be at most, in tokens, before anything has counted it.
//!
//! A token is at least one byte of text, so that the text's UTF-8 bytes bound it from above; a template adds to that.

use super::Request;

/// What a chat template adds to a conversation: its own words, a default system prompt among them. Measured: 31 tokens for the
/// embedded model; Claude's documentation names single figures for plain text.
const CONVERSATION_TOKENS: usize = 128;

/// What a chat template adds to a message.
const MESSAGE_TOKENS: usize = 16;

/// The most tokens that the input of this call can be.
pub(super) fn input_tokens(request: &Request) -> i64 {
    let texts = request.messages.iter().map(|message| message.content.len() + MESSAGE_TOKENS);
    let system = request.system.as_ref().map_or(0, |system| system.len() + MESSAGE_TOKENS);
    i64::try_from(texts.sum::<usize>() + system + CONVERSATION_TOKENS).unwrap_or(i64::MAX)
}

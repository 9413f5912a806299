//! The bound on a call's input: what it can be at most, in tokens.
//!
//! A token is at least one byte of text, so that the text's UTF-8 bytes bound it from above; a template adds to that. Where that
//! is too much, or where it would be priced at a dearer band, the backend counts.

use claude_code_api_wire::Message;
use futures_util::future::join_all;

use super::{Request, route::Routed};
use crate::app::App;

/// What a chat template adds to a conversation: its own words, a default system prompt among them. Measured: 31 tokens for the
/// embedded model; Claude's documentation names single figures for plain text.
const CONVERSATION_TOKENS: usize = 128;

/// What a chat template adds to a message.
const MESSAGE_TOKENS: usize = 16;

/// The most tokens that the input of this call can be, without counting them.
pub(super) fn by_bytes(request: &Request) -> i64 {
    let texts = request.messages.iter().map(|message: &Message| message.content.len() + MESSAGE_TOKENS);
    let system = request.system.as_ref().map_or(0, |system| system.len() + MESSAGE_TOKENS);
    i64::try_from(texts.sum::<usize>() + system + CONVERSATION_TOKENS).unwrap_or(i64::MAX)
}

/// Puts a count in the place of the bound by bytes, for every target. Where counting fails, that bound stands.
pub(super) async fn count(app: &App, request: &Request, routed: &mut Routed) {
    routed.is_counted = true;
    let counting = routed.targets.iter().map(|target| {
        let (model_id, max_tokens) = (&target.offer.model_id, target.offer.max_tokens_default);
        target.backend.count(model_id, request.prompt(max_tokens))
    });
    let counts = join_all(counting).await;
    for (target, counted) in routed.targets.iter_mut().zip(counts) {
        let counted = counted.and_then(|tokens| i64::try_from(tokens).ok());
        if let Some(tokens) = counted.filter(|tokens| *tokens < target.input_tokens) {
            target.bounded(app, tokens);
        }
    }
}

//! From a conversation to tokens, in the model's own chat template. What callers wrote is tokenized without special
//! tokens, so that a typed `<|im_end|>` cannot forge a turn.

use claude_code_api_wire::{Message, Role};
use llama_cpp_2::{
    model::{LlamaChatMessage, LlamaModel},
    token::LlamaToken,
};

/// Sent when the caller gives no system text: with the default of its own template the embedded model babbles.
const SYSTEM_DEFAULT: &str = "You are a helpful assistant.";

/// Characters for private use, as brackets round the number of a message: what the template is rendered with in place of
/// the messages themselves, which could look like a part of it.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// The tokens of a conversation, up to where the model's next turn begins. The error says what the model cannot do.
pub(super) fn tokens(
    model: &LlamaModel,
    system: Option<&str>,
    messages: &[Message],
) -> Result<Vec<LlamaToken>, String> {
    let contents: Vec<&str> = std::iter::once(system.unwrap_or(SYSTEM_DEFAULT))
        .chain(messages.iter().map(|message| message.content.as_str()))
        .collect();
    let rendered = render(model, messages)?;
    let vocab = model.vocab();
    let mut tokens = Vec::new();
    let mut pieces = rendered.split(OPEN);
    vocab.tokenize_into(pieces.next().unwrap_or_default().as_bytes(), &mut tokens, true, true);
    for piece in pieces {
        let (number, template) = piece.split_once(CLOSE).ok_or("its chat template cannot be used")?;
        let content = number.parse().ok().and_then(|number: usize| contents.get(number));
        let content = content.ok_or("its chat template cannot be used")?;
        vocab.tokenize_into(content.as_bytes(), &mut tokens, false, false);
        vocab.tokenize_into(template.as_bytes(), &mut tokens, false, true);
    }
    Ok(tokens)
}

/// The template, with the number of each message in its place.
fn render(model: &LlamaModel, messages: &[Message]) -> Result<String, String> {
    let template = model.chat_template(None).map_err(|_| "it has no chat template")?;
    let roles = std::iter::once("system").chain(messages.iter().map(|message| match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }));
    let chat = roles.enumerate().map(|(number, role)| {
        LlamaChatMessage::new(role.to_owned(), format!("{OPEN}{number}{CLOSE}")).expect("neither holds a NUL")
    });
    let chat: Vec<_> = chat.collect();
    model
        .apply_chat_template(&template, &chat, true)
        .map_err(|error| format!("its chat template cannot be used: {error}"))
}

//! The OpenAI dialect: Chat Completions at the edge, Anthropic's Messages inside.
//!
//! [`decode`] turns a body of `POST /v1/chat/completions` into the fields of a Messages request; [`completion`] and
//! [`ChunkWriter`] turn what Claude answered back into what OpenAI's SDKs read; [`error`] does the same for failures.
//! Nothing is dropped silently: what Claude cannot honour is [`Invalid`], and names its place in the body.

mod content;
mod error;
mod field;
mod messages;
mod older;
mod options;
mod refused;
mod request;
mod response;
mod stream;
mod tools;

pub use error::error;
pub use older::{OlderResponse, is_older_dialect};
pub use request::{ChatRequest, Decoded, decode};
pub use response::{Bill, completion};
pub use stream::ChunkWriter;

/// What is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The place in the body, such as `messages[2].content[0].image_url.url`.
    pub field: String,
    /// For people: begins with the place and says what it takes.
    pub message: String,
}

impl Invalid {
    fn new(field: impl Into<String>, takes: impl std::fmt::Display) -> Self {
        let field = field.into();
        Self { message: format!("{field}: {takes}"), field }
    }
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Invalid {}

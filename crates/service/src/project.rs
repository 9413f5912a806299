//! Project: who pays for a call.

use std::sync::Arc;

/// Name of a project: 1 to 128 ASCII letters, digits, `.`, `_`, `-` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectId(Arc<str>);

/// The most bytes in a project's name.
const NAME_BYTES_MAX: usize = 128;

impl ProjectId {
    /// The project of callers that have none of their own.
    pub fn default_project() -> Self {
        Self("default".into())
    }

    /// Parses a name; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte));
        well_formed.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

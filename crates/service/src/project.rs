//! Project: who pays for a call.

/// Name of a project: 1 to 128 ASCII letters, digits, `.`, `_`, `-` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProjectId(String);

/// The most bytes in a project's name.
const NAME_BYTES_MAX: usize = 128;

impl ProjectId {
    /// The project of callers that have none of their own.
    pub fn default_project() -> Self {
        Self("default".to_owned())
    }

    /// Parses a name; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte));
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

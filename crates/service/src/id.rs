//! Ids: text, a prefix that says of what, and a UUID of version 7, so that they sort by time.

use uuid::Uuid;

/// Id of one call: `call_…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallId(String);

impl CallId {
    /// A new id.
    #[expect(clippy::new_without_default, reason = "every new id is another one")]
    pub fn new() -> Self {
        Self(format!("call_{}", Uuid::now_v7().simple()))
    }
}

impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Id of one HTTP request: `req_…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// A new id.
    #[expect(clippy::new_without_default, reason = "every new id is another one")]
    pub fn new() -> Self {
        Self(format!("req_{}", Uuid::now_v7().simple()))
    }

    /// The id as text: visible ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

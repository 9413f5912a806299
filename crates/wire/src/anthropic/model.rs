//! `GET /v1/models` in the Anthropic dialect.

use serde::{Deserialize, Serialize};

/// A model that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelInfo {
    /// Always `model`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What to ask for.
    pub id: String,
    /// Its name for people.
    pub display_name: String,
    /// When it came out, as far as that is known here; else 1970.
    pub created_at: String,
}

/// The models that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelList {
    /// The models, all on one page.
    pub data: Vec<ModelInfo>,
    /// Always false.
    pub has_more: bool,
    /// Id of the first.
    pub first_id: Option<String>,
    /// Id of the last.
    pub last_id: Option<String>,
}

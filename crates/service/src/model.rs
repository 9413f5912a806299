//! Model: what a caller may ask for.

pub use claude_code_api_router::Tier;

/// Every tier, the cheapest first.
pub const TIERS: [Tier; 3] = Tier::ALL;

/// The tier of this name.
pub fn tier(name: &str) -> Option<Tier> {
    TIERS.into_iter().find(|tier| tier.as_str() == name)
}

/// The model that a caller asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelChoice {
    /// The service chooses.
    Auto,
    /// A tier.
    Tier(Tier),
    /// A concrete model id. Whether a backend has it is known when the call is routed.
    Id(String),
}

impl ModelChoice {
    /// The choice as callers name it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Auto => "auto",
            Self::Tier(tier) => tier.as_str(),
            Self::Id(id) => id,
        }
    }
}

impl From<&str> for ModelChoice {
    fn from(name: &str) -> Self {
        match name {
            "auto" => Self::Auto,
            name => tier(name).map_or_else(|| Self::Id(name.to_owned()), Self::Tier),
        }
    }
}

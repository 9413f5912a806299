//! Limits: what a project may use.

use claude_code_api_wire::Routing;

use crate::{model::Tier, project::ProjectId, window::Period};

/// A project, as far as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub id: ProjectId,
    /// What it may use.
    pub limits: Limits,
    /// Whether its first call made it, without anybody having set it up.
    pub created_by_use: bool,
}

/// What a project may use. `None`: without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In a day, a week, a month: in the order of [`PERIODS`](crate::window::PERIODS).
    pub windows: [Limit; 3],
    /// Calls that may run at a time.
    pub calls_max: Option<u32>,
    /// Calls that may begin in a minute.
    pub requests_per_minute: Option<u32>,
    /// Whether `max_tokens` may be lowered to what the budget covers.
    pub clamp: Clamp,
    /// Whether calls that a subscription pays for may be made where money is limited and tokens are not.
    pub allow_notional: bool,
    /// What is gone by where the service chooses the model.
    pub auto: AutoTerms,
}

/// What a project has `auto` be. `None`: as the service has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoTerms {
    /// What may be lost to save money.
    pub routing: Option<Routing>,
    /// The least tier.
    pub tier_min: Option<Tier>,
    /// The most.
    pub tier_max: Option<Tier>,
}

impl Limits {
    /// The limit of windows of this length.
    pub fn of(&self, period: Period) -> Limit {
        self.windows[period as usize]
    }

    /// Whether calls may be made that cost no money: where only that is limited, nothing would limit them.
    pub(super) fn take_notional(&self) -> bool {
        let limits_money = self.windows.iter().any(|limit| limit.nanos.is_some());
        self.allow_notional || !limits_money || self.windows.iter().any(|limit| limit.tokens.is_some())
    }

    /// Whether tokens or money are limited in any window.
    pub fn any(&self) -> bool {
        self.windows.iter().any(|limit| limit.tokens.is_some() || limit.nanos.is_some())
    }
}

/// The most of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Tokens, in and out.
    pub tokens: Option<i64>,
    /// Nano-dollars.
    pub nanos: Option<i64>,
}

/// When `max_tokens` is lowered to what the budget still covers, down to 256, rather than the call refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clamp {
    /// Never.
    Never,
    /// When the caller set none.
    #[default]
    Unset,
    /// Whenever it has to be.
    Always,
}

impl Clamp {
    /// As it stands in JSON and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Unset => "unset",
            Self::Always => "always",
        }
    }

    /// Reads what [`Clamp::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Never, Self::Unset, Self::Always].into_iter().find(|clamp| clamp.as_str() == text)
    }
}

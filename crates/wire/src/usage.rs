//! `GET /v1/usage`: what a project has used; and what a refused call is told about its budget.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ErrorBody;

/// How long a window of a budget is. Windows are those of the calendar, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Period {
    /// A day.
    Day,
    /// An ISO week: it begins on Monday.
    Week,
    /// A month.
    #[default]
    Month,
}

impl Period {
    /// The period as it stands in JSON and in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// The answer of `GET /v1/usage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct UsageReport {
    /// The project, by its real name.
    pub project_id: String,
    /// The window's length.
    pub period: Period,
    /// Tokens in and out, settled.
    pub total_tokens: i64,
    /// USD, for people. `total_cost_nanos` is the exact figure.
    pub total_cost: f64,
    /// Nano-dollars.
    pub total_cost_nanos: i64,
    /// The same by model.
    pub by_model: BTreeMap<String, ModelUsage>,
    /// The most tokens in this window; `null`: without limit.
    pub limit: Option<i64>,
    /// Tokens that are left of `limit`, what is held left out.
    pub remaining: Option<i64>,
    /// The most USD in this window; `null`: without limit.
    pub cost_limit: Option<f64>,
    /// USD that are left of `cost_limit`, what is held left out.
    pub cost_remaining: Option<f64>,
    /// Tokens that running calls hold: their worst cases.
    pub held_tokens: i64,
    /// USD that calls on a subscription would have cost.
    #[serde(default)]
    pub notional_cost: f64,
    /// First moment of the window, RFC 3339, UTC.
    pub period_start: String,
    /// First moment after it.
    pub period_end: String,
}

/// What one model was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct ModelUsage {
    /// Tokens in and out.
    pub tokens: i64,
    /// USD, for people.
    pub cost: f64,
    /// Nano-dollars.
    pub cost_nanos: i64,
    /// Tokens in.
    pub input_tokens: i64,
    /// Tokens out.
    pub output_tokens: i64,
    /// Entries.
    pub requests: i64,
}

/// What `budget_exceeded` says of the budget, beside code and message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct BudgetState {
    /// What the figures below count.
    pub unit: BudgetUnit,
    /// The window; absent: the call's own `max_cost` was the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// The limit.
    pub limit: f64,
    /// What is spent of it.
    pub used: f64,
    /// What running calls hold of it.
    pub held: f64,
    /// What neither counts.
    pub remaining: f64,
    /// When the window ends, RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<String>,
}

/// Tokens or money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum BudgetUnit {
    /// Tokens.
    Tokens,
    /// US dollars.
    Usd,
}

impl ErrorBody {
    /// The budget, where the error is about one.
    pub fn budget(&self) -> Option<BudgetState> {
        serde_json::from_value(serde_json::Value::Object(self.extra.clone())).ok()
    }
}

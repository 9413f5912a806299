//! `/v1/projects` and `/v1/keys`: management, for admin keys; and what an operator sees of the ledger.

use serde::{Deserialize, Deserializer, Serialize};

use crate::Routing;

/// A project and what it may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Project {
    /// Its name.
    pub id: String,
    /// What it may use.
    pub limits: ProjectLimits,
    /// Whether its first call made it, without anybody having set it up.
    pub created_by_use: bool,
}

/// What a project may use; `null` is without limit. Windows are those of the calendar, in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectLimits {
    /// Tokens a day, in and out.
    pub tokens_per_day: Option<i64>,
    /// Tokens a week, from Monday on.
    pub tokens_per_week: Option<i64>,
    /// Tokens a month.
    pub tokens_per_month: Option<i64>,
    /// USD a day, exact to the nano-dollar.
    pub usd_per_day: Option<f64>,
    /// USD a week.
    pub usd_per_week: Option<f64>,
    /// USD a month.
    pub usd_per_month: Option<f64>,
    /// Calls that may begin in a minute.
    pub requests_per_minute: Option<u32>,
    /// Calls that may run at a time.
    pub calls_max: Option<u32>,
    /// When `max_tokens` is lowered to what the budget covers.
    pub clamp: Clamp,
    /// Whether calls that a subscription pays for may be made where only money is limited, which they cost none of.
    #[serde(default)]
    pub allow_notional: bool,
    /// What `auto` may lose to save money; `null` is as the service has it.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub routing: Option<Routing>,
    /// The least tier that `auto` picks: `haiku`, `sonnet` or `opus`.
    #[serde(default)]
    pub tier_min: Option<String>,
    /// The strongest tier that `auto` picks.
    #[serde(default)]
    pub tier_max: Option<String>,
}

/// The body of `PUT /v1/projects/{id}`. What is not there stays as it is; `null` removes a limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a JSON object")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectChange {
    /// Tokens a day, in and out.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<Option<i64>>,
    /// Tokens a week, from Monday on.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tokens_per_week: Option<Option<i64>>,
    /// Tokens a month.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tokens_per_month: Option<Option<i64>>,
    /// USD a day.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub usd_per_day: Option<Option<f64>>,
    /// USD a week.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub usd_per_week: Option<Option<f64>>,
    /// USD a month.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub usd_per_month: Option<Option<f64>>,
    /// Calls that may begin in a minute.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<Option<u32>>,
    /// Calls that may run at a time.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub calls_max: Option<Option<u32>>,
    /// When `max_tokens` is lowered to what the budget covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<Clamp>,
    /// Whether calls that a subscription pays for may be made where only money is limited, which they cost none of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_notional: Option<bool>,
    /// What `auto` may lose to save money.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub routing: Option<Option<Routing>>,
    /// The least tier that `auto` picks: `haiku`, `sonnet` or `opus`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tier_min: Option<Option<String>>,
    /// The strongest tier that `auto` picks.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tier_max: Option<Option<String>>,
}

/// Tells `null` from a field that is not there.
#[expect(clippy::option_option, reason = "not there, null, a value: three states")]
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// When `max_tokens` is lowered to what the budget still covers, down to 256, rather than the call refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Clamp {
    /// Never.
    Never,
    /// When the caller set none.
    #[default]
    Unset,
    /// Whenever it has to be.
    Always,
}

/// The answer of `GET /v1/projects`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectList {
    /// Every project, by name.
    pub projects: Vec<Project>,
}

/// The body of `POST /v1/keys`. Exactly one of `project_id` and `admin` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a JSON object")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyRequest {
    /// What to call it, at most 128 characters; for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The project that it spends for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Whether it is to be an admin key: for every project, and for management.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    /// Seconds until it is refused. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A key, as far as it is known once it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Key {
    /// Its id, `key_…`: no secret.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its last four characters.
    pub hint: String,
    /// The project that it spends for; `null`: an admin key.
    pub project_id: Option<String>,
    /// Whether it is an admin key.
    pub admin: bool,
    /// When it was made, RFC 3339, UTC.
    pub created_at: String,
    /// From when on it is refused.
    pub expires_at: Option<String>,
    /// Since when it is refused, by hand.
    pub revoked_at: Option<String>,
}

/// The answer of `POST /v1/keys`: the only time that the key itself is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewKey {
    /// The key itself, `ccak_…`: a secret. The service keeps only its hash.
    pub key: String,
    /// What is known of it from now on.
    #[serde(flatten)]
    pub about: Key,
}

/// The answer of `GET /v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyList {
    /// Every key that was ever made, oldest first.
    pub keys: Vec<Key>,
}

/// Whether the counters are the sums of their entries, as an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerReport {
    /// Entries that were added up.
    pub entries: u64,
    /// Those of them that are estimates, not below the truth.
    pub estimated: u64,
    /// Those of them that came to more than was held: none, unless a bound was wrong.
    pub overruns: u64,
    /// Tokens that they add up to.
    pub tokens: i64,
    /// Nano-dollars that they add up to.
    pub cost_nanos: i64,
    /// Reservations that are open.
    pub reservations: u64,
    /// Every counter that is not the sum it should be, in words; empty when all is right.
    pub differences: Vec<String>,
}

/// One row of the ledger, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Its id, `entry_…`.
    pub id: String,
    /// The call that it was an attempt of.
    pub call_id: String,
    /// Who paid.
    pub project_id: String,
    /// The model as callers see it.
    pub model: String,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Nano-dollars.
    pub cost_nanos: i64,
    /// Nano-dollars that it would have cost, where a subscription has paid for it.
    #[serde(default)]
    pub notional_cost_nanos: i64,
    /// Whether the backend said what was used; else it is an estimate, not below the truth.
    pub exact: bool,
    /// Whether it was charged at the dearest known price, as what ran has none of its own.
    #[serde(default)]
    pub unpriced: bool,
    /// Whether it was admitted without a bound, as a project without limits may be.
    #[serde(default)]
    pub unbounded: bool,
    /// How the attempt ended: `complete`, `failed`, `aborted` or `orphaned`.
    pub ended: String,
    /// Who settled it: `call`, `recovery` or `correction`.
    pub settled_by: String,
    /// When, RFC 3339, UTC.
    pub settled_at: String,
}

/// Entries of the ledger, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntries {
    /// The entries.
    pub entries: Vec<LedgerEntry>,
}

/// What an estimated entry really came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub struct LedgerCorrection {
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Nano-dollars.
    pub cost_nanos: i64,
}

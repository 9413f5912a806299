//! `GET /health`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The answer of `GET /health`: 200 for as long as the service answers at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct Health {
    /// The service as a whole.
    pub status: HealthStatus,
    /// Version of the service.
    pub version: String,
    /// What it stands on, by name.
    pub services: BTreeMap<String, ServiceHealth>,
}

/// The state of the service as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HealthStatus {
    /// Everything works.
    Ok,
    /// Something does not; calls may fail.
    Degraded,
    /// Shutting down: running calls are finished, new ones are refused.
    Draining,
    /// A status that a newer service has and this version does not know.
    #[serde(other)]
    Unknown,
}

/// One thing that the service stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct ServiceHealth {
    /// Whether it works.
    pub status: ServiceStatus,
    /// What is to be known about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether a part works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ServiceStatus {
    /// It works.
    Ok,
    /// It does not.
    Down,
    /// A status that a newer service has and this version does not know.
    #[serde(other)]
    Unknown,
}

//! Step 1 of 7: who calls. There are no keys yet, so that every caller is the default project's.

use axum::{extract::FromRequestParts, http::request::Parts};

use super::error::ApiError;
use crate::{call::Caller, project::ProjectId};

impl Caller {
    /// The caller as it acts for the project that the request names. `default`, or none, means the caller's own.
    pub(super) fn acting_for(self, project_id: Option<&str>) -> Result<Self, ApiError> {
        match project_id {
            None | Some("default") => Ok(self),
            Some(name) => match ProjectId::parse(name) {
                Some(project) => Ok(Self { project }),
                None => Err(ApiError::invalid(
                    "project_id",
                    "project_id: takes 1 to 128 ASCII letters, digits, '.', '_', '-' and ':'",
                )),
            },
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Ok(Self { project: ProjectId::default_project() })
    }
}

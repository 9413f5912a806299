//! Step 1 of 7: who calls.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
};

use super::error::ApiError;
use crate::{
    app::App,
    call::Caller,
    directory::Directory,
    key::{Key, KeyHash, Scope},
    project::ProjectId,
    window::Moment,
};

/// A request that came through the operator's own door, to which nobody else has the key: the file system has seen to that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator;

/// Who calls, before it is known for which project.
pub(super) enum Authenticated {
    /// Anyone: there are no keys.
    Open,
    /// The holder of an admin key, or the operator.
    Admin,
    /// The holder of a project's key.
    Project(ProjectId),
}

impl Authenticated {
    /// The caller as it acts for the project that the request names. `default`, or none, means the caller's own.
    pub(super) fn acting_for(self, app: &App, project_id: Option<&str>) -> Result<Caller, ApiError> {
        let named = project_id.filter(|name| *name != "default").map(project).transpose()?;
        let (own, makes_project) = match self {
            Self::Open => (ProjectId::default_project(), true),
            Self::Admin => (ProjectId::default_project(), app.directory().is_open()),
            Self::Project(own) if named.as_ref().is_none_or(|named| *named == own) => {
                return Ok(Caller { project: own, makes_project: false });
            }
            Self::Project(own) => {
                let message = format!("the key is of project {}; leave project_id out, or use its key", own.as_str());
                return Err(ApiError::forbidden(message));
            }
        };
        Ok(Caller { project: named.unwrap_or(own), makes_project })
    }

    /// Whether what belongs to this project may be seen and changed.
    pub(super) fn may_act_for(&self, project: &ProjectId) -> bool {
        match self {
            Self::Open | Self::Admin => true,
            Self::Project(own) => own == project,
        }
    }
}

/// The project of this name.
pub(super) fn project(name: &str) -> Result<ProjectId, ApiError> {
    let shape = "project_id: takes 1 to 128 ASCII letters, digits, '.', '_', '-' and ':'";
    ProjectId::parse(name).ok_or_else(|| ApiError::invalid("project_id", shape))
}

impl FromRequestParts<Arc<App>> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        if parts.extensions.get::<Operator>().is_some() {
            return Ok(Self::Admin);
        }
        let directory = app.directory();
        if directory.is_open() {
            return Ok(Self::Open);
        }
        let key = known(&directory, shown(&parts.headers)?, Moment::of_system())?;
        Ok(match &key.scope {
            Scope::Admin => Self::Admin,
            Scope::Project(_) if !app.limits().project_keys => return Err(of_the_operator_alone()),
            Scope::Project(project) => Self::Project(project.clone()),
        })
    }
}

/// Why keys of projects are neither made nor let in.
pub(super) fn of_the_operator_alone() -> ApiError {
    ApiError::forbidden(
        "the service runs on its operator's own login of Claude Code, which is not for others by Anthropic's terms, so that projects \
         have no keys; use keys of the Messages API, or set claude_code_login_shared (see docs/claude-code.md)",
    )
}

/// The key that a request shows.
fn shown(headers: &HeaderMap) -> Result<&str, ApiError> {
    let bearer = headers.get(AUTHORIZATION).map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    // As the API does: where both are there, `x-api-key` counts, if it is one of ours at all.
    let own = headers.get("x-api-key").map(|value| value.to_str().ok());
    let is_ours = |key: &Option<Option<&str>>| key.flatten().is_some_and(Key::is_well_formed);
    let key = [own, bearer].into_iter().find(is_ours).unwrap_or(own.or(bearer));
    match key {
        Some(Some(key)) if Key::is_well_formed(key) => Ok(key),
        Some(_) => Err(ApiError::unauthenticated(
            "the key is not one of this service: send Authorization: Bearer ccak_…, the whole key as it was shown once",
        )),
        None => Err(ApiError::unauthenticated(
            "no key: send Authorization: Bearer ccak_…; `claude-code-api key create` makes one",
        )),
    }
}

fn known<'a>(directory: &'a Directory, shown: &str, now: Moment) -> Result<&'a Key, ApiError> {
    let key = directory.key(KeyHash::of(shown)).ok_or_else(|| {
        ApiError::unauthenticated("the key is not known here; `claude-code-api key list` shows which there are")
    })?;
    if let Some(at) = key.revoked_at {
        return Err(ApiError::unauthenticated(format!("the key {} was revoked at {}", key.id, at.rfc3339())));
    }
    match key.expires_at {
        Some(at) if at <= now => {
            Err(ApiError::unauthenticated(format!("the key {} has expired at {}", key.id, at.rfc3339())))
        }
        _ => Ok(key),
    }
}

/// A caller who may manage the service.
pub(super) struct Admin;

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match Authenticated::from_request_parts(parts, app).await? {
            Authenticated::Admin => Ok(Self),
            Authenticated::Project(_) => Err(ApiError::forbidden("takes an admin key; this one is a project's")),
            Authenticated::Open => Err(ApiError::forbidden(
                "takes an admin key, and there are no keys yet; make the first with `claude-code-api key create --admin`",
            )),
        }
    }
}

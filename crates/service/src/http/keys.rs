//! `/v1/keys`: who is let in.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use claude_code_api_wire::{self as wire, ErrorEnvelope, KeyList, KeyRequest, NewKey};
use secrecy::ExposeSecret;

use super::{
    auth::{Admin, of_the_operator_alone, project as named},
    body,
    error::ApiError,
    path::Named,
};
use crate::{
    app::App,
    id::KeyId,
    key::{Key, Scope},
    window::Moment,
};

const NAME_CHARS_MAX: usize = 128;

/// A century: what lives longer does not expire.
const EXPIRES_IN_MAX_S: u64 = 100 * 366 * 86_400;

/// Every key that was ever made, without the keys themselves.
#[utoipa::path(
    get, path = "/v1/keys",
    responses(
        (status = 200, body = KeyList),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn list(_: Admin, State(app): State<Arc<App>>) -> Result<Json<KeyList>, ApiError> {
    app.refresh_directory().await?;
    Ok(Json(KeyList { keys: app.directory().keys().into_iter().map(about).collect() }))
}

/// Make a key.
///
/// The answer shows it, this once.
#[utoipa::path(
    post, path = "/v1/keys", request_body = KeyRequest,
    responses(
        (status = 201, body = NewKey),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn create(_: Admin, State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let asked: KeyRequest = body::json(request, app.limits().body_bytes_max).await?;
    let scope = scope(&app, &asked).await?;
    let name = asked.name.unwrap_or_default();
    if name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let message = format!("name: takes at most {NAME_CHARS_MAX} characters, none of them a control character");
        return Err(ApiError::invalid("name", message));
    }
    let now = Moment::of_system();
    let (key, secret) = Key::new(name, scope, now, expires_at(now, asked.expires_in)?);
    app.store().add_key(key.clone()).await?;
    app.refresh_directory().await?;
    let new = NewKey { key: secret.expose_secret().to_owned(), about: about(&key) };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(new)).into_response())
}

/// Revoke a key.
///
/// Within a second every replica refuses it. Running calls go on.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", params(("id" = String, Path, description = "The key's id, `key_…`.")),
    responses(
        (status = 200, body = wire::Key),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn revoke(
    _: Admin,
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<Json<wire::Key>, ApiError> {
    let none = || ApiError::not_found("there is no key of this id; `claude-code-api key list` shows which there are");
    let id = KeyId::parse(&id).ok_or_else(none)?;
    let key = app.store().revoke_key(id, Moment::of_system()).await?.ok_or_else(none)?;
    app.refresh_directory().await?;
    Ok(Json(about(&key)))
}

async fn scope(app: &App, asked: &KeyRequest) -> Result<Scope, ApiError> {
    let project = match (&asked.project_id, asked.admin) {
        (None, true) => return Ok(Scope::Admin),
        (Some(_), false) if !app.limits().project_keys => return Err(of_the_operator_alone()),
        (Some(project), false) => named(project)?,
        _ => {
            let message = "project_id: takes the project that the key is of; or send \"admin\": true, and not both";
            return Err(ApiError::invalid("project_id", message));
        }
    };
    if project.as_str() == "default" {
        let message =
            "project_id: a key's own project cannot be called default, as that word means the key's own project";
        return Err(ApiError::invalid("project_id", message));
    }
    if app.store().project(project.clone()).await?.is_none() {
        return Err(ApiError::no_project(&project));
    }
    Ok(Scope::Project(project))
}

fn expires_at(now: Moment, seconds: Option<u64>) -> Result<Option<Moment>, ApiError> {
    let Some(seconds) = seconds else { return Ok(None) };
    if !(1..=EXPIRES_IN_MAX_S).contains(&seconds) {
        let message =
            format!("expires_in: takes 1 to {EXPIRES_IN_MAX_S} seconds; leave it out for a key that does not expire");
        return Err(ApiError::invalid("expires_in", message));
    }
    Ok(Some(Moment(now.0 + seconds.cast_signed() * 1_000)))
}

fn about(key: &Key) -> wire::Key {
    let project_id = match &key.scope {
        Scope::Admin => None,
        Scope::Project(project) => Some(project.as_str().to_owned()),
    };
    wire::Key {
        id: key.id.to_string(),
        name: key.name.clone(),
        hint: key.hint.clone(),
        admin: project_id.is_none(),
        project_id,
        created_at: key.created_at.rfc3339(),
        expires_at: key.expires_at.map(Moment::rfc3339),
        revoked_at: key.revoked_at.map(Moment::rfc3339),
    }
}

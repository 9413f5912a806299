//! `GET /v1/models`: what can be asked for, in Anthropic's shape for who says which version of its API is meant, else in OpenAI's.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use claude_code_api_wire::anthropic::{ModelInfo, ModelList};
use serde_json::{Value, json};

use super::{auth::Authenticated, error::ApiError, path::Named};
use crate::{app::App, model::ModelChoice};

/// List the models that can be asked for.
#[utoipa::path(
    get, path = "/v1/models",
    responses((status = 200, description = "With an `anthropic-version` header as Anthropic lists them, else as OpenAI does.", body = ModelList)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, _: Authenticated, headers: HeaderMap) -> Response {
    let names = names(&app);
    if !headers.contains_key("anthropic-version") {
        let data: Vec<Value> = names.iter().map(|name| for_openai(name)).collect();
        return Json(json!({"object": "list", "data": data})).into_response();
    }
    let (first_id, last_id) = (names.first().cloned(), names.last().cloned());
    let data = names.iter().map(|name| for_anthropic(name)).collect();
    Json(ModelList { data, has_more: false, first_id, last_id }).into_response()
}

/// Show a model.
#[utoipa::path(
    get, path = "/v1/models/{id}", params(("id" = String, Path, description = "What to ask for.")),
    responses((status = 200, description = "With an `anthropic-version` header as Anthropic shows it, else as OpenAI does.", body = ModelInfo)),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    _: Authenticated,
    headers: HeaderMap,
    Named(id): Named,
) -> Result<Response, ApiError> {
    if !names(&app).contains(&id) {
        let shown: String = id.chars().take(80).collect();
        return Err(ApiError::not_found(format!("model: there is no {shown:?}; GET /v1/models lists what there is")));
    }
    let as_anthropic = headers.contains_key("anthropic-version");
    Ok(if as_anthropic { Json(for_anthropic(&id)).into_response() } else { Json(for_openai(&id)).into_response() })
}

/// What can be asked for: the tiers, what they mean, and every other model that has a price.
fn names(app: &App) -> Vec<String> {
    let tiers = ["auto", "haiku", "sonnet", "opus"].map(str::to_owned);
    let meant = app.backends().iter().flat_map(|backend| backend.ids());
    let offered = |id: &&str| app.backends().iter().any(|backend| backend.offer(&ModelChoice::from(*id)).is_some());
    let priced = app.prices().rows().iter().map(|row| &*row.model).filter(offered).map(str::to_owned);
    let mut names: Vec<String> = Vec::new();
    for name in tiers.into_iter().chain(meant).chain(priced) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn for_anthropic(name: &str) -> ModelInfo {
    let created_at = "1970-01-01T00:00:00Z".to_owned();
    ModelInfo { kind: "model".to_owned(), id: name.to_owned(), display_name: name.to_owned(), created_at }
}

fn for_openai(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "claude-code-api"})
}

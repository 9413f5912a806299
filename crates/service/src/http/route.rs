//! `POST /v1/route`: which model `auto` would pick, and why. Nothing is asked, nothing is spent.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request as HttpRequest, State},
};
use claude_code_api_wire::{CompleteRequest, ErrorEnvelope, RouteResponse};

use super::{auth::Authenticated, body, complete, error::ApiError, spend};
use crate::{
    app::App,
    call::{self, Foresight},
    model::ModelChoice,
};

/// Say which model `auto` would pick, and why.
///
/// The body is that of `/v1/complete`. Where the budget would not cover any model, the answer is that error.
#[utoipa::path(
    post, path = "/v1/route", request_body = CompleteRequest,
    responses(
        (status = 200, description = "What would be asked, and why.", body = RouteResponse),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn route(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    request: HttpRequest,
) -> Result<Json<RouteResponse>, ApiError> {
    spend::admitted(&app)?;
    let body: CompleteRequest = body::json(request, app.limits().body_bytes_max).await?;
    let caller = caller.acting_for(&app, body.project_id.as_deref())?;
    let request = complete::decode(body)?;
    if request.model != ModelChoice::Auto {
        return Err(ApiError::invalid("model", "model: takes auto here, or nothing: there is nothing to choose else"));
    }
    let Foresight { backend, offer, route } = call::foresee(&app, &caller, &request).await?;
    let model = offer.shown_as().to_owned();
    let project_id = caller.project.as_str().to_owned();
    Ok(Json(RouteResponse { model, model_id: offer.model_id, backend: backend.to_owned(), project_id, route }))
}

//! Edge in: HTTP to calls and back. The only place that names axum. One file a dialect.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Extension, Router,
    http::{Method, Uri},
    middleware::{from_fn, from_fn_with_state},
};
use futures_util::FutureExt;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

mod auth;
mod batch;
mod batches;
mod body;
mod budget;
mod chat;
mod complete;
mod docs;
mod envelope;
mod error;
mod guard;
mod health;
mod identify;
mod item;
mod keys;
mod ledger;
mod messages;
mod models;
mod path;
mod projects;
mod respond;
mod route;
mod spend;
mod usage;

use error::ApiError;
pub(crate) use item::STORED as STORED_ITEMS;

#[derive(OpenApi)]
#[openapi(info(
    title = "Claude Code API",
    description = "Prompts in, answers of Claude out. Every response carries a `request-id` header; errors share one envelope."
))]
struct Contract;

/// The surface of the product: every endpoint there is.
fn endpoints() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Contract::openapi())
        .routes(routes!(complete::complete))
        .routes(routes!(route::route))
        .routes(routes!(batch::batch))
        .routes(routes!(batches::list, batches::create))
        .routes(routes!(batches::show))
        .routes(routes!(batches::results))
        .routes(routes!(batches::cancel))
        .routes(routes!(messages::messages))
        .routes(routes!(messages::count_tokens))
        .routes(routes!(chat::completions))
        .routes(routes!(models::list))
        .routes(routes!(models::show))
        .routes(routes!(usage::usage))
        .routes(routes!(projects::list))
        .routes(routes!(projects::show, projects::set))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

/// The OpenAPI document of the service.
pub fn openapi() -> utoipa::openapi::OpenApi {
    endpoints().into_openapi()
}

/// The router of a service that listens on `port`.
pub(crate) fn router(app: Arc<App>, port: u16) -> Router {
    let (endpoints, contract) = endpoints().split_for_parts();
    let guard = Arc::new(guard::OpenMode::new(&app.limits().allowed_hosts, port));
    let guard = from_fn_with_state((Arc::clone(&app), guard), guard::refuse_foreign_pages);
    finished(endpoints.merge(docs::pages(&contract)).layer(guard), app)
}

/// The router behind the operator's own door: every caller is an admin.
pub(crate) fn operator_router(app: Arc<App>) -> Router {
    let (endpoints, _) = endpoints().split_for_parts();
    finished(endpoints.merge(ledger::endpoints()).layer(Extension(auth::Operator)), app)
}

fn finished(endpoints: Router<Arc<App>>, app: Arc<App>) -> Router {
    endpoints
        .method_not_allowed_fallback(no_such_endpoint)
        .fallback(no_such_endpoint)
        .layer(from_fn(contain_panics))
        .layer(from_fn(identify::identify))
        .with_state(app)
}

async fn no_such_endpoint(method: Method, uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is no endpoint {method} {}; /docs lists what there is", uri.path()))
}

/// A defect in one request is that request's: the caller learns of it, and the service goes on.
async fn contain_panics(
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Result<axum::response::Response, ApiError> {
    AssertUnwindSafe(next.run(request)).catch_unwind().await.map_err(|_| {
        tracing::error!("a handler panicked");
        ApiError::internal()
    })
}

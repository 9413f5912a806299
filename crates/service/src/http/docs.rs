//! `/openapi.json`, and `/docs` that shows it. The page loads nothing from outside.

use std::sync::Arc;

use axum::{
    Router,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::Html,
    routing::get,
};

use crate::app::App;

const PAGE: &str = include_str!("docs.html");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

pub(super) fn pages(contract: &utoipa::openapi::OpenApi) -> Router<Arc<App>> {
    let document = contract.to_pretty_json().expect("the contract serializes");
    Router::new()
        .route("/openapi.json", get(move || async move { ([(CONTENT_TYPE, "application/json")], document) }))
        .route("/docs", get(|| async { ([(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)) }))
}

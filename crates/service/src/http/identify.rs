//! The outermost layer: every request gets an id, every error its envelope, every exchange a line in the log.

use std::time::Instant;

use axum::{
    extract::Request,
    http::HeaderValue,
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{envelope::Envelope, error::ApiError};
use crate::id::RequestId;

pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let envelope = Envelope::of(&request);
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = error.with_id(&id, envelope).into_response();
    }
    let value = HeaderValue::try_from(id.to_string()).expect("an id is visible ASCII");
    if envelope == Envelope::OpenAi {
        response.headers_mut().insert("x-request-id", value.clone());
    }
    response.headers_mut().insert(claude_code_api_wire::REQUEST_ID, value);
    tracing::debug!(
        request_id = %id,
        %method,
        path,
        status = response.status().as_u16(),
        elapsed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

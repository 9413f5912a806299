//! Open mode is not an open door. Without keys, whoever reaches the socket may spend: so what a web page in the operator's
//! browser could send is refused, whichever way it got here (a form, a rebound name, a proxy).

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, Uri, header},
    middleware::Next,
    response::Response,
};

use super::error::ApiError;
use crate::app::App;

/// What a request must look like where there are no keys.
pub(super) struct OpenMode {
    hosts: Vec<String>,
    port: u16,
}

const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl OpenMode {
    pub(super) fn new(allowed_hosts: &[String], port: u16) -> Self {
        let hosts = LOOPBACK_HOSTS.iter().map(ToString::to_string);
        Self { hosts: hosts.chain(allowed_hosts.iter().map(|host| host.to_ascii_lowercase())).collect(), port }
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        self.check_host(request)?;
        self.check_origin(request.headers())?;
        check_fetch_site(request.headers())?;
        check_not_forwarded(request.headers())?;
        check_content_type(request)
    }

    fn check_host(&self, request: &Request) -> Result<(), ApiError> {
        let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = named.and_then(|host| host.parse::<Uri>().ok());
        let allowed = |uri: &Uri| uri.host().is_some_and(|host| self.is_allowed(host));
        let absolute_form_is_foreign = request.uri().host().is_some() && !allowed(request.uri());
        if host.as_ref().is_some_and(allowed) && !absolute_form_is_foreign {
            return Ok(());
        }
        let message = format!(
            "Host: without keys this service answers to {}; start it with --allowed-host to add one",
            self.hosts.join(", ")
        );
        Err(ApiError::invalid("Host", message))
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let uri = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let own = uri.is_some_and(|uri| {
            uri.scheme_str() == Some("http")
                && uri.host().is_some_and(|host| self.is_allowed(host))
                && uri.port_u16().unwrap_or(80) == self.port
        });
        if own {
            return Ok(());
        }
        Err(ApiError::invalid(
            "Origin",
            "Origin: without keys this service answers no page of another origin; call it from a program",
        ))
    }

    fn is_allowed(&self, host: &str) -> bool {
        self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

fn check_fetch_site(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get("sec-fetch-site").map(header::HeaderValue::as_bytes) {
        Some(b"cross-site" | b"same-site") => Err(ApiError::invalid(
            "Sec-Fetch-Site",
            "Sec-Fetch-Site: without keys this service answers no page of another site; call it from a program",
        )),
        _ => Ok(()),
    }
}

fn check_not_forwarded(headers: &HeaderMap) -> Result<(), ApiError> {
    let forwarded = headers.keys().find(|name| *name == header::FORWARDED || name.as_str().starts_with("x-forwarded-"));
    let Some(name) = forwarded else { return Ok(()) };
    let message = format!(
        "{name}: the request came through a proxy, and without keys this service cannot tell who sent it; call it directly"
    );
    Err(ApiError::invalid(name.as_str(), message))
}

fn check_content_type(request: &Request) -> Result<(), ApiError> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let content_type =
        request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::invalid(
        "Content-Type",
        "Content-Type: takes application/json; with curl, add -H 'content-type: application/json'",
    ))
}

pub(super) async fn refuse_foreign_pages(
    State((app, guard)): State<(Arc<App>, Arc<OpenMode>)>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    // No page of another origin has a key to send.
    if app.directory().is_open() {
        guard.check(&request)?;
    }
    Ok(next.run(request).await)
}

//! How an error comes about: of our own, of the service's envelope, or of a status alone.

use std::time::Duration;

use claude_code_api_wire::{ErrorBody, ErrorCode};
use reqwest::Url;

use super::{Error, ErrorKind, Inner};

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            url: String::new(),
            attempts: 0,
            note: None,
            status: None,
            body: None,
            retry_after: None,
            retryable: kind == ErrorKind::Connection,
        }))
    }

    /// The error of a response with this envelope.
    pub(crate) fn from_body(status: Option<u16>, retry_after: Option<Duration>, body: ErrorBody) -> Self {
        let kind = match body.code {
            ErrorCode::Timeout => ErrorKind::Timeout,
            code => ErrorKind::Api(code),
        };
        let from_body = body.retry_after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let inner = Self::new(kind, body.message.clone()).0;
        Self(Box::new(Inner {
            status: status.or(Some(body.code.status())),
            retryable: body.retryable,
            // The body's is the finer one: the header knows whole seconds only.
            retry_after: from_body.or(retry_after),
            body: Some(body),
            ..*inner
        }))
    }

    /// The error of a response without an envelope: a proxy's, say.
    pub(crate) fn from_status(status: u16, retry_after: Option<Duration>, text: &str) -> Self {
        let kind = match status {
            400 | 405 | 415 | 422 => ErrorKind::Api(ErrorCode::InvalidRequest),
            401 => ErrorKind::Api(ErrorCode::Unauthenticated),
            403 => ErrorKind::Api(ErrorCode::Forbidden),
            404 => ErrorKind::Api(ErrorCode::NotFound),
            408 | 504 => ErrorKind::Timeout,
            409 => ErrorKind::Api(ErrorCode::Conflict),
            413 => ErrorKind::Api(ErrorCode::RequestTooLarge),
            429 => ErrorKind::Api(ErrorCode::RateLimited),
            503 | 529 => ErrorKind::Api(ErrorCode::Overloaded),
            500..=599 => ErrorKind::Api(ErrorCode::BackendError),
            _ => ErrorKind::UnexpectedResponse,
        };
        let start: String = text.chars().take(200).collect();
        let inner = Self::new(kind, format!("HTTP {status} from something that is not the service: {start}")).0;
        let retryable = matches!(status, 408 | 429 | 500..=503 | 505..=599);
        Self(Box::new(Inner { status: Some(status), retry_after, retryable, ..*inner }))
    }

    /// Names the URL, without what it holds of names and passwords.
    pub(crate) fn at(mut self, url: &Url) -> Self {
        self.0.url = shown(url).into();
        self
    }

    pub(crate) fn after(mut self, attempts: u32, note: Option<&'static str>) -> Self {
        self.0.attempts = attempts;
        self.0.note = note;
        self
    }
}

/// A URL without names and passwords.
pub(crate) fn shown(url: &Url) -> Url {
    let mut shown = url.clone();
    // Neither fails for a URL that has a host, and ours has.
    let _ = shown.set_password(None);
    let _ = shown.set_username("");
    shown
}

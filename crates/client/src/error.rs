//! The one error of this crate. Opaque, so that it can grow; what callers act on has a predicate.

use std::{fmt, time::Duration};

use claude_code_api_wire::{BudgetState, ErrorBody, ErrorCode};
use reqwest::Url;

/// Why a call failed. Its text says what was wrong, at which URL, after how many attempts.
#[derive(Clone, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    kind: ErrorKind,
    message: String,
    url: String,
    attempts: u32,
    note: Option<&'static str>,
    status: Option<u16>,
    body: Option<ErrorBody>,
    retry_after: Option<Duration>,
    retryable: bool,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client cannot be built from what it was given.
    Configuration,
    /// The service could not be reached, or the connection broke.
    Connection,
    /// A deadline passed, here or on the service.
    Timeout,
    /// The service said no; or something before it did, and this is the code that its status comes closest to.
    Api(ErrorCode),
    /// What came back is not of the contract.
    UnexpectedResponse,
    /// The caller asked to stop waiting.
    Interrupted,
}

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

    /// Names the URL.
    pub(crate) fn at(mut self, url: &Url) -> Self {
        self.0.url = shown(url).into();
        self
    }

    pub(crate) fn after(mut self, attempts: u32, note: Option<&'static str>) -> Self {
        self.0.attempts = attempts;
        self.0.note = note;
        self
    }

    /// What kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The service's code, when the service answered.
    pub fn code(&self) -> Option<ErrorCode> {
        self.0.body.as_ref().map(|body| body.code)
    }

    fn is(&self, codes: &[ErrorCode]) -> bool {
        matches!(self.0.kind, ErrorKind::Api(code) if codes.contains(&code))
    }

    /// What was wrong, without URL and attempts.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The HTTP status, when there was a response.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The id of the request on the service, to quote when asking about it.
    pub fn request_id(&self) -> Option<&str> {
        self.0.body.as_ref().map(|body| body.request_id.as_str())
    }

    /// How long the service asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether sending the same call again can help.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The service's error as it came, when the service answered.
    pub fn body(&self) -> Option<&ErrorBody> {
        self.0.body.as_ref()
    }

    /// The budget that does not cover the call, where [`Error::is_budget_exceeded`].
    pub fn budget(&self) -> Option<BudgetState> {
        self.0.body.as_ref().and_then(ErrorBody::budget)
    }

    /// The service could not be reached, or the connection broke.
    pub fn is_connection(&self) -> bool {
        self.0.kind == ErrorKind::Connection
    }

    /// A deadline passed, here or on the service.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }

    /// The project's budget does not cover the call.
    pub fn is_budget_exceeded(&self) -> bool {
        self.is(&[ErrorCode::BudgetExceeded])
    }

    /// Too many requests in too short a time.
    pub fn is_rate_limited(&self) -> bool {
        self.is(&[ErrorCode::RateLimited])
    }

    /// No room now.
    pub fn is_overloaded(&self) -> bool {
        self.is(&[ErrorCode::Overloaded])
    }

    /// The key is missing, unknown, or does not allow this.
    pub fn is_authentication(&self) -> bool {
        self.is(&[ErrorCode::Unauthenticated, ErrorCode::Forbidden])
    }

    /// The request cannot be carried out as it stands.
    pub fn is_invalid_request(&self) -> bool {
        self.is(&[ErrorCode::InvalidRequest, ErrorCode::RequestTooLarge])
    }
}

/// A URL as people may see it: without names and passwords.
pub(crate) fn shown(url: &Url) -> Url {
    let mut shown = url.clone();
    // Neither fails for a URL that has a host, and ours has.
    let _ = shown.set_password(None);
    let _ = shown.set_username("");
    shown
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.write_str(&inner.message)?;
        let mut round = Vec::new();
        if !inner.url.is_empty() {
            round.push(inner.url.clone());
        }
        if inner.attempts > 1 {
            round.push(format!("{} attempts", inner.attempts));
        }
        round.extend(inner.note.map(str::to_owned));
        if let Some(id) = self.request_id() {
            round.push(format!("request {id}"));
        }
        if round.is_empty() { Ok(()) } else { write!(f, " ({})", round.join(", ")) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {}

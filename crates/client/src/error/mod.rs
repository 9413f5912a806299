//! The one error of this crate. Opaque, so that it can grow; what callers act on has a predicate.

use std::{fmt, time::Duration};

use claude_code_api_wire::{BudgetState, ErrorBody, ErrorCode};

mod made;

pub(crate) use made::shown;

/// Why a call failed. Its text says what was wrong, at which URL, after how many attempts.
///
/// ```no_run
/// # async fn example(client: claude_code_api_client::Client) -> Result<(), claude_code_api_client::Error> {
/// match client.complete("Write a haiku").await {
///     Ok(answer) => println!("{}", answer.content),
///     Err(error) if error.is_budget_exceeded() => println!("not before {:?}", error.budget()),
///     Err(error) => return Err(error),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq)]
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

/// What kind of failure. Shown as one word, which for [`ErrorKind::Api`] is the code's: fit for a metric.
///
/// ```
/// # use claude_code_api_client::{ErrorCode, ErrorKind};
/// assert_eq!(ErrorKind::Connection.to_string(), "connection");
/// assert_eq!(ErrorKind::Api(ErrorCode::RateLimited).to_string(), "rate_limited");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// What kind of failure.
    ///
    /// ```
    /// # use claude_code_api_client::{Client, ErrorKind};
    /// let error = Client::builder().base_url("localhost").build().expect_err("a URL has a scheme");
    /// assert_eq!(error.kind(), ErrorKind::Configuration);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The service's code, when the service answered.
    ///
    /// ```no_run
    /// # use claude_code_api_client::ErrorCode;
    /// # fn example(error: claude_code_api_client::Error) {
    /// if error.code() == Some(ErrorCode::Conflict) {
    ///     println!("this idempotency key belongs to another request");
    /// }
    /// # }
    /// ```
    pub fn code(&self) -> Option<ErrorCode> {
        self.0.body.as_ref().map(|body| body.code)
    }

    fn is(&self, codes: &[ErrorCode]) -> bool {
        matches!(self.0.kind, ErrorKind::Api(code) if codes.contains(&code))
    }

    /// What was wrong, without URL and attempts.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let error = Client::builder().base_url("localhost").build().expect_err("a URL has a scheme");
    /// assert!(error.message().starts_with("base_url: takes a URL"));
    /// ```
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The HTTP status, when there was a response.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if error.status().is_some_and(|status| status >= 500) {
    ///     println!("it is not our fault");
    /// }
    /// # }
    /// ```
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The id of the request on the service, to quote when asking about it.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if let Some(id) = error.request_id() {
    ///     println!("the service's log knows more, under {id}");
    /// }
    /// # }
    /// ```
    pub fn request_id(&self) -> Option<&str> {
        self.0.body.as_ref().map(|body| body.request_id.as_str())
    }

    /// How long the service asks to wait.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// let again_at = error.retry_after().map(|wait| std::time::Instant::now() + wait);
    /// # }
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether sending the same call again can help.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if error.is_retryable() {
    ///     println!("put back for later, after {} attempts", error.attempts());
    /// }
    /// # }
    /// ```
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// How many attempts were made.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let nobody_there = Client::builder().base_url("http://127.0.0.1:1").max_retries(1).build_blocking()?;
    /// assert_eq!(nobody_there.complete("Hello").expect_err("refused").attempts(), 1);
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The service's error as it came, when the service answered.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if let Some(field) = error.body().and_then(|body| body.field.as_ref()) {
    ///     println!("the service does not take this {field}");
    /// }
    /// # }
    /// ```
    pub fn body(&self) -> Option<&ErrorBody> {
        self.0.body.as_ref()
    }

    /// The budget that does not cover the call, where [`Error::is_budget_exceeded`].
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if let Some(budget) = error.budget() {
    ///     println!("{} of {} {} left, until {:?}", budget.remaining, budget.limit, budget.unit, budget.resets_at);
    /// }
    /// # }
    /// ```
    pub fn budget(&self) -> Option<BudgetState> {
        self.0.body.as_ref().and_then(ErrorBody::budget)
    }

    /// The service could not be reached, or the connection broke.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let nobody_there = Client::builder().base_url("http://127.0.0.1:1").max_retries(1).build_blocking()?;
    /// assert!(nobody_there.complete("Hello").expect_err("refused").is_connection());
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn is_connection(&self) -> bool {
        self.0.kind == ErrorKind::Connection
    }

    /// A deadline passed, here or on the service.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if error.is_timeout() {
    ///     println!("ask for less, or allow it more");
    /// }
    /// # }
    /// ```
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }

    /// The project's budget does not cover the call.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if error.is_budget_exceeded() {
    ///     println!("no more of it: {error}");
    /// }
    /// # }
    /// ```
    pub fn is_budget_exceeded(&self) -> bool {
        self.is(&[ErrorCode::BudgetExceeded])
    }

    /// Too many requests in too short a time.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if error.is_rate_limited() {
    ///     println!("slower, please: {:?}", error.retry_after());
    /// }
    /// # }
    /// ```
    pub fn is_rate_limited(&self) -> bool {
        self.is(&[ErrorCode::RateLimited])
    }

    /// No room now.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if error.is_overloaded() {
    ///     println!("it may have room in {:?}", error.retry_after());
    /// }
    /// # }
    /// ```
    pub fn is_overloaded(&self) -> bool {
        self.is(&[ErrorCode::Overloaded])
    }

    /// The key is missing, unknown, or does not allow this.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if error.is_authentication() {
    ///     println!("is CLAUDE_CODE_API_API_KEY right?");
    /// }
    /// # }
    /// ```
    pub fn is_authentication(&self) -> bool {
        self.is(&[ErrorCode::Unauthenticated, ErrorCode::Forbidden])
    }

    /// The request cannot be carried out as it stands.
    ///
    /// ```no_run
    /// # fn example(error: claude_code_api_client::Error) {
    /// if error.is_invalid_request() {
    ///     println!("to be mended before it is sent again: {}", error.message());
    /// }
    /// # }
    /// ```
    pub fn is_invalid_request(&self) -> bool {
        self.is(&[ErrorCode::InvalidRequest, ErrorCode::RequestTooLarge])
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Configuration => "configuration",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Api(code) => code.as_str(),
            Self::UnexpectedResponse => "unexpected_response",
            Self::Interrupted => "interrupted",
        })
    }
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
        let Inner { kind, message, url, attempts, note, status, body, retry_after, retryable } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("message", message)
            .field("url", url)
            .field("attempts", attempts)
            .field("note", note)
            .field("status", status)
            .field("body", body)
            .field("retry_after", retry_after)
            .field("retryable", retryable)
            .finish()
    }
}

impl std::error::Error for Error {}

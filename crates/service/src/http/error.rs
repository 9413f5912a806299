//! Errors on their way out: every failure becomes a code of the contract here.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use claude_code_api_wire::{BudgetState, ErrorBody, ErrorCode, SHOULD_RETRY};
use serde_json::{Map, Value};

use super::{budget, envelope::Envelope};
use crate::{call::CallFailure, id::RequestId, project::ProjectId, store::StoreError};

/// An error of the contract, before it knows the id of its request.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    code: ErrorCode,
    message: String,
    field: Option<String>,
    retryable: bool,
    retry_after: Option<Duration>,
    budget: Option<Box<BudgetState>>,
    /// What goes out beside it.
    headers: Option<Box<HeaderMap>>,
}

impl ApiError {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: None,
            retryable: code.retryable(),
            retry_after: None,
            budget: None,
            headers: None,
        }
    }

    /// `message` begins with the field's name and says what it takes.
    pub(super) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(ErrorCode::InvalidRequest, message) }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    pub(super) fn no_project(project: &ProjectId) -> Self {
        CallFailure::NoProject { project: project.clone() }.into()
    }

    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unauthenticated, message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        Self::new(
            ErrorCode::RequestTooLarge,
            format!("the body is larger than {bytes_max} bytes, the most that this service takes; send less"),
        )
    }

    pub(super) fn internal() -> Self {
        Self::new(ErrorCode::Internal, "the service has a defect; its log, under this request id, says more")
    }

    pub(super) fn budget_exceeded(message: String, budget: BudgetState) -> Self {
        Self { budget: Some(Box::new(budget)), ..Self::new(ErrorCode::BudgetExceeded, message) }
    }

    pub(super) fn shutting_down() -> Self {
        CallFailure::ShuttingDown.into()
    }

    /// The same error of a part of the request: what is called `own` there is called `place` in the whole.
    pub(super) fn within(self, place: &str, own: &str) -> Self {
        let Some(rest) = self.field.as_deref().and_then(|field| field.strip_prefix(own)) else { return self };
        let field = format!("{place}{rest}");
        let message =
            self.message.strip_prefix(own).map_or_else(|| self.message.clone(), |rest| format!("{place}{rest}"));
        Self { field: Some(field), message, ..self }
    }

    /// The code, and the message.
    pub(super) fn told(self) -> (ErrorCode, String) {
        (self.code, self.message)
    }

    /// The error, under the id of its request.
    pub(super) fn body(&self, id: &RequestId) -> ErrorBody {
        ErrorBody {
            code: self.code,
            message: self.message.clone(),
            retryable: self.retryable,
            retry_after: self.retry_after.map(|wait| wait.as_secs_f64()),
            request_id: id.to_string(),
            field: self.field.clone(),
            extra: self.budget.as_deref().map_or_else(Map::new, fields),
        }
    }

    pub(super) fn with_id(mut self, id: &RequestId, envelope: Envelope) -> Response {
        let (status, body) = envelope.written(self.body(id));
        let status = StatusCode::from_u16(status).expect("the contract's statuses are valid");
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().extend(self.headers.take().map(|headers| *headers).unwrap_or_default());
        let should_retry = HeaderValue::from_static(if self.retryable { "true" } else { "false" });
        response.headers_mut().insert(HeaderName::from_static(SHOULD_RETRY), should_retry);
        if let Some(wait) = self.retry_after {
            // The header takes whole seconds; rounded up, so that who obeys it does not come too early.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}

fn fields(budget: &BudgetState) -> Map<String, Value> {
    match serde_json::to_value(budget) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("a struct of plain fields is an object"),
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Carries the error to the outermost layer, which knows the request's id.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the ledger could not do what a request asked for");
        CallFailure::LedgerDown.into()
    }
}

impl From<CallFailure> for ApiError {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Invalid { field, message } => Self::invalid(field, message),
            CallFailure::Refused { status, message } => {
                let code = match status {
                    404 => ErrorCode::NotFound,
                    413 => ErrorCode::RequestTooLarge,
                    _ => ErrorCode::InvalidRequest,
                };
                Self::new(code, message)
            }
            CallFailure::UpstreamLimited { retry_after, headers } => Self {
                retry_after: Some(retry_after),
                headers: Some(headers),
                ..Self::new(
                    ErrorCode::RateLimited,
                    "the upstream takes no more requests for now; try again after the time given",
                )
            },
            CallFailure::Overloaded { backend, retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    ErrorCode::Overloaded,
                    format!("backend {backend} has no room for another call now; try again after the time given"),
                )
            },
            CallFailure::BudgetExceeded { project, shortage, now } => budget::exceeded(&project, &shortage, now),
            CallFailure::RateLimited { project, per_minute, retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    ErrorCode::RateLimited,
                    format!(
                        "project {} may begin {per_minute} calls a minute; wait for the time given",
                        project.as_str()
                    ),
                )
            },
            CallFailure::CallsMax { calls_max, retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    ErrorCode::Overloaded,
                    format!("the project may have {calls_max} calls running at a time; try again once one has ended"),
                )
            },
            CallFailure::BudgetHeld { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    ErrorCode::Overloaded,
                    "running calls of the project hold what this call would take; try again once some have ended",
                )
            },
            CallFailure::Conflict => Self::new(
                ErrorCode::Conflict,
                "Idempotency-Key: was used for another request; take a new key for each call, and the same for its retries",
            ),
            CallFailure::AnswerNotKept => Self::new(
                ErrorCode::Conflict,
                "Idempotency-Key: the call is done and paid for, and its answer was too large to be kept (1 MB)",
            ),
            CallFailure::NoProject { project } => {
                let name = project.as_str();
                Self::not_found(format!("there is no project {name}; `claude-code-api project set {name}` makes it"))
            }
            CallFailure::Notional { project } => {
                let name = project.as_str();
                Self::forbidden(format!(
                    "a subscription pays for calls here, which no limit of money counts, and project {name} has no other; limit \
                     its tokens, or set allow_notional: `claude-code-api project set {name} --allow-notional`"
                ))
            }
            CallFailure::TooManyProjects => Self::invalid(
                "project_id",
                "project_id: as many projects as calls may make are made (1000); set the others up by hand",
            ),
            CallFailure::LedgerDown => Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::new(
                    ErrorCode::Internal,
                    "the ledger cannot be written now, and without it no call is admitted or settled",
                )
            },
            CallFailure::DeadlinePassed { timeout } => Self::new(
                ErrorCode::Timeout,
                format!(
                    "the call took longer than its timeout of {} s; allow it more, or ask for less",
                    timeout.as_secs_f64()
                ),
            ),
            CallFailure::ShuttingDown => Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::new(ErrorCode::Overloaded, "the service is shutting down; send the request again")
            },
            CallFailure::Backend { backend, message, retryable } => {
                Self { retryable, ..Self::new(ErrorCode::BackendError, format!("backend {backend}: {message}")) }
            }
            CallFailure::Abandoned => Self::internal(),
        }
    }
}

//! One whole HTTP answer, and what the contract says of every one of them.

use claude_code_api_wire::{CompleteResponse, ErrorEnvelope, REQUEST_ID, SHOULD_RETRY};
use http::{HeaderMap, header::RETRY_AFTER};
use serde::de::DeserializeOwned;

/// An answer that was read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        let body = String::from_utf8(body.to_vec()).expect("the service answers in UTF-8");
        Ok(Self { status, headers, body })
    }

    /// The header, which is there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} header: {self:?}"));
        value.to_str().expect("the service's headers are ASCII")
    }

    /// The body as `T`.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The answer of a call that went well.
    pub fn done(&self) -> CompleteResponse {
        assert_eq!(self.status, 200, "{self:?}");
        assert!(self.header(REQUEST_ID).starts_with("req_"), "{self:?}");
        let done: CompleteResponse = self.json();
        assert_adds_up(&done);
        assert!(!done.replayed, "{done:?}");
        done
    }

    /// The answer of a call that had been made before.
    pub fn replayed(&self) -> CompleteResponse {
        assert_eq!(self.status, 200, "{self:?}");
        let done: CompleteResponse = self.json();
        assert_adds_up(&done);
        assert!(done.replayed, "{done:?}");
        done
    }

    /// The error, with all that the contract says of errors checked.
    pub fn error(&self) -> ErrorEnvelope {
        let envelope: ErrorEnvelope = self.json();
        let error = &envelope.error;
        assert_eq!(self.status, error.code.status(), "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header(REQUEST_ID), error.request_id);
        assert_eq!(self.header(SHOULD_RETRY), error.retryable.to_string());
        let header = self.headers.get(RETRY_AFTER).map(|_| self.header("retry-after").parse::<f64>());
        match (error.retry_after, header) {
            (None, None) => {}
            (Some(exact), Some(Ok(seconds))) => assert!(seconds >= exact && seconds < exact + 1.0, "{self:?}"),
            _ => panic!("body and header disagree on when to retry: {self:?}"),
        }
        assert_well_formed(&envelope);
        envelope
    }
}

/// What holds for every error, whether it is an answer or the last event of a stream.
pub(crate) fn assert_well_formed(envelope: &ErrorEnvelope) {
    assert_eq!(envelope.detail, envelope.error.message);
    assert!(envelope.error.request_id.starts_with("req_"), "{envelope:?}");
    let message = &envelope.error.message;
    assert!(!message.is_empty() && !message.contains('\n') && message.len() < 300, "not one line to read: {message:?}");
}

/// What holds for every answer that is complete.
pub(crate) fn assert_adds_up(done: &CompleteResponse) {
    assert!(done.id.starts_with("call_"), "{done:?}");
    assert_eq!(done.usage.total_tokens, done.usage.input_tokens + done.usage.output_tokens, "{done:?}");
    assert!(done.usage.input_tokens > 0, "{done:?}");
    assert_eq!(done.backend == "local", done.model_id == "smollm2-135m-instruct", "{done:?}");
    assert_eq!(done.cost_nanos == 0, done.backend == "local", "{done:?}");
}

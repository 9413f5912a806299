//! One who calls the service over HTTP, with a plain client: no retries, no policy, so that a test sees what was sent.

use std::{sync::OnceLock, time::Duration};

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{Answer, Events};

/// No call of a test takes longer: a service that hangs fails a test, and does not hang it.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// A plain HTTP client of one service. Clones share its connections.
#[derive(Clone)]
pub struct Caller {
    http: reqwest::Client,
    base_url: String,
    key: Option<String>,
    idempotency_key: Option<String>,
}

impl Caller {
    /// A caller of the service at `base_url`.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { http: http_client(), base_url: base_url.into(), key: None, idempotency_key: None }
    }

    /// The same, with a key to show.
    #[must_use]
    pub fn with_key(&self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self.clone() }
    }

    /// The same, with an idempotency key on all that it sends.
    #[must_use]
    pub fn once(&self, idempotency_key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(idempotency_key.into()), ..self.clone() }
    }

    /// A request that is not sent yet.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base_url));
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        match &self.idempotency_key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        }
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        answered(self.request(Method::GET, path)).await
    }

    /// `POST path` with a body that says that it is JSON.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        answered(json_of(self.request(Method::POST, path), body)).await
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str) -> Answer {
        answered(self.request(Method::DELETE, path)).await
    }

    /// `PUT path`.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        answered(json_of(self.request(Method::PUT, path), body.to_string())).await
    }

    /// `POST /v1/complete`.
    pub async fn complete(&self, request: Value) -> Answer {
        self.post("/v1/complete", request.to_string()).await
    }

    /// `POST /v1/complete` where there may be nobody to answer.
    pub async fn try_complete(&self, request: Value) -> reqwest::Result<Answer> {
        send(json_of(self.request(Method::POST, "/v1/complete"), request.to_string())).await
    }

    /// `POST /v1/complete` as a stream, or the answer when that is none.
    pub async fn try_stream(&self, request: Value) -> Result<Events, Answer> {
        match self.streamed(request).await {
            Ok(streamed) => streamed,
            Err(error) => panic!("no answer: {error:?}"),
        }
    }

    /// The same where there may be nobody to answer.
    pub async fn streamed(&self, mut request: Value) -> reqwest::Result<Result<Events, Answer>> {
        request["stream"] = json!(true);
        let response = json_of(self.request(Method::POST, "/v1/complete"), request.to_string()).send().await?;
        let content_type = response.headers().get("content-type").map(|value| value.as_bytes().to_owned());
        if content_type.as_deref() != Some(b"text/event-stream") {
            return Ok(Err(Answer::read(response).await?));
        }
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(response.headers().contains_key("request-id"));
        Ok(Ok(Events::of(response)))
    }

    /// `POST /v1/complete` as a stream.
    pub async fn stream(&self, request: Value) -> Events {
        self.try_stream(request).await.unwrap_or_else(|answer| panic!("no stream: {answer:?}"))
    }
}

/// The request with a body that says that it is JSON.
pub fn json_of(request: RequestBuilder, body: impl Into<reqwest::Body>) -> RequestBuilder {
    request.header("content-type", "application/json").body(body)
}

/// Sends the request and reads the whole answer.
pub async fn send(request: RequestBuilder) -> reqwest::Result<Answer> {
    Answer::read(request.send().await?).await
}

async fn answered(request: RequestBuilder) -> Answer {
    send(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

fn http_client() -> reqwest::Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // The client under test may have been first; either provider will do, as nothing here is https.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().no_proxy().timeout(CALL_TIMEOUT).build().expect("a plain client")
}

//! One attempt: a request out, a response in, and every failure as an [`Error`].

use std::{
    error::Error as _,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use claude_code_api_wire::ErrorEnvelope;
use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use rustls::{ClientConfig, RootCertStore, client::Resumption, crypto::CryptoProvider};
use rustls_platform_verifier::BuilderVerifierExt;
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Error, ErrorKind, error, options::Options, process::PerProcess};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const LOCALHOST: [SocketAddr; 2] =
    [SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0)];

/// The most bytes of an error response that are read.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// Connections to one service.
#[derive(Debug, Default)]
pub(crate) struct Transport {
    http: PerProcess<reqwest::Client>,
    /// How many connections were opened, or tried to be.
    opened: Arc<AtomicU64>,
}

impl Transport {
    /// A response with a status of success. A body goes with the idempotency key of its call.
    pub(crate) async fn send(
        &self,
        options: &Options,
        method: Method,
        path: &str,
        body: Option<(&HeaderValue, Vec<u8>)>,
    ) -> Result<Response, Error> {
        let url = options.base_url.join(path).expect("paths of the contract are valid");
        let http = self.http.get_or_try_make(|| http_client(&options.base_url, &self.opened))?;
        let request = || prepared(&http, options, method.clone(), url.clone(), body.clone());
        let begun = Instant::now();
        let opened_before = self.opened.load(Ordering::Relaxed);
        let mut sent = request().send().await;
        // A connection that was kept for later may have died unnoticed: that is no failed attempt of the service. (Where another
        // call opens a connection meanwhile, it counts as one.)
        let was_reused = self.opened.load(Ordering::Relaxed) == opened_before;
        if was_reused && sent.as_ref().is_err_and(died_unanswered) {
            tracing::debug!("a connection that was kept had died; the request is sent on another");
            sent = request().send().await;
        }
        let response = sent.map_err(|error| connection_error(&error, &url))?;
        tracing::debug!("{method} {}: {} after {:.3?}", error::shown(&url), response.status(), begun.elapsed());
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await.at(&url)) }
    }

    /// Closes every connection that is not in use.
    pub(crate) fn close(&self) {
        drop(self.http.take());
    }
}

fn prepared(
    http: &reqwest::Client,
    options: &Options,
    method: Method,
    url: Url,
    body: Option<(&HeaderValue, Vec<u8>)>,
) -> RequestBuilder {
    let mut request = http.request(method, url);
    if let Some(authorization) = &options.authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    if let Some((idempotency_key, body)) = body {
        request =
            request.header("idempotency-key", idempotency_key).header(CONTENT_TYPE, "application/json").body(body);
    }
    request
}

/// The body of a response, as JSON.
pub(crate) async fn json<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let url = response.url().clone();
    let bytes = response.bytes().await.map_err(|error| connection_error(&error, &url))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(ErrorKind::UnexpectedResponse, format!("the answer is not of this API: {error}")).at(&url)
    })
}

pub(crate) fn connection_error(error: &reqwest::Error, url: &Url) -> Error {
    let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
    let cause = causes().last().map_or_else(|| error.to_string(), ToString::to_string);
    let refused = causes().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
    let message = match (error.is_connect(), refused) {
        (true, true) => format!("cannot connect to the service: {cause}; is `claude-code-api serve` running there?"),
        (true, false) => format!("cannot connect to the service: {cause}"),
        (false, _) => format!("the connection broke: {cause}"),
    };
    Error::new(ErrorKind::Connection, message).at(url)
}

/// Whether a connection ended before any byte of an answer.
fn died_unanswered(error: &reqwest::Error) -> bool {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    !error.is_connect()
        && causes.any(|cause| {
            let reset = cause.downcast_ref::<io::Error>().is_some_and(|error| {
                matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
            });
            reset || cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
        })
}

async fn refusal(mut response: Response) -> Error {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ERROR_BYTES_MAX {
            break;
        }
    }
    match serde_json::from_slice::<ErrorEnvelope>(&bytes) {
        Ok(envelope) => Error::from_body(Some(status), retry_after, envelope.error),
        Err(_) => Error::from_status(status, retry_after, &String::from_utf8_lossy(&bytes)),
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

fn http_client(base_url: &Url, opened: &Arc<AtomicU64>) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("claude-code-api-client/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        // A redirect would send the prompt, and perhaps the key, to somewhere else.
        .redirect(reqwest::redirect::Policy::none())
        // What is tried again, and how often, is decided in one place.
        .retry(reqwest::retry::never())
        .http1_only()
        .tcp_nodelay(true)
        .connector_layer(CountOpened(Arc::clone(opened)))
        // What this name means is known (RFC 6761), and asking the system would take a thread.
        .resolve_to_addrs("localhost", &LOCALHOST)
        .tls_backend_preconfigured(tls(base_url)?);
    if is_loopback(base_url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Error::new(ErrorKind::Configuration, error.to_string()))
}

/// Counts the connections that are opened.
#[derive(Clone)]
struct CountOpened(Arc<AtomicU64>);

impl<S> Layer<S> for CountOpened {
    type Service = Counted<S>;

    fn layer(&self, connector: S) -> Counted<S> {
        Counted { connector, opened: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
struct Counted<S> {
    connector: S,
    opened: Arc<AtomicU64>,
}

impl<S: Service<R>, R> Service<R> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.connector.call(request)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Shared by all clients of the process. Plain HTTP gets one that trusts nobody, as reqwest wants one and reading the
/// system's certificates takes milliseconds.
fn tls(base_url: &Url) -> Result<ClientConfig, Error> {
    static PLAIN: OnceLock<ClientConfig> = OnceLock::new();
    static SYSTEM: OnceLock<ClientConfig> = OnceLock::new();
    if base_url.scheme() == "http" {
        let config = PLAIN.get_or_init(|| {
            let mut config = tls_builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
            config.resumption = Resumption::disabled();
            config
        });
        return Ok(config.clone());
    }
    if let Some(config) = SYSTEM.get() {
        return Ok(config.clone());
    }
    let verified = tls_builder().with_platform_verifier();
    let verified = verified.map_err(|error| Error::new(ErrorKind::Configuration, format!("TLS: {error}")))?;
    Ok(SYSTEM.get_or_init(|| verified.with_no_client_auth()).clone())
}

fn tls_builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()));
    ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for the default versions")
}

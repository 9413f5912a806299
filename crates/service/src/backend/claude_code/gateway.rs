//! The gateway: the only way out of a worker. An HTTP server on the slot's socket, in this process, which answers one request of
//! the Messages API for each brief, and refuses every other: what the CLI would ask on its own account is not paid for.

use std::{
    convert::Infallible,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

/// The most bytes of a request: more than any context window has.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// The most connections of a worker. It opens one.
const CONNECTIONS_MAX: usize = 8;

/// After a connection that could not be taken: there may be room for it in a moment.
const PAUSE: Duration = Duration::from_millis(500);

/// An answer, which may still be coming.
pub type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Answers the request that a brief leads to.
pub type Answerer = Box<dyn FnOnce(Request<Bytes>) -> BoxFuture<'static, Reply> + Send>;

/// The server of one slot. Dropped, it closes, with every connection.
pub struct Gateway {
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct State {
    answerer: Option<Answerer>,
    refused: usize,
}

impl Gateway {
    /// Listens on this path.
    ///
    /// # Errors
    /// There is no room for a socket.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let state = Arc::<Mutex<State>>::default();
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { state, _serving: serving })
    }

    /// The next request, and only that, is answered so.
    pub fn allow(&self, answerer: Answerer) {
        lock(&self.state).answerer = Some(answerer);
    }

    /// Requests that were not allowed.
    pub fn refused(&self) -> usize {
        lock(&self.state).refused
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: UnixListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let is_full = connections.len() >= CONNECTIONS_MAX;
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if !is_full => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, Arc::clone(&state))); }
                Err(error) => {
                    tracing::warn!(%error, "the gateway of a worker cannot take a connection; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

async fn serve(stream: UnixStream, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(request, &state).await) }
    });
    // A worker that is killed breaks its connection: that is how most of them end.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, state: &Mutex<State>) -> Reply {
    let is_call = request.method() == Method::POST && request.uri().path() == "/v1/messages";
    let answerer = if is_call { lock(state).answerer.take() } else { None };
    let Some(answerer) = answerer else {
        lock(state).refused += 1;
        return refusal(StatusCode::FORBIDDEN, "no brief leads to this request");
    };
    let (head, body) = request.into_parts();
    match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(body) => answerer(Request::from_parts(head, body.to_bytes())).await,
        Err(error) => refusal(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
    }
}

fn refusal(status: StatusCode, message: &str) -> Reply {
    let body = json!({"type": "error", "error": {"type": "permission_error", "message": message}});
    let mut refusal = reply(status, "application/json", body.to_string());
    refusal.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    refusal
}

/// An answer that is there as a whole.
pub fn reply(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http1::handshake;

    use super::*;

    async fn ask(socket: &Path, method: Method, path: &str) -> (StatusCode, String) {
        let stream = UnixStream::connect(socket).await.expect("it listens");
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "x");
        let answered = sender.send_request(request.body(Full::<Bytes>::from("{}")).expect("a request")).await;
        let (head, body) = answered.expect("it answers").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (head.status, String::from_utf8_lossy(&body).into_owned())
    }

    fn says(text: &'static str) -> Answerer {
        Box::new(move |_| Box::pin(async move { reply(StatusCode::OK, "text/plain", text.to_owned()) }))
    }

    #[tokio::test]
    async fn what_is_allowed_is_answered_once_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("gateway.sock");
        let gateway = Gateway::open(&socket).expect("it opens");
        let call = || ask(&socket, Method::POST, "/v1/messages?beta=true");
        assert_eq!(call().await.0, StatusCode::FORBIDDEN, "before anything is allowed");
        gateway.allow(says("first"));
        for (method, path) in
            [(Method::HEAD, "/"), (Method::GET, "/v1/messages"), (Method::POST, "/v1/messages/count_tokens")]
        {
            assert_eq!(ask(&socket, method, path).await.0, StatusCode::FORBIDDEN, "{path}");
        }
        assert_eq!(call().await, (StatusCode::OK, "first".to_owned()));
        let (status, said) = call().await;
        assert!(status == StatusCode::FORBIDDEN && said.contains("no brief"), "{said}");
        assert_eq!(gateway.refused(), 5);
        gateway.allow(says("second"));
        assert_eq!(call().await, (StatusCode::OK, "second".to_owned()));
        drop(gateway);
        let begun = std::time::Instant::now();
        while UnixStream::connect(&socket).await.is_ok() {
            assert!(begun.elapsed().as_secs() < 5, "it does not close");
            tokio::task::yield_now().await;
        }
    }
}

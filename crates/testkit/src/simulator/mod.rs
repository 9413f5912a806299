//! A stand-in for Anthropic's servers, on loopback: the Messages API, not streaming. It misbehaves on request, and keeps a bill
//! of its own, so that a test can hold the ledger against it.
//!
//! A request is steered by what the user's last message says after `sim:`, as JSON: see [`Script`].

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

mod script;

pub use script::{Fault, Script};

/// What one answer cost at the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billed {
    /// The model that ran.
    pub model: String,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
}

#[derive(Default)]
struct Books {
    bill: Mutex<Vec<Billed>>,
    requests: Mutex<Vec<Value>>,
}

/// A running simulator. It ends with the process, or when dropped.
pub struct Simulator {
    address: SocketAddr,
    books: Arc<Books>,
    _runtime: tokio::sync::oneshot::Sender<()>,
}

/// The key that it takes.
pub const KEY: &str = "sk-ant-simulated";

impl Simulator {
    /// Starts one on a free port, on a thread of its own.
    pub fn start() -> Self {
        let books = Arc::new(Books::default());
        let (ready, started) = std::sync::mpsc::channel();
        let (alive, dropped) = tokio::sync::oneshot::channel::<()>();
        let shared = Arc::clone(&books);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                ready.send(listener.local_addr().expect("bound")).expect("it is waited for");
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = dropped => {}
                }
            });
        });
        Self { address: started.recv().expect("it starts"), books, _runtime: alive }
    }

    /// Where it is.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was charged.
    pub fn bill(&self) -> Vec<Billed> {
        self.books.bill.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bodies of all requests.
    pub fn requests(&self) -> Vec<Value> {
        self.books.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "connections end with the simulator's runtime")]
async fn accept(listener: TcpListener, books: Arc<Books>) {
    while let Ok((stream, _)) = listener.accept().await {
        let books = Arc::clone(&books);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            // A connection that a script broke ends with an error, as it should.
            let _ = serve(stream, books).await;
        });
    }
}

async fn serve(stream: TcpStream, books: Arc<Books>) -> Result<(), hyper::Error> {
    let answer = |request: Request<Incoming>| {
        let books = Arc::clone(&books);
        async move { answer(request, &books).await.ok_or("reset on request") }
    };
    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await
}

/// The answer to one request; `None` breaks the connection.
async fn answer(request: Request<Incoming>, books: &Books) -> Option<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let body = body.collect().await.ok()?.to_bytes();
    if header("x-api-key") != KEY {
        return Some(refused(401, "authentication_error", "invalid x-api-key", None));
    }
    if parts.uri.path() != "/v1/messages" || header("anthropic-version") != "2023-06-01" {
        return Some(refused(404, "not_found_error", "no such thing", None));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return Some(refused(400, "invalid_request_error", "not JSON", None));
    };
    books.requests.lock().unwrap_or_else(PoisonError::into_inner).push(body.clone());
    let script = Script::of(&body);
    tokio::time::sleep(Duration::from_millis(script.delay_ms)).await;
    perform(&script, &body, books)
}

fn perform(script: &Script, body: &Value, books: &Books) -> Option<Response<Full<Bytes>>> {
    if let Some(status) = script.status {
        return Some(refused(status, "api_error", "refused on request", script.retry_after.as_deref()));
    }
    if script.fault == Some(Fault::ResetBefore) {
        return None;
    }
    let billed = script.billed(body);
    books.bill.lock().unwrap_or_else(PoisonError::into_inner).push(billed.clone());
    match script.fault {
        Some(Fault::ResetAfter) => None,
        Some(Fault::Garbage) => Some(with_body(200, "<html>not JSON</html>".to_owned())),
        _ => Some(with_body(200, message(script, &billed, body).to_string())),
    }
}

fn message(script: &Script, billed: &Billed, body: &Value) -> Value {
    let is_full = body["max_tokens"].as_u64() == Some(billed.output_tokens);
    json!({
        "id": "msg_simulated",
        "type": "message",
        "role": "assistant",
        "model": billed.model,
        "content": [{"type": "text", "text": "word ".repeat(usize::try_from(billed.output_tokens.min(100)).unwrap_or(0))}],
        "stop_reason": script.stop_reason.as_deref().unwrap_or(if is_full { "max_tokens" } else { "end_turn" }),
        "stop_sequence": null,
        "usage": {
            "input_tokens": billed.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": billed.output_tokens,
            "service_tier": "standard",
        },
    })
}

fn refused(status: u16, kind: &str, message: &str, retry_after: Option<&str>) -> Response<Full<Bytes>> {
    let body = json!({"type": "error", "error": {"type": kind, "message": message}});
    let mut response = with_body(status, body.to_string());
    if let Some(retry_after) = retry_after {
        response.headers_mut().insert("retry-after", retry_after.parse().expect("a header"));
    }
    response
}

fn with_body(status: u16, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Full::new(body.into())).expect("a response")
}

//! A stand-in for Anthropic's servers, on loopback: the Messages API, not streaming, and counting. It misbehaves on request, and keeps a bill
//! of its own, so that a test can hold the ledger against it.
//!
//! A request is steered by what the user's last message says after `sim:`, as JSON: see [`Script`].

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    counted: Mutex<Vec<Value>>,
    /// How often something went wrong with requests of each script.
    faults: Mutex<BTreeMap<String, u32>>,
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
        locked(&self.books.bill).clone()
    }

    /// The bodies of all requests that asked for an answer.
    pub fn requests(&self) -> Vec<Value> {
        locked(&self.books.requests).clone()
    }

    /// The bodies of all requests that asked for a count.
    pub fn counted(&self) -> Vec<Value> {
        locked(&self.books.counted).clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    if header("anthropic-version") != "2023-06-01" {
        return Some(refused(400, "invalid_request_error", "anthropic-version: not known", None));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return Some(refused(400, "invalid_request_error", "not JSON", None));
    };
    match parts.uri.path() {
        "/v1/messages" => {
            locked(&books.requests).push(body.clone());
            let script = Script::of(&body).for_once_more(|script| books.once_more(script));
            tokio::time::sleep(Duration::from_millis(script.delay_ms)).await;
            perform(&script, &body, books)
        }
        "/v1/messages/count_tokens" => Some(count(&body, books)),
        _ => Some(refused(404, "not_found_error", "no such thing", None)),
    }
}

fn count(body: &Value, books: &Books) -> Response<Full<Bytes>> {
    locked(&books.counted).push(body.clone());
    match Script::of(body).counted(body) {
        0 => refused(500, "api_error", "refused on request", None),
        tokens => with_body(200, json!({"input_tokens": tokens}).to_string()),
    }
}

impl Books {
    /// How often this script was carried out before.
    fn once_more(&self, script: &str) -> u32 {
        let mut faults = locked(&self.faults);
        let times = faults.entry(script.to_owned()).or_default();
        *times += 1;
        *times - 1
    }
}

fn perform(script: &Script, body: &Value, books: &Books) -> Option<Response<Full<Bytes>>> {
    if let Some(status) = script.status {
        return Some(refused(status, "api_error", "refused on request", script.retry_after.as_deref()));
    }
    if script.fault == Some(Fault::ResetBefore) {
        return None;
    }
    let billed = script.billed(body);
    locked(&books.bill).push(billed.clone());
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

//! Connections, and which request on them is answered by what.

use std::sync::{Arc, atomic::Ordering};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::{
    KEY, answer, batches,
    bill::{Books, locked},
    http::{Connection, Over, Reply, Request},
    refuse,
};

/// The longest body that the API takes.
const BODY_BYTES_MAX: usize = 32 << 20;
/// And the longest batch.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// The versions of the API: the official SDKs send the newer one since their major versions of 2026.
const VERSIONS: [&str; 2] = ["2023-06-01", "2026-10-21"];

const MODELS: [&str; 3] = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"];

#[expect(clippy::disallowed_methods, reason = "connections end with the simulator's runtime")]
pub(super) async fn accept(listener: TcpListener, books: Arc<Books>) {
    while let Ok((stream, _)) = listener.accept().await {
        books.connections.fetch_add(1, Ordering::Relaxed);
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream, Arc::clone(&books)));
    }
}

/// Answers what comes on a connection, until it ends or is broken.
async fn serve(stream: TcpStream, books: Arc<Books>) {
    let mut connection = Connection::new(stream, Arc::clone(&books));
    while let Ok(request) = connection.request().await {
        let outcome = route(&request, &mut connection, &books).await;
        let is_last = request.header("connection").eq_ignore_ascii_case("close");
        if is_last || !matches!(outcome, Ok(()) | Err(Over::Ended)) {
            return;
        }
    }
}

async fn route(request: &Request, connection: &mut Connection, books: &Arc<Books>) -> Result<(), Over> {
    if request.path == "/" {
        return connection.send(Reply::json(200, &json!({}))).await;
    }
    if let Some(refusal) = refused(request, connection, books) {
        return connection.send(refusal).await;
    }
    let path: Vec<&str> = request.path.split('/').skip(1).collect();
    let body = if request.method == "GET" { Ok(Value::Null) } else { serde_json::from_slice(&request.body) };
    match (request.method.as_str(), path.as_slice(), body) {
        ("POST", ["v1", "messages"], Ok(body)) => answer::message(request, &body, connection, books).await,
        ("POST", ["v1", "messages", "count_tokens"], Ok(body)) => answer::count(&body, connection, books).await,
        ("POST", ["v1", "messages", "batches"], Ok(body)) => batches::create(&body, connection, books).await,
        (_, ["v1", "messages", "batches", rest @ ..], _) => batches::route(request, rest, connection, books).await,
        ("GET", ["v1", "models", name @ ..], _) => connection.send(models(name, connection)).await,
        ("POST", _, Err(_)) => connection.send(refuse::refusal(connection, 400, "not JSON")).await,
        _ => connection.send(refuse::refusal(connection, 404, "no such thing")).await,
    }
}

/// What is refused before it is read.
fn refused(request: &Request, connection: &Connection, books: &Books) -> Option<Reply> {
    let bearer = request.header("authorization").strip_prefix("Bearer ");
    let key = bearer.unwrap_or_else(|| request.header("x-api-key"));
    let Some(kind) = key.strip_prefix(KEY).filter(|rest| rest.is_empty() || rest.starts_with('-')) else {
        return Some(refuse::refusal(connection, 401, "invalid x-api-key"));
    };
    if let "-401" | "-429" | "-500" | "-529" = kind {
        return Some(refused_for_its_key(kind[1..].parse().expect("a number"), request, connection, books));
    }
    if !VERSIONS.contains(&request.header("anthropic-version")) {
        return Some(refuse::refusal(connection, 400, "anthropic-version: not known"));
    }
    let bytes_max = if request.path == "/v1/messages/batches" { BATCH_BYTES_MAX } else { BODY_BYTES_MAX };
    let too_long = || refuse::refusal(connection, 413, &format!("longer than {} MB", bytes_max >> 20));
    (request.body.len() > bytes_max).then(too_long)
}

fn refused_for_its_key(status: u16, request: &Request, connection: &Connection, books: &Books) -> Reply {
    if request.path == "/v1/messages" {
        locked(&books.headers).push(request.headers.clone());
        locked(&books.requests).push(serde_json::from_slice(&request.body).unwrap_or_default());
    }
    refuse::for_a_while(connection, status, "refused for its key")
}

fn models(name: &[&str], connection: &Connection) -> Reply {
    let of_name =
        |id: &str| json!({"type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z"});
    match name {
        [] => {
            let all: Vec<Value> = MODELS.map(of_name).into();
            let [first, .., last] = MODELS;
            Reply::json(200, &json!({"data": all, "has_more": false, "first_id": first, "last_id": last}))
        }
        [name] if MODELS.contains(name) => Reply::json(200, &of_name(name)),
        _ => refuse::refusal(connection, 404, "no such model"),
    }
}

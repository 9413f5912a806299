//! HTTP/1.1 on a bare connection, so that an answer can break off at any byte, and in any way.
//!
//! While nothing is written, the connection is read: who goes away is noticed at once.

use std::{collections::BTreeMap, future::pending, iter::once, sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{bill::Books, limits};

const LINE_BYTES_MAX: usize = 64 << 10;
const JSONL: &str = "application/x-jsonl";

/// Why no more is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The client has gone away.
    ClientLeft,
    /// The script broke the connection, or the client does not speak HTTP.
    Broken,
    /// The body has ended before its time, in good order: the connection can be used again.
    Ended,
}

pub(super) struct Request {
    /// The request line's first word.
    pub(super) method: String,
    /// The path without its query.
    pub(super) path: String,
    /// What follows the path's `?`.
    pub(super) query: String,
    /// By their names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// An answer that is sent whole.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// Lines of JSON.
    pub(super) fn jsonl(lines: String) -> Self {
        Self::new(200, JSONL, lines)
    }

    pub(super) fn is_jsonl(&self) -> bool {
        self.headers.iter().any(|(name, value)| (*name, value.as_str()) == ("content-type", JSONL))
    }
}

/// A connection that a client has opened.
pub(super) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    books: Arc<Books>,
    /// The id of the request that is being answered.
    pub(super) request_id: String,
    is_head: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, books: Arc<Books>) -> Self {
        Self { stream, unread: Vec::new(), books, request_id: String::new(), is_head: false }
    }

    /// The next request.
    pub(super) async fn request(&mut self) -> Result<Request, Over> {
        let head = String::from_utf8(self.read_line(b"\r\n\r\n").await?).map_err(|_| Over::Broken)?;
        let (first, lines) = head.split_once("\r\n").unwrap_or((&head, ""));
        let mut words = first.split(' ').map(str::to_owned);
        let (method, target) = words.next().zip(words.next()).ok_or(Over::Broken)?;
        let headers = lines.split("\r\n").filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut request = Request { method, path, query, headers, body: Vec::new() };
        self.request_id = self.books.id("req");
        self.is_head = request.method == "HEAD";
        request.body = self.body(&request).await?;
        Ok(request)
    }

    async fn body(&mut self, request: &Request) -> Result<Vec<u8>, Over> {
        if request.header("expect").eq_ignore_ascii_case("100-continue") {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if !request.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            let length = request.header("content-length").parse().unwrap_or(0);
            return self.read(length).await;
        }
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.read_line(b"\r\n").await?).map_err(|_| Over::Broken)?;
            let length = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
            let length = length.map_err(|_| Over::Broken)?;
            body.extend(self.read(length).await?);
            self.read_line(b"\r\n").await?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    /// Sends an answer.
    pub(super) async fn send(&mut self, reply: Reply) -> Result<(), Over> {
        let shown = if self.is_head { 0 } else { reply.body.len() };
        self.send_part(reply, shown).await
    }

    /// Sends an answer up to the middle of its body, and closes.
    pub(super) async fn send_half(&mut self, reply: Reply) -> Result<(), Over> {
        let shown = reply.body.len() / 2;
        self.send_part(reply, shown).await?;
        Err(Over::Broken)
    }

    async fn send_part(&mut self, mut reply: Reply, shown: usize) -> Result<(), Over> {
        reply.headers.push(("content-length", reply.body.len().to_string()));
        let head = self.head(reply.status, &reply.headers);
        self.write(&[head.as_bytes(), &reply.body[..shown]].concat()).await
    }

    /// Where the client has found us.
    pub(super) fn base_url(&self) -> String {
        self.stream.local_addr().map_or_else(|_| String::new(), |address| format!("http://{address}"))
    }

    /// Begins an answer whose body follows in chunks.
    pub(super) async fn begin(&mut self, content_type: &str) -> Result<(), Over> {
        let headers = [("content-type", content_type.to_owned()), ("transfer-encoding", "chunked".to_owned())];
        let head = self.head(200, &headers);
        self.write(head.as_bytes()).await
    }

    /// Sends a part of such a body; an empty one ends it.
    pub(super) async fn send_chunk(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let length = format!("{:x}\r\n", bytes.len());
        self.write(&[length.as_bytes(), bytes, b"\r\n"].concat()).await
    }

    fn head(&self, status: u16, headers: &[(&'static str, String)]) -> String {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("");
        let first = format!("HTTP/1.1 {status} {reason}\r\nrequest-id: {}\r\n", self.request_id);
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let limits = limits::headers(status).map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines: Vec<String> = once(first).chain(headers).chain(limits).chain([String::from("\r\n")]).collect();
        lines.concat()
    }

    /// Breaks the connection with a reset instead of an end.
    pub(super) fn reset(&self) -> Over {
        let _ = self.stream.set_zero_linger();
        Over::Broken
    }

    /// Waits, unless the client goes away before.
    pub(super) async fn rest(&mut self, time_ms: u64) -> Result<(), Over> {
        tokio::select! {
            biased;
            over = self.over() => Err(over),
            () = rested(time_ms) => Ok(()),
        }
    }

    /// Reads ahead for as long as there is a client.
    async fn over(&mut self) -> Over {
        while self.unread.len() < LINE_BYTES_MAX {
            if let Err(over) = self.read_more().await {
                return over;
            }
        }
        pending().await
    }

    async fn read_more(&mut self) -> Result<(), Over> {
        match self.stream.read_buf(&mut self.unread).await {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(Over::ClientLeft),
        }
    }

    /// What comes before `end`, which is taken too.
    async fn read_line(&mut self, end: &[u8]) -> Result<Vec<u8>, Over> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|bytes| bytes == end) {
                let mut line: Vec<u8> = self.unread.drain(..at + end.len()).collect();
                line.truncate(at);
                return Ok(line);
            }
            if self.unread.len() > LINE_BYTES_MAX {
                return Err(Over::Broken);
            }
            self.read_more().await?;
        }
    }

    async fn read(&mut self, length: usize) -> Result<Vec<u8>, Over> {
        while self.unread.len() < length {
            self.read_more().await?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.stream.write_all(bytes).await.map_err(|_| Over::ClientLeft)
    }
}

async fn rested(time_ms: u64) {
    match time_ms {
        // Others have their turn, and what has come in is seen.
        0 => tokio::task::yield_now().await,
        time_ms => sleep(Duration::from_millis(time_ms)).await,
    }
}

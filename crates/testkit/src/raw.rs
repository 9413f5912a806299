//! A bare connection, for what no HTTP client would send: half a request, a body that never comes, a sudden goodbye. And its
//! counterpart, which answers what no service would.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{BOUND, in_time};

/// A TCP connection to the service. Dropping it closes it.
pub struct Raw(TcpStream);

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("the service accepts"))
    }

    /// Connects and sends a JSON body to `POST /v1/complete`; the answer is not read.
    pub async fn complete(address: SocketAddr, body: &str) -> Self {
        let mut raw = Self::connect(address).await;
        let length = format!("Content-Length: {}", body.len());
        raw.write(&format!("{}{body}", head(&[&length]))).await;
        raw
    }

    /// Connects and sends the head of a `POST /v1/complete` with these headers besides the ordinary ones, and no body.
    pub async fn head(address: SocketAddr, headers: &[&str]) -> Self {
        let mut raw = Self::connect(address).await;
        raw.write(&head(headers)).await;
        raw
    }

    /// Sends text as it is.
    pub async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("the service reads");
    }

    /// What has come once `end` is part of it, or all that came before the connection closed.
    pub async fn read_until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&bytes).contains(end) {
                if !matches!(self.0.read_buf(&mut bytes).await, Ok(1..)) {
                    break;
                }
            }
        };
        in_time(&format!("{end:?} or the end of the connection"), 2 * BOUND, reading).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything until the service closes the connection.
    pub async fn read_to_end(&mut self) -> String {
        self.read_until("\0").await
    }
}

/// Gives everyone this answer, from its first line on, and closes the connection. Its URL.
#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
pub async fn answering(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            // Small requests come in one piece. Who asks may leave at any time.
            let _ = peer.read(&mut [0; 4096]).await;
            let _ = peer.write_all(answer.as_bytes()).await;
        }
    });
    url
}

/// Gives these answers, each on a connection of its own, which it closes after it. Its URL, and the requests that came.
#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
pub async fn answering_in_turn(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&requests);
    tokio::spawn(async move {
        for answer in answers {
            let (mut peer, _) = listener.accept().await.expect("a connection");
            let request = read_request(&mut peer).await;
            noted.lock().expect("no panic").push(request);
            peer.write_all(answer.as_bytes()).await.expect("the client reads");
        }
    });
    (url, requests)
}

/// An answer that is JSON, and the last on its connection.
pub fn json_answer(status: u16, body: &Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// What a service says of a stored batch, with `more` or other fields.
pub fn stored_batch(more: &Value) -> Value {
    let mut job = json!({"id": "batch_1", "project_id": "p", "status": "running", "total": 2, "completed": 0, "failed": 0,
        "total_cost": 0.0, "total_cost_nanos": 0, "total_tokens": 0, "created_at": "2026-11-25T00:00:00Z"});
    let fields = more.as_object().expect("an object").clone();
    job.as_object_mut().expect("an object").extend(fields);
    job
}

/// The head and the body of a request.
pub async fn read_request(peer: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
            if body.len() >= head.lines().find_map(length).unwrap_or(0) {
                return text;
            }
        }
        peer.read_buf(&mut bytes).await.expect("the client writes");
    }
}

fn head(headers: &[&str]) -> String {
    let ordinary = ["Host: localhost", "Content-Type: application/json"];
    let lines: Vec<&str> = ordinary.iter().chain(headers).copied().collect();
    format!("POST /v1/complete HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"))
}

//! A client that takes what comes, down to how the connection ends.

use std::{collections::BTreeMap, io::ErrorKind};

use claude_code_api_testkit::{BOUND, Simulator, in_time, simulator::KEY};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A request for a message with this script.
pub(crate) fn asking(script: &Value, stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": format!("Hello sim:{script}")}]);
    json!({"model": "claude-sonnet-5-5", "max_tokens": 100, "stream": stream, "messages": messages})
}

/// Everything that came on a connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the body has come to its end.
    pub(crate) is_complete: bool,
    /// Whether the connection was reset.
    pub(crate) is_reset: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The data of all events that are JSON, each with the name that it came under.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text().replace("\r\n", "\n");
        let of_frame = |frame: &str| {
            let name = frame.lines().find_map(|line| line.strip_prefix("event: "))?;
            let data = frame.lines().find_map(|line| line.strip_prefix("data: "))?;
            let event: Value = serde_json::from_str(data).ok()?;
            assert_eq!(event["type"], name, "{frame}");
            Some(event)
        };
        text.split("\n\n").filter_map(of_frame).collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.events().iter().map(|event| event["type"].as_str().expect("named").to_owned()).collect()
    }

    fn of(bytes: &[u8], is_reset: bool) -> Self {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            let (headers, body) = (BTreeMap::new(), bytes.to_vec());
            return Self { status: 0, headers, body, is_complete: false, is_reset };
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head[9..12].parse().expect("a status");
        let headers: BTreeMap<_, _> = head.lines().filter_map(|line| line.split_once(": ")).map(owned).collect();
        let (body, is_complete) = match headers.get("content-length") {
            Some(length) => (bytes[end + 4..].to_vec(), length.parse() == Ok(bytes.len() - end - 4)),
            None => dechunked(&bytes[end + 4..]),
        };
        Self { status, headers, body, is_complete, is_reset }
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn dechunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(at) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..at]), 16).expect("a length");
        let rest = &bytes[at + 2..];
        body.extend_from_slice(&rest[..length.min(rest.len())]);
        if length == 0 || rest.len() < length + 2 {
            return (body, length == 0);
        }
        bytes = &rest[length + 2..];
    }
    (body, false)
}

/// A connection, with one request on it.
pub(crate) struct Socket(TcpStream, Vec<u8>);

impl Socket {
    /// Sends a request for a message, after which the connection is to be closed.
    pub(crate) async fn ask(simulator: &Simulator, body: &Value) -> Self {
        Self::send(simulator, "POST /v1/messages?beta=true", KEY, &body.to_string()).await
    }

    pub(crate) async fn send(simulator: &Simulator, what: &str, key: &str, body: &str) -> Self {
        let mut stream = TcpStream::connect(simulator.address()).await.expect("it accepts");
        let head = format!(
            "{what} HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\nAnthropic-Version: 2023-06-01\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("it reads");
        Self(stream, Vec::new())
    }

    /// Reads until `text` has come so many times.
    pub(crate) async fn read_until(&mut self, text: &str, times: usize) {
        let reading = async {
            while String::from_utf8_lossy(&self.1).matches(text).count() < times {
                assert!(self.0.read_buf(&mut self.1).await.expect("more") > 0, "the connection ended before {text}");
            }
        };
        in_time(text, BOUND, reading).await;
    }

    /// What has come so far.
    pub(crate) fn so_far(&self) -> Answer {
        Answer::of(&self.1, false)
    }

    /// Reads until the connection ends.
    pub(crate) async fn answer(mut self) -> Answer {
        let reading = async {
            loop {
                match self.0.read_buf(&mut self.1).await {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                        return true;
                    }
                }
            }
        };
        let is_reset = in_time("the connection ends", BOUND, reading).await;
        Answer::of(&self.1, is_reset)
    }
}

/// The answer to a request with this script.
pub(crate) async fn answer(simulator: &Simulator, script: &Value, stream: bool) -> Answer {
    Socket::ask(simulator, &asking(script, stream)).await.answer().await
}

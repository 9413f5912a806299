//! `make bench-client`: the Python clients side by side on one loopback server. This is the server; it answers at once with what it
//! has ready, in the dialect of whoever asks, and then runs `compare.py`, which calls it.

#![expect(clippy::disallowed_methods, reason = "no app here")]

use std::{
    env, io,
    process::{Command, ExitCode},
    sync::mpsc,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Events of a streamed answer, each a token.
const TOKENS: usize = 20_000;

fn main() -> ExitCode {
    let (ready, started) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            ready.send(listener.local_addr().expect("bound")).expect("it is waited for");
            loop {
                let (socket, _) = listener.accept().await.expect("connections come");
                tokio::spawn(serve(socket));
            }
        });
    });
    let address = started.recv().expect("the server starts");
    let python = env::var_os("BENCH_PYTHON").expect("run it with `make bench-client`");
    let ended = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/client/compare.py"))
        .arg(format!("http://{address}"))
        .status();
    if ended.expect("Python starts").success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One connection, request after request, until the client closes it.
async fn serve(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if socket.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap_or("0");
        let end = head_end + length.parse::<usize>().map_err(io::Error::other)?;
        while bytes.len() < end {
            if socket.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        answer(&mut socket, path, &bytes[head_end..end]).await?;
        bytes.drain(..end);
    }
}

async fn answer(socket: &mut TcpStream, path: &str, body: &[u8]) -> io::Result<()> {
    let body: Value = serde_json::from_slice(body).map_err(io::Error::other)?;
    if path.ends_with("/v1/batch") {
        let prompts = body["prompts"].as_array().map_or(0, Vec::len);
        return events(socket, (0..prompts).map(batch_result).chain([batch_done(prompts)])).await;
    }
    if body["stream"] == true {
        return events(socket, stream(path)).await;
    }
    let text = whole(path).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_1\r\n";
    socket.write_all(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes()).await
}

/// Each event is written by itself, as tokens come.
async fn events(socket: &mut TcpStream, events: impl Iterator<Item = String>) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    for event in events {
        socket.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
    }
    socket.write_all(b"0\r\n\r\n").await
}

fn whole(path: &str) -> Value {
    match path {
        "/v1/messages" => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
            "content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 3, "output_tokens": 4},
        }),
        "/v1/chat/completions" => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "claude-haiku-4-5",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        }),
        _ => json!({
            "id": "call_1", "model": "haiku", "model_id": "claude-haiku-4-5", "content": "hello", "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
            "cache": {"creation_input_tokens": 0, "read_input_tokens": 0}, "cost": 0.000_023, "cost_nanos": 23_000,
            "project_id": "default", "backend": "canned",
        }),
    }
}

/// An answer of [`TOKENS`] tokens, in the dialect of the path.
fn stream(path: &str) -> Box<dyn Iterator<Item = String> + Send> {
    let tokens = |event: String| std::iter::repeat_n(event, TOKENS);
    match path {
        "/v1/messages" => {
            let mut message = whole(path);
            message["content"] = json!([]);
            let start = [
                json!({"type": "message_start", "message": message}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            ];
            let delta =
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "tok "}});
            let end = [
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": TOKENS}}),
                json!({"type": "message_stop"}),
            ];
            let named = |data: Value| named(data["type"].as_str().unwrap_or_default(), &data);
            Box::new(start.into_iter().map(named).chain(tokens(named(delta))).chain(end.into_iter().map(named)))
        }
        "/v1/chat/completions" => {
            let chunk = |delta: Value, finish: Value| {
                let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
                let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                    "model": "claude-haiku-4-5", "choices": [choice]});
                format!("data: {chunk}\n\n")
            };
            let end = [chunk(json!({}), json!("stop")), "data: [DONE]\n\n".to_owned()];
            Box::new(tokens(chunk(json!({"content": "tok "}), Value::Null)).chain(end))
        }
        _ => {
            let start = named("start", &json!({"id": "call_1", "model": "haiku", "model_id": "claude-haiku-4-5"}));
            let delta = named("delta", &json!({"text": "tok "}));
            Box::new([start].into_iter().chain(tokens(delta)).chain([named("done", &whole(path))]))
        }
    }
}

fn batch_result(index: usize) -> String {
    let usage = json!({"input_tokens": 3, "output_tokens": 4, "total_tokens": 7});
    named(
        "result",
        &json!({
            "index": index, "id": null, "prompt": "Write a haiku", "status": "completed", "content": "hello",
            "usage": usage, "cost": 0.000_023, "cost_nanos": 23_000, "error": null, "error_code": null,
            "call_id": "call_1", "model": "haiku", "model_id": "claude-haiku-4-5",
        }),
    )
}

fn batch_done(total: usize) -> String {
    let totals = json!({"total": total, "completed": total, "failed": 0, "total_cost": 0.0, "total_cost_nanos": 0,
        "total_tokens": 0});
    named("done", &totals)
}

fn named(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

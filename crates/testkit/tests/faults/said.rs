//! What a dialect says, held against what it may say: a whole answer, an error, or a stream that ends with exactly one last word.

use claude_code_api_testkit::{Answer, Events, send};
use claude_code_api_wire::{
    ErrorCode,
    anthropic::{ErrorKind, ErrorReply},
    sse::{Decoder, Frame},
};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::call::{Dialect, Got};

/// Reads the answer to its end.
pub(super) async fn read((dialect, stream): (Dialect, bool), request: RequestBuilder) -> Got {
    if !stream {
        return whole(dialect, &send(request).await.expect("an answer"));
    }
    let response = request.send().await.expect("an answer");
    let kind = response.headers().get("content-type").map(|value| value.as_bytes().to_owned());
    if kind.as_deref() != Some(b"text/event-stream") {
        let answer = Answer::read(response).await.expect("an answer");
        assert_ne!(answer.status, 200, "no stream: {answer:?}");
        return whole(dialect, &answer);
    }
    match dialect {
        Dialect::Native => native_stream(response).await,
        Dialect::Anthropic => anthropic_stream(&frames(response).await),
        Dialect::OpenAi => openai_stream(&frames(response).await),
    }
}

fn whole(dialect: Dialect, answer: &Answer) -> Got {
    match (dialect, answer.status) {
        (Dialect::Native, 200) => Got::Whole(answer.done().content),
        (Dialect::Native, _) => {
            let error = answer.error().error;
            Got::Error(error.code, error.retry_after)
        }
        (Dialect::Anthropic, 200) => message(&answer.json()),
        (Dialect::Anthropic, status) => {
            let (kind, got) = anthropic_error(&answer.body);
            assert_eq!(kind.status, status, "{answer:?}");
            with_headers(answer, got)
        }
        (Dialect::OpenAi, 200) => completion(&answer.json()),
        (Dialect::OpenAi, status) => {
            let got = openai_error(&answer.json());
            assert!(matches!(got, Got::Error(code, _) if code.status() == status), "{answer:?}");
            with_headers(answer, got)
        }
    }
}

/// The headers say what the body says.
fn with_headers(answer: &Answer, got: Got) -> Got {
    let Got::Error(_, wait) = got else { panic!("no error: {answer:?}") };
    let header =
        answer.headers.get("retry-after").map(|_| answer.header("retry-after").parse::<f64>().expect("seconds"));
    assert_eq!(wait.map(f64::ceil), header, "{answer:?}");
    assert!(answer.header("request-id").starts_with("req_"), "{answer:?}");
    assert!(matches!(answer.header("x-should-retry"), "true" | "false"), "{answer:?}");
    got
}

fn message(message: &Value) -> Got {
    assert_eq!((&message["type"], &message["role"]), (&"message".into(), &"assistant".into()), "{message}");
    assert!(message["stop_reason"].is_string() && message["usage"]["output_tokens"].is_u64(), "{message}");
    let blocks = message["content"].as_array().expect("content");
    Got::Whole(blocks.iter().filter_map(|block| block["text"].as_str()).collect())
}

fn completion(completion: &Value) -> Got {
    assert_eq!(completion["object"], "chat.completion", "{completion}");
    let choice = &completion["choices"][0];
    assert!(choice["finish_reason"].is_string() && completion["usage"]["total_tokens"].is_u64(), "{completion}");
    Got::Whole(choice["message"]["content"].as_str().unwrap_or_default().to_owned())
}

fn anthropic_error(body: &str) -> (ErrorKind, Got) {
    let reply: ErrorReply = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    let kind = ErrorKind::of(reply.error.code);
    assert_eq!((reply.kind.as_str(), reply.error.kind.as_str()), ("error", kind.name), "{body}");
    assert!(!reply.error.message.is_empty() && reply.request_id.starts_with("req_"), "{body}");
    (kind, Got::Error(reply.error.code, reply.error.extra.get("retry_after").and_then(Value::as_f64)))
}

fn openai_error(body: &Value) -> Got {
    let error = &body["error"];
    assert!(error["type"].is_string() && error["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    let code: ErrorCode = serde_json::from_value(error["code"].clone()).expect("a code of the contract");
    Got::Error(code, error["retry_after"].as_f64())
}

async fn native_stream(response: Response) -> Got {
    match Events::of(response).to_the_end().await.end {
        Ok(done) => Got::Whole(done.content),
        Err(error) => Got::Error(error.error.code, error.error.retry_after),
    }
}

/// The events of a stream, comments left out. One that breaks off fails.
async fn frames(mut response: Response) -> Vec<(String, String)> {
    let (mut decoder, mut frames) = (Decoder::with_bytes_max(32 << 20), Vec::new());
    while let Some(bytes) = response.chunk().await.expect("the stream is whole") {
        decoder.push(&bytes);
        while let Some(frame) = decoder.next_frame().expect("short events") {
            if let Frame::Event { name, data } = frame {
                frames.push((name, data));
            }
        }
    }
    frames
}

fn anthropic_stream(frames: &[(String, String)]) -> Got {
    let is_last = |name: &str| matches!(name, "message_stop" | "error");
    let named: Vec<&str> = frames.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "ping").collect();
    assert_eq!(named.first(), Some(&"message_start"), "{named:?}");
    let last_words = named.iter().filter(|name| is_last(name)).count();
    assert!(last_words == 1 && named.last().is_some_and(|name| is_last(name)), "{named:?}");
    let mut text = String::new();
    let mut reasons = 0;
    for (name, data) in frames {
        let data: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        assert_eq!(data["type"], **name);
        text += data["delta"]["text"].as_str().unwrap_or_default();
        reasons += usize::from(name == "message_delta" && data["delta"]["stop_reason"].is_string());
    }
    let (name, data) = frames.last().expect("not empty");
    if name == "error" {
        assert_eq!(reasons, 0, "a reason to stop, and an error: {named:?}");
        return anthropic_error(data).1;
    }
    assert_eq!(reasons, 1, "{named:?}");
    Got::Whole(text)
}

fn openai_stream(frames: &[(String, String)]) -> Got {
    let (last, before) = frames.split_last().expect("not empty");
    assert!(frames.iter().all(|(name, _)| name == "message"), "OpenAI's events have no names: {frames:?}");
    let chunks: Vec<Value> = before
        .iter()
        .map(|(_, data)| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}")))
        .collect();
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"), "{chunks:?}");
    let reasons = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string()).count();
    if last.1 == "[DONE]" {
        assert_eq!((reasons, &chunks[0]["choices"][0]["delta"]["role"]), (1, &"assistant".into()), "{chunks:?}");
        let texts = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        return Got::Whole(texts.collect());
    }
    assert_eq!(reasons, 0, "a reason to finish, and an error: {chunks:?}");
    openai_error(&serde_json::from_str(&last.1).expect("JSON"))
}

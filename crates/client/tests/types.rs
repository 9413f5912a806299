//! What the types of the client are good for: which go from thread to thread, and what is shown of them.

use std::{fmt::Debug, time::Duration};

use claude_code_api_client::{
    Batch, BatchJob, BatchPrompt, BatchResponse, BatchResults, BatchStream, Batches, Client, ClientBuilder,
    CompleteResponse, Error, Period, Request, TextStream, UsageReport, blocking,
};
use futures_core::Stream;

fn shared<T: Send + Sync + Unpin + Debug + 'static>() {}
fn moved<T: Send + Unpin + Debug + 'static>() {}
fn stream<T: Stream<Item = Result<Item, Error>>, Item>() {}
fn iterator<T: Iterator<Item = Result<Item, Error>>, Item>() {}
fn sent<F: Future + Send>(_: F) {}

#[test]
fn everything_is_shared_between_threads_but_streams_which_are_moved() {
    shared::<Client>();
    shared::<ClientBuilder>();
    shared::<blocking::Client>();
    shared::<Request>();
    shared::<Batch>();
    shared::<CompleteResponse>();
    shared::<BatchResponse>();
    shared::<BatchJob>();
    shared::<Batches>();
    shared::<blocking::Batches>();
    shared::<UsageReport>();
    shared::<Error>();
    moved::<TextStream>();
    moved::<BatchStream>();
    moved::<BatchResults>();
    moved::<blocking::Stream>();
    moved::<blocking::BatchStream>();
    moved::<blocking::BatchResults>();
}

#[test]
fn streams_are_streams_and_iterators() {
    stream::<TextStream, String>();
    stream::<BatchStream, _>();
    stream::<BatchResults, _>();
    iterator::<blocking::Stream, String>();
    iterator::<blocking::BatchStream, _>();
    iterator::<blocking::BatchResults, _>();
}

#[test]
fn every_operation_can_be_spawned() {
    let client = Client::builder().base_url("http://localhost:8080").build().expect("a client");
    sent(client.complete("Hello"));
    sent(client.stream(Request::new("Hello")));
    sent(client.batch(["Hello"]));
    sent(client.batch_stream(vec![BatchPrompt::with_id("row-1", "Hello")]));
    sent(client.usage(None, Period::Day));
    sent(client.health());
    let batches = client.batches();
    sent(batches.create(["Hello"]));
    sent(batches.list(None, None));
    sent(batches.wait("batch_1", None, |_| {}));
    sent(batches.cancel("batch_1"));
}

#[expect(dead_code, reason = "a stream comes from a service; that this compiles is the test")]
fn reading_can_be_spawned(mut texts: TextStream, mut results: BatchStream) {
    sent(async move { (texts.next().await, results.next().await) });
}

#[test]
fn no_secret_is_shown() {
    let builder = Client::builder().base_url("http://ada:pass-word@localhost:8080").api_key("ccak_secret");
    let client = builder.clone().timeout(Duration::from_secs(1)).build().expect("a client");
    let shown = format!("{builder:?} {client:?} {:?}", blocking::Client::from(client.clone()));
    assert!(!shown.contains("pass-word") && !shown.contains("ccak_secret"), "{shown}");
    assert!(shown.contains("http://localhost:8080/"), "{shown}");
}

//! `bench-local`: the embedded model behind the real service, in about a minute. One table: tokens per second of 1, 4
//! and 16 streams, the time to the first token, and how long a cancelled stream keeps its slot.

use std::time::{Duration, Instant};

use claude_code_api_service::config::{Config, Settings};
use claude_code_api_testkit::{Caller, Event, Events, TestServer};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// Streams at a time, how often, and tokens of each: about the same number of tokens in every row.
const ROWS: [(u32, u32, u32); 3] = [(1, 8, 128), (4, 2, 128), (16, 1, 96)];
const CANCELLATIONS: u32 = 10;
const STREAMS_DURING_CANCELLATION: u32 = 16;

fn request(seed: u32, max_tokens: u32) -> Value {
    json!({"prompt": "Tell a long story about the sea.", "max_tokens": max_tokens, "seed": seed})
}

#[tokio::main]
async fn main() {
    let server = TestServer::start_with(as_served()).await;
    let caller = server.caller();
    stream(&caller, 0, 8).await; // The first call of a process is slower than every other.
    println!("| streams | tokens/s in all | ratio to 1 stream | first token, p50 | first token, max |");
    println!("|--:|--:|--:|--:|--:|");
    let mut single = None;
    for (streams, rounds, max_tokens) in ROWS {
        let (rate, mut first_tokens) = measure(&caller, streams, rounds, max_tokens).await;
        let ratio = rate / *single.get_or_insert(rate);
        let (p50, max) = p50_and_max(&mut first_tokens);
        println!("| {streams} | {rate:.1} | {ratio:.2} | {} ms | {} ms |", p50.as_millis(), max.as_millis());
    }
    let (p50, max) = p50_and_max(&mut cancellations(&server).await);
    println!(
        "\nCancelling one of {STREAMS_DURING_CANCELLATION} streams frees its slot after {:.1} ms (p50), {:.1} ms (max \
         of {CANCELLATIONS}).",
        p50.as_secs_f64() * 1e3,
        max.as_secs_f64() * 1e3,
    );
}

/// Tokens per second of `streams` at a time, and the time to every first token.
async fn measure(caller: &Caller, streams: u32, rounds: u32, max_tokens: u32) -> (f64, Vec<Duration>) {
    let (mut tokens, mut took, mut first_tokens) = (0, Duration::ZERO, Vec::new());
    for round in 0..rounds {
        let begun = Instant::now();
        for (first_token, count) in join_all((0..streams).map(|seed| stream(caller, round + seed, max_tokens))).await {
            first_tokens.push(first_token);
            tokens += count;
        }
        took += begun.elapsed();
    }
    let tokens = u32::try_from(tokens).expect("a benchmark of a minute");
    (f64::from(tokens) / took.as_secs_f64(), first_tokens)
}

/// One stream to its end: the time to its first token, and how many there were.
async fn stream(caller: &Caller, seed: u32, max_tokens: u32) -> (Duration, u64) {
    let begun = Instant::now();
    let mut events = caller.stream(request(seed, max_tokens)).await;
    events.first_delta().await;
    let first_token = begun.elapsed();
    let Event::Done(done) = events.find(|event| matches!(event, Event::Done(_))).await else { unreachable!("found") };
    (first_token, done.usage.output_tokens)
}

/// The times from dropping one of the streams to its slot being free.
async fn cancellations(server: &TestServer) -> Vec<Duration> {
    let caller = server.caller();
    let mut streams = join_all((0..STREAMS_DURING_CANCELLATION).map(|seed| running(&caller, seed))).await;
    let mut times = Vec::new();
    for seed in 0..CANCELLATIONS {
        let before = server.local().calls_running();
        let begun = Instant::now();
        drop(streams.remove(0));
        while server.local().calls_running() >= before {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        times.push(begun.elapsed());
        streams.push(running(&caller, seed).await);
    }
    times
}

/// A stream that has begun, and goes on for longer than the benchmark.
async fn running(caller: &Caller, seed: u32) -> Events {
    let mut events = caller.stream(request(seed, 900)).await;
    events.first_delta().await;
    events
}

fn p50_and_max(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

/// Tests keep to one thread; what is measured is what `serve` does.
fn as_served() -> Settings {
    let defaults = Config::from_settings(&Settings::default()).expect("the defaults are in range");
    Settings { local_batch_threads: Some(defaults.local.batch_threads), ..Settings::default() }
}

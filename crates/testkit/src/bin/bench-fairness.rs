//! `bench-fairness`: a backend that takes eight calls at a time, a batch of 10,000 of one project, and another project's calls, one
//! after the other; in about a minute and a half. How long such a call takes alone and beside the batch, and what it costs the batch.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Caller, Simulator, TestServer, json_of};
use claude_code_api_wire::sse::{Decoder, Frame};
use http::Method;
use serde_json::json;

const TURNS: usize = 8;
const ITEMS: usize = 10_000;
const ITEMS_AT_ONCE: usize = 1_000;
const CALLS: usize = 400;

/// What the simulated Claude takes 50 ms for.
const PROMPT: &str = "sim:{\"first_ms\": 50}";

#[tokio::main]
async fn main() {
    let simulator = Simulator::start();
    let settings = Settings { anthropic_concurrency_max: Some(TURNS), ..Settings::default() };
    let server = TestServer::start_on(&simulator, settings).await;
    let caller = server.caller();
    calls(&caller, CALLS / 20).await; // The first ones open connections.
    let alone = calls(&caller, CALLS).await;
    let ended = AtomicUsize::new(0);
    let beside = async {
        while ended.load(Ordering::SeqCst) < ITEMS / 100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let begun = Mark::now(&ended);
        (begun, calls(&caller, CALLS).await, Mark::now(&ended))
    };
    let (end, (begun, beside, left)) = tokio::join!(batch(&caller, &ended), beside);
    println!("| a call of another project | p50 | p99 |\n|:--|--:|--:|");
    let (alone, beside) = (p50_and_p99(alone), p50_and_p99(beside));
    println!("| alone | {:.1} ms | {:.1} ms |", alone.0, alone.1);
    println!("| beside a batch of {ITEMS} | {:.1} ms | {:.1} ms |", beside.0, beside.1);
    println!("| ratio | {:.2} | {:.2} |", beside.0 / alone.0, beside.1 / alone.1);
    println!("\nThe batch: {:.0} items/s beside these calls, {:.0} alone.", begun.rate(&left), left.rate(&end));
}

/// So many calls, one after the other; how long each took.
async fn calls(caller: &Caller, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let request = json!({"prompt": PROMPT, "project_id": "interactive", "model": "haiku", "max_tokens": 50});
        caller.complete(request).await.done();
        times.push(begun.elapsed());
    }
    times
}

/// The whole batch; counts what has ended of it.
async fn batch(caller: &Caller, ended: &AtomicUsize) -> Mark {
    let body = json!({
        "prompts": vec![PROMPT; ITEMS], "project_id": "batch", "model": "haiku", "max_tokens": 50, "stream": true,
        "max_concurrency": ITEMS_AT_ONCE,
    });
    let request = json_of(caller.request(Method::POST, "/v1/batch"), body.to_string());
    let mut response = request.timeout(Duration::from_mins(10)).send().await.expect("the service answers");
    let mut decoder = Decoder::default();
    while let Some(bytes) = response.chunk().await.expect("the stream goes on") {
        decoder.push(&bytes);
        while let Some(frame) = decoder.next_frame().expect("short frames") {
            let Frame::Event { name, data } = frame else { continue };
            let is_result = name == "result";
            assert!(!is_result || data.contains("\"completed\""), "{data}");
            ended.fetch_add(usize::from(is_result), Ordering::SeqCst);
        }
    }
    assert_eq!(ended.load(Ordering::SeqCst), ITEMS);
    Mark::now(ended)
}

/// How much of the batch had ended when.
struct Mark {
    at: Instant,
    ended: usize,
}

impl Mark {
    fn now(ended: &AtomicUsize) -> Self {
        Self { at: Instant::now(), ended: ended.load(Ordering::SeqCst) }
    }

    /// Items a second from here to there.
    fn rate(&self, later: &Self) -> f64 {
        let items = u32::try_from(later.ended - self.ended).expect("a benchmark of minutes");
        f64::from(items) / (later.at - self.at).as_secs_f64()
    }
}

/// In milliseconds.
fn p50_and_p99(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let ms = |index: usize| times[index].as_secs_f64() * 1e3;
    (ms(times.len() / 2), ms(times.len() * 99 / 100))
}

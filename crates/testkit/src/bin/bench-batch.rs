//! `bench-batch`: batches against the simulator at no latency, stored and waited for, on the real binary: items per second, and the most
//! memory that the service took.

use std::time::{Duration, Instant};

use claude_code_api_testkit::{PostgresServer, Program, Simulator, json_of};
use claude_code_api_wire::{BatchJob, BatchJobStatus};
use http::Method;
use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const CONCURRENCY: usize = 64;
const POLL_EVERY: Duration = Duration::from_millis(20);
const RUN_MAX: Duration = Duration::from_mins(20);

#[tokio::main]
async fn main() {
    let simulator = Simulator::start();
    let database = PostgresServer::start();
    let url = database.database();
    println!("| batch | items | stored after | items/s | peak memory |");
    println!("|:--|--:|--:|--:|--:|");
    for (name, flags) in [("/v1/batches, SQLite", vec![]), ("/v1/batches, PostgreSQL", vec!["--database-url", &url])] {
        for items in SIZES {
            let program = serve(&simulator, &flags).await;
            let begun = Instant::now();
            let taken: BatchJob = parsed(send(&program, "/v1/batches", &batch(items)).await).await;
            let stored = begun.elapsed();
            wait_for(&program, &taken.id).await;
            row(name, items, Some(stored), begun.elapsed(), &program);
        }
    }
    for items in SIZES {
        let program = serve(&simulator, &[]).await;
        let begun = Instant::now();
        let mut streamed = batch(items);
        streamed["stream"] = json!(true);
        let mut answer = send(&program, "/v1/batch", &streamed).await;
        while answer.chunk().await.expect("it goes on to its end").is_some() {}
        row("/v1/batch, streamed", items, None, begun.elapsed(), &program);
    }
}

async fn serve(simulator: &Simulator, flags: &[&str]) -> Program {
    let quiet = ["--log", "error", "--default-tokens-per-month", "none"];
    Program::serve_on(simulator, TempDir::new().expect("a folder"), &[&quiet, flags].concat(), &[]).await
}

fn batch(items: usize) -> Value {
    let prompts: Vec<String> = (0..items).map(|number| format!("Name the colour of number {number}.")).collect();
    json!({"prompts": prompts, "model": "haiku", "max_tokens": 100, "max_concurrency": CONCURRENCY})
}

async fn send(program: &Program, path: &str, body: &Value) -> Response {
    let request = json_of(program.caller().request(Method::POST, path), body.to_string());
    let answer = request.timeout(RUN_MAX).send().await.expect("the service answers");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer
}

async fn parsed(answer: Response) -> BatchJob {
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("a batch")
}

async fn wait_for(program: &Program, id: &str) {
    let path = format!("/v1/batches/{id}");
    loop {
        let asked = program.caller().request(Method::GET, &path).send().await.expect("the service answers");
        let job = parsed(asked).await;
        if job.status == BatchJobStatus::Ended {
            assert_eq!((job.completed, job.failed), (job.total, 0));
            return;
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn row(name: &str, items: usize, stored: Option<Duration>, took: Duration, program: &Program) {
    let stored = stored.map_or_else(|| "–".to_owned(), |after| format!("{} ms", after.as_millis()));
    let rate = items as f64 / took.as_secs_f64();
    println!("| {name} | {items} | {stored} | {rate:.0} | {} MiB |", program.memory_peak_kib() / 1024);
}

//! A thousand streams whose readers go away, each at another moment, over all dialects: upstream every one of them is closed, no
//! hold is left, what was cut off is estimated and never below the bill, and what was whole is exact.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use claude_code_api_service::{
    config::Settings,
    ledger::{Ended, Entry, Limits, Project},
    project::ProjectId,
    store::EntriesWanted,
};
use claude_code_api_testkit::{
    Caller, Simulator, TestServer, json_of, send,
    simulator::{Billed, KEY},
    until,
};
use claude_code_api_wire::sse::{Decoder, Frame};
use futures_util::{StreamExt, stream};
use http::Method;
use reqwest::Response;
use serde_json::{Value, json};

const STREAMS: u64 = 1_000;
const AT_ONCE: usize = 200;
/// A worker of Claude Code ends with its call, and the next costs half a second of a core.
const STREAMS_BY_CLAUDE_CODE: u64 = 60;
const AT_ONCE_BY_CLAUDE_CODE: usize = 12;
const MAX_TOKENS: u64 = 500;

/// Figures that a failure can name: the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, range: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % range
    }
}

/// When a reader goes away, unless the stream ends before.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    AfterEvents(u64),
    AfterMs(u64),
}

struct Stream {
    number: u64,
    script: Value,
    leaves: Leaves,
}

impl Stream {
    fn of(number: u64) -> Self {
        let mut random = Random(number);
        // By its input a stream is found on the bill.
        let mut script = json!({
            "input": 100 + number, "output": 100 + random.below(300), "token_ms": 1 + random.below(4),
            "first_ms": random.below(60), "lag_tokens": random.below(60),
        });
        match random.below(4) {
            0 => script["thinking"] = json!({"tokens": random.below(400), "display": "omitted"}),
            1 => script["tool"] = json!({"name": "look_up", "input": {"what": "the weather", "where": "here"}}),
            _ => script["tokens_per_delta"] = json!(1 + random.below(5)),
        }
        let leaves = if random.below(2) == 0 {
            Leaves::AfterEvents(random.below(60))
        } else {
            Leaves::AfterMs(random.below(250))
        };
        Self { number, script, leaves }
    }

    /// One whose first attempt breaks off without a word, and whose reader leaves about then.
    fn that_breaks(number: u64) -> Self {
        let mut random = Random(number);
        let script = json!({
            "input": 100 + number, "output": 1 + random.below(50), "token_ms": random.below(2),
            "delay_ms": random.below(60), "fault": "reset_after", "faults": 1,
        });
        Self { number, script, leaves: Leaves::AfterMs(random.below(200)) }
    }

    fn project(&self) -> ProjectId {
        ProjectId::parse(&format!("stream-{}", self.number)).expect("a name")
    }

    /// Reads until it is time to leave. Whether the stream has ended before.
    async fn read(&self, caller: &Caller) -> bool {
        let reading = async {
            let Ok(response) = self.request(caller, true).send().await else { return false };
            assert_eq!(response.status(), 200);
            let events_max = if let Leaves::AfterEvents(count) = self.leaves { count } else { u64::MAX };
            ended_within(response, events_max).await
        };
        let time_max = if let Leaves::AfterMs(time) = self.leaves { time } else { 20_000 };
        tokio::time::timeout(Duration::from_millis(time_max), reading).await.unwrap_or(false)
    }

    /// Who has a key may come back, so that its call goes on for a while without a reader.
    fn has_key(&self) -> bool {
        self.number % 5 == 4
    }

    fn request(&self, caller: &Caller, streamed: bool) -> reqwest::RequestBuilder {
        // No upstream counts more tokens than there are bytes.
        let prompt = format!("{} sim:{}", "word ".repeat(300), self.script);
        let (path, mut body) = match self.number % 3 {
            0 => ("/v1/complete", json!({"prompt": prompt, "project_id": self.project().as_str()})),
            1 => ("/v1/messages", json!({"messages": [{"role": "user", "content": prompt}]})),
            _ => ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": prompt}]})),
        };
        (body["model"], body["max_tokens"], body["stream"]) = (json!("sonnet"), json!(MAX_TOKENS), json!(streamed));
        let caller = if self.has_key() { &caller.once(self.project().as_str()) } else { caller };
        let request = json_of(caller.request(Method::POST, path), body.to_string());
        if self.number.is_multiple_of(3) { request } else { request.header("x-project-id", self.project().as_str()) }
    }

    /// Holds what the ledger has of it against the bill: attempt by attempt, in their order.
    fn check(&self, mut entries: Vec<Entry>, billed: &[Billed], had_its_end: bool) -> Option<Ended> {
        entries.sort_by_key(|entry| (entry.reserved_at, entry.settled_at));
        let about = format!("{} {:?} {}: {entries:?} for {billed:?}", self.number, self.leaves, self.script);
        assert!(entries.len() <= self.attempts_max() && billed.len() <= entries.len(), "{about}");
        for (entry, line) in entries.iter().zip(billed) {
            let (spent, (usage, cost)) = (&entry.spent, (line.usage(), line.nanos()));
            let is_equal = (spent.usage, spent.cost.0) == (usage, cost);
            let tokens = (usage.input_tokens + usage.output_tokens).cast_signed();
            let is_covered = spent.amount().tokens >= tokens && spent.cost.0 >= cost;
            assert!(if spent.exact { is_equal } else { is_covered }, "{about}");
        }
        assert!(
            entries.iter().skip(billed.len()).all(|entry| !entry.spent.exact),
            "exact, and not on the bill: {about}"
        );
        let last = entries.pop();
        assert!(entries.iter().all(|broken| broken.spent.ended == Ended::Failed && !broken.spent.exact), "{about}");
        let ended = last.as_ref().map(|last| last.spent.ended);
        // Who leaves after the last word of the usage, and before it is settled, has aborted what is known exactly.
        let is_right = last.is_none_or(|last| match last.spent.ended {
            Ended::Complete => last.spent.exact,
            Ended::Aborted => !had_its_end,
            // It was charged, and its reader had left before it was tried again.
            Ended::Failed => self.attempts_max() > 1 && !had_its_end,
            Ended::Orphaned => false,
        });
        assert!(is_right && (ended.is_some() || !had_its_end), "{about}");
        ended
    }

    fn attempts_max(&self) -> usize {
        if self.script["faults"].is_null() { 1 } else { 2 }
    }
}

/// Whether a stream ends before so many events have come.
async fn ended_within(mut response: Response, events_max: u64) -> bool {
    let (mut decoder, mut events) = (Decoder::default(), 0);
    while events < events_max {
        match decoder.next_frame().expect("short events") {
            Some(Frame::Event { .. }) => events += 1,
            Some(Frame::Comment(_)) => {}
            None => match response.chunk().await.expect("the stream is whole") {
                Some(bytes) => decoder.push(&bytes),
                None => return true,
            },
        }
    }
    false
}

/// The bill by its inputs, once nothing comes to it any more.
async fn settled(simulator: &Simulator) -> BTreeMap<u64, Vec<Billed>> {
    let mut bill = simulator.bill();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let later = simulator.bill();
        if later == bill {
            break;
        }
        bill = later;
    }
    let mut by_input: BTreeMap<u64, Vec<Billed>> = BTreeMap::new();
    for line in bill {
        by_input.entry(line.input_tokens).or_default().push(line);
    }
    by_input
}

async fn entries(server: &TestServer, project: ProjectId) -> Vec<Entry> {
    let wanted = EntriesWanted { project: Some(project), count_max: 100, ..EntriesWanted::default() };
    server.app().store().entries(wanted).await.expect("the store works")
}

async fn all_are_closed_and_charged(streams: Vec<Stream>) {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, settings(&streams)).await;
    all_are_closed_and_charged_on(&simulator, server, streams, AT_ONCE).await;
}

/// A key for each: attempts that break off are its key's failures too.
fn settings(streams: &[Stream]) -> Settings {
    let keys = streams.iter().map(|stream| format!("{KEY}-{}-", stream.number).into()).collect();
    Settings { anthropic_api_keys: Some(keys), ..Settings::default() }
}

async fn all_are_closed_and_charged_on(
    simulator: &Simulator,
    mut server: TestServer,
    streams: Vec<Stream>,
    at_once: usize,
) {
    let begun = Instant::now();
    server.expect_logged("broke off and is charged");
    for stream in &streams {
        let project = Project { id: stream.project(), limits: Limits::default(), created_by_use: false };
        server.app().store().set_project(project).await.expect("the store works");
    }
    let caller = server.caller();
    let reading = streams.iter().map(|stream| stream.read(&caller));
    let had_their_end: Vec<bool> = stream::iter(reading).buffered(at_once).collect().await;
    until("every stream is closed upstream", || simulator.open_streams() == 0).await;
    until("no hold is left", || server.app().open_reservations().count() == 0).await;
    let mut bill = settled(simulator).await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (stream, had_its_end) in streams.iter().zip(had_their_end) {
        let billed = bill.remove(&(100 + stream.number)).unwrap_or_default();
        let ended = stream.check(entries(&server, stream.project()).await, &billed, had_its_end);
        *counts.entry(ended.map_or("never begun", Ended::as_str)).or_default() += 1;
    }
    assert!(bill.is_empty(), "nobody's: {bill:?}");
    println!("{} streams in {:?}: {counts:?}", streams.len(), begun.elapsed());
    let back = streams.iter().filter(|stream| stream.has_key()).map(|stream| send(stream.request(&caller, false)));
    let answers: Vec<_> = stream::iter(back).buffered(at_once).collect().await;
    for answer in answers {
        assert_eq!(answer.expect("an answer").status, 200, "who comes back under its key is answered");
    }
    assert!(counts["aborted"] > streams.len() / 10 && counts["complete"] > 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_any_more_is_closed_and_charged() {
    all_are_closed_and_charged((0..STREAMS).map(Stream::of).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_that_nobody_reads_any_more_while_it_is_tried_again() {
    all_are_closed_and_charged((0..STREAMS).map(Stream::that_breaks).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Claude Code CLI: make sdk"]
async fn so_is_one_that_a_worker_of_claude_code_answers() {
    let (simulator, streams) = (Simulator::start(), (0..STREAMS_BY_CLAUDE_CODE).map(Stream::of).collect::<Vec<_>>());
    let server = TestServer::start_on_claude_code(&simulator, settings(&streams)).await;
    all_are_closed_and_charged_on(&simulator, server, streams, AT_ONCE_BY_CLAUDE_CODE).await;
}

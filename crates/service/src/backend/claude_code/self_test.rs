//! The self-test: whether the CLI that is here does what the backend relies on. Most of that is documented nowhere, and may change
//! from one version to the next; so it is tried, with answers that are made up here.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    brief::Brief,
    check::{Check, Outcome, Point},
    isolate::{Isolation, SLOTS_MAX},
    line::Init,
    login::Login,
    observe,
    package::VERSION,
    round::{self, Answer, Round},
    slot::{Slot, Slots},
    worker::{Worker, run},
};

/// How long anything may take: many times what it takes on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(10);

/// The last slot, which no pool comes to.
const SLOT: u32 = SLOTS_MAX - 1;

/// How much is shown of what was found.
const SHOWN_BYTES_MAX: usize = 600;

const AFTER_READY: [Check; 9] = [
    Check::Environment,
    Check::Isolated,
    Check::Text,
    Check::Init,
    Check::Gone,
    Check::Command,
    Check::File,
    Check::Fields,
    Check::Denied,
];

/// What came of a self-test.
#[derive(Debug)]
pub struct Tested {
    /// The version that the program says it is.
    pub version: Option<String>,
    /// Every check, in order.
    pub points: Vec<Point>,
}

/// Makes every check, with a dummy key or on a login. That is to be a made-up one, as nothing of this goes upstream.
pub async fn run_all(program: &Path, slots: &Slots, isolation: &Isolation, login: Option<&Login>) -> Tested {
    let (test, mut points) = (SelfTest { program, slots, isolation, login }, Points(Vec::new()));
    let mut version = None;
    points.note(Check::Version, test.version(&mut version)).await;
    let Some(worker) = points.note(Check::Ready, async { test.worker(test.slot()?).await }).await else {
        points.0.extend(AFTER_READY.map(|check| Point { check, outcome: Outcome::NotTried, time_ms: 0 }));
        return Tested { version, points: points.0 };
    };
    test.life(worker, &mut points).await;
    points.note(Check::Command, test.literal("/help")).await;
    points.note(Check::File, test.file()).await;
    points.note(Check::Fields, test.fields()).await;
    points.note(Check::Denied, test.denied()).await;
    Tested { version, points: points.0 }
}

struct Points(Vec<Point>);

impl Points {
    async fn note<T>(&mut self, check: Check, attempt: impl Future<Output = Result<T, Outcome>>) -> Option<T> {
        let begun = Instant::now();
        let (outcome, value) = match attempt.await {
            Ok(value) => (Outcome::Passed, Some(value)),
            Err(outcome) => (outcome, None),
        };
        let time_ms = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        self.0.push(Point { check, outcome, time_ms });
        value
    }
}

struct SelfTest<'a> {
    program: &'a Path,
    slots: &'a Slots,
    isolation: &'a Isolation,
    login: Option<&'a Login>,
}

impl SelfTest<'_> {
    fn slot(&self) -> Result<Slot, Outcome> {
        let slot = Slot::open(self.slots, SLOT, self.isolation, self.login);
        slot.map_err(|error| format!("it cannot have a slot: {error}").into())
    }

    async fn version(&self, version: &mut Option<String>) -> Result<(), Outcome> {
        let said = run(self.program, &["--version"], &self.slot()?, self.isolation, TIME_MAX).await?;
        *version = said.split_whitespace().next().map(str::to_owned);
        let is_pinned = version.as_deref() == Some(VERSION);
        if is_pinned { Ok(()) } else { Err(format!("it says {said:?}, and this works with {VERSION} only").into()) }
    }

    async fn worker(&self, slot: Slot) -> Result<Worker, Outcome> {
        let mut worker = Worker::start(self.program, slot, self.isolation).await?;
        worker.ready(TIME_MAX).await?;
        Ok(worker)
    }

    /// One worker from its beginning to its end.
    async fn life(&self, mut worker: Worker, points: &mut Points) {
        points.note(Check::Environment, async { observe::environment(&worker) }).await;
        points.note(Check::Isolated, async { observe::isolation(&worker, self.isolation) }).await;
        let answered = points.note(Check::Text, self.ask_plainly(&mut worker)).await;
        points.note(Check::Init, async { has_nothing(answered.and_then(|round| round.init)) }).await;
        points.note(Check::Gone, gone(worker)).await;
    }

    async fn round(&self, brief: &Brief, answer: Answer) -> Result<Round, Outcome> {
        Ok(round::take(&mut self.worker(self.slot()?).await?, brief, answer, TIME_MAX).await?)
    }

    async fn literal(&self, text: &str) -> Result<(), Outcome> {
        let brief = self.brief(text);
        self.is_exactly(&brief, self.round(&brief, Answer::Ok).await?)
    }

    /// One that the worker could read. It is there before the worker, which could have put a link to another in its place.
    async fn file(&self) -> Result<(), Outcome> {
        let slot = self.slot()?;
        let file = slot.temporary().join("planted");
        let planted = fs::write(&file, "planted").and_then(|()| slot.give(&file, 0o600));
        planted.map_err(|error| format!("no file can be planted: {error}"))?;
        let brief = self.brief(&format!("@{}", file.display()));
        self.is_exactly(&brief, round::take(&mut self.worker(slot).await?, &brief, Answer::Ok, TIME_MAX).await?)
    }

    async fn fields(&self) -> Result<(), Outcome> {
        let mut brief = self.brief("Hello");
        brief.fields.insert("max_tokens".to_owned(), json!(77));
        brief.fields.insert("temperature".to_owned(), json!(0.5));
        self.is_exactly(&brief, self.round(&brief, Answer::Ok).await?)
    }

    async fn denied(&self) -> Result<(), Outcome> {
        // On a login it asks again after a 401, with a token made anew; it is told of none.
        let status = if self.login.is_some() { StatusCode::BAD_GATEWAY } else { StatusCode::UNAUTHORIZED };
        let round = self.round(&self.brief("Hello"), Answer::Failed(status)).await?;
        let found = json!({"asked": u8::from(round.request.is_some()), "asked_again": round.refused,
            "is_error": round.ended.is_error, "status": round.ended.api_error_status});
        equal(&found, &json!({"asked": 1, "asked_again": 0, "is_error": true, "status": status.as_u16()}))
    }

    fn brief(&self, text: &str) -> Brief {
        round::brief(text, self.login)
    }

    async fn ask_plainly(&self, worker: &mut Worker) -> Result<Round, Outcome> {
        let brief = self.brief("Say hello.");
        let mut round = round::take(worker, &brief, Answer::Ok, TIME_MAX).await?;
        let init = round.init.take();
        self.is_exactly(&brief, round)?;
        Ok(Round { init, ..Round::default() })
    }

    fn is_exactly(&self, brief: &Brief, round: Round) -> Result<(), Outcome> {
        Ok(round.proves(brief, self.login)?)
    }
}

fn equal(found: &Value, expected: &Value) -> Result<(), Outcome> {
    if found == expected {
        return Ok(());
    }
    let mut found = found.to_string();
    found.truncate(found.floor_char_boundary(SHOWN_BYTES_MAX));
    Err(format!("it is {found}, and not {expected}").into())
}

fn has_nothing(init: Option<Init>) -> Result<(), Outcome> {
    let init = init.ok_or(Outcome::NotTried)?;
    let found = json!({"version": init.claude_code_version, "tools": init.tools, "mcp_servers": init.mcp_servers,
        "slash_commands": init.slash_commands});
    equal(&found, &json!({"version": VERSION, "tools": [], "mcp_servers": [], "slash_commands": []}))
}

async fn gone(worker: Worker) -> Result<(), Outcome> {
    match worker.kill().await {
        Ok(true) => Ok(()),
        Ok(false) => Err("what it had started is still there".to_owned().into()),
        Err(error) => Err(format!("it cannot be waited for: {error}").into()),
    }
}

//! The heart: one model call, from a decoded request to a settled answer.
//!
//! Every door leads here, and the path is the same for all: choose targets, hold, dispatch, relay, settle. This module
//! names no HTTP, no SQL and no process. A call runs in a task of its own, so that it is settled on every way out:
//! answered, failed, past its deadline, abandoned by its client, or cut off by shutdown.

use std::{sync::Arc, time::Duration};

use claude_code_api_wire::Routing;
use tracing::Instrument;

use crate::{
    app::App,
    backend::{Affinity, Asked, Prompt, Sent},
    failpoint::Failpoint,
    ledger::Claim,
    model::ModelChoice,
    project::ProjectId,
};

mod answer;
mod bound;
mod claim;
mod count;
mod deadline;
mod dispatch;
pub(crate) mod economy;
mod failure;
mod feed;
mod line;
mod queue;
mod rate;
mod relay;
mod reserve;
mod retry;
mod route;
mod settle;
mod turn;

pub use answer::{Answer, Started};
pub(crate) use claim::{claim, claim_in};
pub(crate) use count::count;
use deadline::Deadline;
pub use failure::CallFailure;
use feed::Feed;
pub use feed::{Feeds, Hearing, Update, Updates};
pub use line::Lines;
pub use queue::Priority;
pub use rate::Rates;
use reserve::Held;
pub use retry::Retries;
pub use route::Auto;
pub(crate) use route::{Foresight, Pressure, check_economy, check_model, foresee};
pub use turn::Turns;

/// Who calls, as authentication found out.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The project that pays.
    pub project: ProjectId,
    /// Whether a project that is not there yet is made by this call.
    pub makes_project: bool,
}

/// A decoded request: whatever the dialect, this is what was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The model asked for.
    pub model: ModelChoice,
    /// What that goes by, where the service chooses it.
    pub auto: AutoAsked,
    /// What is asked of it.
    pub asked: Arc<Asked>,
    /// The most tokens to generate; `None`: the backend's default.
    pub max_tokens: Option<u32>,
    /// The most that the call may cost, in nano-dollars; `None`: what the budget covers.
    pub nanos_max: Option<i64>,
    /// How long the call may take in all.
    pub timeout: Duration,
    /// The idempotency key that it was sent with.
    pub claim: Option<Claim>,
    /// How soon it is wanted.
    pub priority: Priority,
    /// Whether it is begun again when this process does not come to it: while it waits for its turn it does not hold up shutdown,
    /// and its answer is kept whatever its size.
    pub is_stored: bool,
}

/// What a caller says of how a model is chosen.
#[derive(Clone, Debug, Default)]
pub struct AutoAsked {
    /// What may be lost to save money; `None`: what the project, or the service, has it be.
    pub routing: Option<Routing>,
    /// What the caller knows the conversation by.
    pub conversation: Option<String>,
}

impl Request {
    /// What a backend is asked to continue.
    fn prompt(&self, project: &ProjectId, max_tokens: u32) -> Prompt {
        let affinity = Affinity::of(project);
        Prompt { request: Arc::clone(&self.asked), max_tokens, affinity, sent: Sent::default() }
    }
}

/// Starts a call in a task of its own.
pub fn start(app: &Arc<App>, caller: Caller, request: Request, hearing: Hearing) -> Updates {
    let (feed, updates) = Feed::new(hearing == Hearing::Whole || request.claim.is_some());
    let span = tracing::info_span!("call", id = tracing::field::Empty, project = caller.project.as_str());
    let app = Arc::clone(app);
    let task_app = Arc::clone(&app);
    app.spawn(
        async move {
            let feed = Arc::new(feed);
            let end = run(&task_app, caller, request, &feed).await;
            feed.end(end);
        }
        .instrument(span),
    );
    updates
}

/// One call on one screen. Steps 3 to 6 of 7; decoding comes before it, responding after it.
async fn run(app: &App, caller: Caller, request: Request, feed: &Arc<Feed>) -> Result<Answer, CallFailure> {
    let deadline = &Deadline::of(&request);
    let waiting = relay::Interrupts { app, feed, announced: None, epoch: None, deadline };
    rate::admit(app, &caller.project)?;
    let mut routed = waiting.or(route::candidates(app, &caller.project, &request)).await?;
    let mut reservation = match waiting.or(reserve::or_answer(app, &caller, &request, &mut routed, feed)).await? {
        Held::Now(reservation) => reservation,
        Held::Answered(answer) => return Ok(*answer),
    };
    Failpoint::Held.reach();
    tracing::Span::current().record("id", tracing::field::display(reservation.call));
    let announced = request.claim.as_ref().map(|_| app.feeds().announce(reservation.call, feed));
    let epoch = Some(reservation.grant.epoch);
    let running = relay::Interrupts { announced: announced.as_ref(), epoch, ..waiting };
    let mut seen = relay::Seen::default();
    let answer = async {
        let (opened, turn) =
            dispatch::first_that_answers(app, &mut routed, (&request, deadline), &mut reservation, &mut seen).await?;
        let end = relay::to_the_end(opened, &reservation, feed, &mut seen).await;
        turn.end();
        end
    };
    let result = running.or(answer).await;
    settle::close(app, &request, reservation, feed, relay::End { result, seen }).await
}

#[cfg(test)]
mod tests {
    use claude_code_api_wire::{ServiceHealth, ServiceStatus};
    use futures_core::future::BoxFuture;

    use super::*;
    use crate::{
        backend::{Answering, Backend, Capacity, Cost, Failure, Offer},
        config::{Config, Settings},
        ledger::Amount,
        store::{
            Store,
            sqlite::{Options, Sqlite},
        },
    };

    struct Panicking;

    impl Backend for Panicking {
        fn name(&self) -> &'static str {
            "panicking"
        }

        fn offer(&self, _: &ModelChoice) -> Option<Offer> {
            Some(Offer {
                model_id: "m".to_owned(),
                tier: None,
                max_tokens_default: 100,
                is_embedded: true,
                cost: Cost::Nothing,
            })
        }

        fn names(&self) -> Vec<String> {
            Vec::new()
        }

        fn ids(&self) -> Vec<String> {
            Vec::new()
        }

        fn capacity(&self) -> Capacity {
            Capacity { calls_max: 1, waiting_max: 1 }
        }

        fn health(&self) -> ServiceHealth {
            ServiceHealth { status: ServiceStatus::Ok, detail: None }
        }

        fn count(&self, _: &str, _: Arc<Asked>) -> BoxFuture<'_, Result<u64, Failure>> {
            Box::pin(async { Ok(1) })
        }

        fn count_margin(&self, _: u64) -> u64 {
            0
        }

        fn ready_in(&self, _: &str) -> Duration {
            Duration::ZERO
        }

        fn call(&self, _: &str, _: Prompt) -> BoxFuture<'_, Result<Answering, Failure>> {
            Box::pin(async { panic!("on purpose") })
        }
    }

    #[tokio::test]
    async fn a_call_that_panics_is_charged_and_not_held_and_its_turn_is_given_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(folder.path(), Options::default()).expect("a ledger"));
        let config = Config::from_settings(&Settings::default()).expect("in range");
        let auto = Auto::open(&config.auto).expect("the router of this build");
        let app = App::open(vec![Arc::new(Panicking)], Arc::clone(&store), config.limits, config.prices, auto)
            .await
            .expect("a new ledger");
        let request = Request {
            model: ModelChoice::Auto,
            auto: AutoAsked::default(),
            asked: Arc::default(),
            max_tokens: Some(10),
            nanos_max: None,
            timeout: Duration::from_secs(5),
            claim: None,
            priority: Priority::Interactive,
            is_stored: false,
        };
        let project = ProjectId::default_project();
        let mut updates =
            start(&app, Caller { project: project.clone(), makes_project: true }, request, Hearing::Whole);
        assert!(matches!(updates.next().await, Update::Failed(CallFailure::Abandoned)), "there is nothing to say");
        app.begin_drain();
        app.drained().await;
        let used = store.usage(project, claude_code_api_wire::Period::Day).await.expect("usage");
        assert_eq!(used.held, Amount::ZERO);
        assert!(used.spent.tokens > 10, "{used:?}");
        let health = app.health().services["panicking"].clone();
        assert_eq!(health.detail.as_deref(), Some("0 calls running, 0 waiting"));
    }
}

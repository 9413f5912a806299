//! Between dispatch and settle: the events of the backend become updates for the reader, until the answer is complete or
//! something ends it early. Whatever ends it, what was seen until then is known and gets settled.

use std::time::Duration;

use claude_code_api_wire::{Route, Start, StopReason};
use futures_util::StreamExt;
use tokio::time::Instant;

use super::{
    CallFailure, Request,
    feed::{Announced, Feed},
    reserve::Reservation,
    route::Target,
};
use crate::{
    app::App,
    backend::{Event, Events, Spend},
    failpoint::Failpoint,
    usage::Usage,
};

/// How a call ended, and what was seen of it until then.
pub(super) struct End {
    pub(super) result: Result<StopReason, CallFailure>,
    pub(super) seen: Seen,
}

/// What was seen of a call.
#[derive(Default)]
pub(super) struct Seen {
    /// The latest target that was asked; `None`: none was.
    pub(super) target: Option<Attempted>,
    /// The backend has begun to answer.
    pub(super) started: bool,
    /// What callers see as the model: the tier, else the id.
    pub(super) model: String,
    pub(super) model_id: String,
    pub(super) content: String,
    pub(super) usage: Usage,
    /// The backend said that `usage` is final.
    pub(super) usage_is_final: bool,
    /// The answer names what no price covers.
    pub(super) unpriced: bool,
    /// What the attempt had cost, where it failed.
    pub(super) spend: Option<Spend>,
}

/// A target that was asked.
pub(super) struct Attempted {
    pub(super) backend: &'static str,
    pub(super) model: String,
    pub(super) model_id: String,
    pub(super) max_tokens: u32,
    /// `max_tokens`, where it was lowered.
    pub(super) clamped: Option<u32>,
    pub(super) is_embedded: bool,
    /// Why it was chosen, where the caller left that to the service.
    pub(super) route: Option<Route>,
    has_tier: bool,
}

impl Attempted {
    pub(super) fn new(target: &Target, request: &Request, max_tokens: u32, route: Option<Route>) -> Self {
        let asked = request.max_tokens.unwrap_or(target.offer.max_tokens_default);
        Self {
            backend: target.backend.name(),
            model: target.offer.shown_as().to_owned(),
            model_id: target.offer.model_id.clone(),
            max_tokens,
            clamped: (max_tokens < asked).then_some(max_tokens),
            is_embedded: target.offer.is_embedded,
            route,
            has_tier: target.offer.tier.is_some(),
        }
    }
}

impl Seen {
    /// From now on this target is being asked.
    pub(super) fn attempt(&mut self, target: Attempted) {
        *self = Self { model: target.model.clone(), target: Some(target), ..Self::default() };
    }
}

/// How long a call under an idempotency key goes on without anybody who listens.
const RETRY_GRACE: Duration = Duration::from_secs(2);

/// What may end a call before its answer is complete.
#[derive(Clone, Copy)]
pub(super) struct Interrupts<'a> {
    pub(super) app: &'a App,
    pub(super) feed: &'a Feed,
    /// A call that its caller may come back to.
    pub(super) announced: Option<&'a Announced<'a>>,
    /// The process that holds for the call, once something is held.
    pub(super) epoch: Option<i64>,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
}

impl Interrupts<'_> {
    /// Waits for `step`, but not past the deadline, a forced shutdown, the reader's departure, or the loss of its hold. A step that
    /// is cut off is dropped, and that cancels it.
    pub(super) async fn or<T>(&self, step: impl Future<Output = Result<T, CallFailure>>) -> Result<T, CallFailure> {
        tokio::select! {
            biased;
            result = step => result,
            () = self.abandoned() => Err(CallFailure::Abandoned),
            () = tokio::time::sleep_until(self.deadline) => Err(CallFailure::DeadlinePassed { timeout: self.timeout }),
            () = self.app.cut_off() => Err(CallFailure::ShuttingDown),
            () = self.fenced() => Err(CallFailure::LedgerDown),
        }
    }

    async fn fenced(&self) {
        match self.epoch {
            Some(epoch) => self.app.store().fenced(epoch).await,
            None => std::future::pending().await,
        }
    }

    async fn abandoned(&self) {
        match self.announced {
            Some(announced) => announced.abandoned(self.feed, RETRY_GRACE).await,
            None => self.feed.unheard().await,
        }
    }
}

/// Relays an answer to its end.
pub(super) async fn to_the_end(
    mut events: Events,
    reservation: &Reservation<'_>,
    feed: &Feed,
    seen: &mut Seen,
) -> Result<StopReason, CallFailure> {
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Start { model_id, input_tokens }) => {
                Failpoint::Answering.reach();
                seen.start(model_id, input_tokens);
                let (model, model_id) = (seen.model.clone(), seen.model_id.clone());
                feed.start(Start { id: reservation.call.to_string(), model, model_id });
            }
            Ok(Event::Text { text, output_tokens }) => {
                seen.usage.output_tokens = output_tokens;
                seen.content.push_str(&text);
                feed.text(&text);
            }
            Ok(Event::End { stop_reason, usage, unpriced }) => {
                (seen.usage, seen.usage_is_final, seen.unpriced) = (usage, true, unpriced);
                return Ok(stop_reason);
            }
            Err(failure) => {
                if let Spend::Spent(usage) = failure.spend {
                    seen.usage = usage;
                }
                seen.spend = Some(failure.spend);
                return Err(CallFailure::from_backend(seen.backend(), failure.reason));
            }
        }
    }
    Err(CallFailure::Backend {
        backend: seen.backend(),
        message: "it stopped in the middle of an answer".into(),
        retryable: true,
    })
}

impl Seen {
    fn start(&mut self, model_id: String, input_tokens: u64) {
        self.started = true;
        self.usage.input_tokens = input_tokens;
        if !self.target.as_ref().is_some_and(|target| target.has_tier) {
            self.model.clone_from(&model_id);
        }
        self.model_id = model_id;
    }

    pub(super) fn backend(&self) -> &'static str {
        self.target.as_ref().expect("an answer has a target").backend
    }
}

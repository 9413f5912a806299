//! Between dispatch and settle: the events of the backend become updates for the reader, until the answer is complete or
//! something ends it early. Whatever ends it, what was seen until then is known and gets settled.

use std::{sync::Arc, time::Duration};

use claude_code_api_wire::{Route, StopReason, anthropic::RawEvent};
use futures_util::{StreamExt, stream};
use http::HeaderMap;

use super::{
    CallFailure, Request, Started,
    deadline::Deadline,
    dispatch::Opened,
    feed::{Announced, Feed},
    reserve::Reservation,
    route::Target,
};
use crate::{
    app::App,
    backend::{Cost, Failure, Generated, Said, Sent, Spend},
    failpoint::Failpoint,
    price::Terms,
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
    /// Whether anything was sent to it that may cost something.
    pub(super) sent: Sent,
    /// The backend has begun to answer.
    pub(super) started: bool,
    /// What callers see as the model: the tier, else the id.
    pub(super) model: String,
    pub(super) model_id: String,
    /// What the answer has come to.
    pub(super) generated: Generated,
    pub(super) usage: Usage,
    /// The backend said that `usage` is final.
    pub(super) usage_is_final: bool,
    pub(super) terms: Terms,
    /// What the attempt had cost, where it failed.
    pub(super) spend: Option<Spend>,
    /// The events that end the answer, held back until it is settled.
    pub(super) closing: Vec<RawEvent>,
}

/// A target that was asked.
pub(super) struct Attempted {
    pub(super) backend: &'static str,
    pub(super) model: String,
    pub(super) model_id: String,
    pub(super) max_tokens: u32,
    /// `max_tokens`, where it was lowered.
    pub(super) clamped: Option<u32>,
    pub(super) cost: Cost,
    /// Why it was chosen, where the caller left that to the service.
    pub(super) route: Option<Route>,
    has_tier: bool,
    /// It may think before it says anything, out of sight.
    pub(super) thinks: bool,
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
            cost: target.offer.cost,
            route,
            has_tier: target.offer.tier.is_some(),
            thinks: !target.offer.is_embedded && request.asked.may_think(&target.offer.model_id),
        }
    }
}

impl Seen {
    /// From now on the call waits for its turn to ask this target.
    pub(super) fn wait_for(&mut self, target: Attempted) {
        self.attempt(target, Sent::default());
        self.spend = Some(Spend::Unspent);
    }

    /// From now on this target is being asked.
    pub(super) fn attempt(&mut self, target: Attempted, sent: Sent) {
        *self = Self { model: target.model.clone(), target: Some(target), sent, ..Self::default() };
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
    pub(super) deadline: &'a Deadline,
}

impl Interrupts<'_> {
    /// Waits for `step`, but not past the deadline, a forced shutdown, the reader's departure, or the loss of its hold. A step that
    /// is cut off is dropped, and that cancels it.
    pub(super) async fn or<T>(&self, step: impl Future<Output = Result<T, CallFailure>>) -> Result<T, CallFailure> {
        tokio::select! {
            biased;
            result = step => result,
            () = self.abandoned() => Err(CallFailure::Abandoned),
            () = self.deadline.passed() => Err(CallFailure::DeadlinePassed { timeout: self.deadline.timeout }),
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

/// How long the last word of an answer may take that is complete already.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Relays an answer to its end. The events that end it are held back.
pub(super) async fn to_the_end(
    opened: Opened,
    reservation: &Reservation<'_>,
    feed: &Feed,
    seen: &mut Seen,
) -> Result<StopReason, CallFailure> {
    let Opened { headers, begun, rest } = opened;
    let mut headers = Some(headers);
    let mut heard = begun.len();
    let mut events = stream::iter(begun.into_iter().map(Ok)).chain(rest);
    let stop_reason = loop {
        let Some(event) = events.next().await else { return Err(seen.broke_off()) };
        let event = event.map_err(|failure| seen.failed(failure))?;
        match heard.checked_sub(1) {
            Some(fewer) => heard = fewer,
            None => seen.hear(&event.said),
        }
        match event.said {
            Said::Start { .. } => {
                Failpoint::Answering.reach();
                feed.start(Arc::new(seen.started(reservation, headers.take().unwrap_or_default())));
                feed.event(Arc::new(event));
            }
            Said::Stop { stop_reason, .. } => {
                seen.closing.push(event.raw);
                break stop_reason;
            }
            // It stops without saying why, or what it took.
            Said::End => return Err(seen.broke_off()),
            _ => feed.event(Arc::new(event)),
        }
    };
    let last_words = async {
        while let Some(Ok(event)) = events.next().await {
            seen.closing.push(event.raw);
        }
    };
    // What comes now changes nothing.
    let _ = tokio::time::timeout(LAST_WORD, last_words).await;
    Ok(stop_reason)
}

impl Seen {
    /// Takes note of what was said.
    pub(super) fn hear(&mut self, said: &Said) {
        self.generated.hear(said);
        match said {
            Said::Start { model_id, usage, terms } => {
                self.started = true;
                (self.usage, self.terms) = (*usage, *terms);
                self.model_id.clone_from(model_id);
                if !self.target.as_ref().is_some_and(|target| target.has_tier) {
                    self.model.clone_from(model_id);
                }
            }
            Said::Stop { usage, terms, is_counted, .. } => {
                (self.usage, self.terms, self.usage_is_final) = (*usage, *terms, *is_counted);
            }
            Said::Text(_) | Said::Content { .. } | Said::Aside | Said::End => {}
        }
    }

    /// The attempt has failed.
    pub(super) fn failed(&mut self, failure: Failure) -> CallFailure {
        if let Spend::Spent(usage) = failure.spend {
            self.usage = usage;
        }
        self.spend = Some(failure.spend);
        CallFailure::from_backend(self.backend(), failure.reason)
    }

    fn broke_off(&self) -> CallFailure {
        let message = "it stopped in the middle of an answer".into();
        CallFailure::Backend { backend: self.backend(), message, retryable: true }
    }

    fn started(&self, reservation: &Reservation<'_>, headers: HeaderMap) -> Started {
        let (model, model_id) = (self.model.clone(), self.model_id.clone());
        let mut started = Started { id: reservation.call.to_string(), model, model_id, headers };
        if let Some(target) = &self.target {
            started.tell(target.route.as_ref(), target.clamped);
        }
        started
    }

    pub(super) fn backend(&self) -> &'static str {
        self.target.as_ref().expect("an answer has a target").backend
    }
}

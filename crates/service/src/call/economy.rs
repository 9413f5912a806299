//! A prompt that an upstream runs when it has room, at half price: the same steps as of every call, but that days may lie between
//! them. `batch::economy` sees to what lies between.

use std::sync::Arc;

use super::{
    Answer, CallFailure, Caller, Request, bound,
    reserve::{self, Granted, Said},
    route::{self, Pressure, Routed},
    settle,
};
use crate::{
    app::App,
    backend::{Prompt, economy::Message},
    id::{CallId, EntryId},
    ledger::{Ended, Grant, Reserve, Reserved, Settle, Spent},
    model::ModelChoice,
    money::Nanos,
    project::ProjectId,
    slice::{Slice, SliceItem},
    store::StoreError,
    usage::Usage,
};

/// A prompt that is ready to be held for.
pub(crate) struct Offered {
    request: Request,
    routed: Routed,
    /// What is asked of the ledger.
    pub(crate) reserve: Reserve,
}

/// What the ledger says of it.
pub(crate) enum Admission {
    /// It is held for.
    Held(Grant),
    /// There is no room now.
    Wait,
    /// By better bounds there may be.
    Uncertain,
}

impl Offered {
    /// Steps 3 and 4 of 7, up to what is asked of the ledger.
    pub(crate) fn new(app: &App, caller: &Caller, request: Request, pressure: &Pressure) -> Result<Self, CallFailure> {
        let routed = route::in_economy(app, &caller.project, &request, pressure)?;
        let reserve = reserve::asked_for(caller.project.clone(), &request);
        let reserve = Reserve {
            // A call of one attempt has the id of that.
            call: CallId::from_bytes(*reserve.id.as_bytes()),
            nanos_max: request.nanos_max,
            creates: caller.makes_project.then(|| app.limits_of_new_projects()),
            is_of_a_job: true,
            is_bounded: routed.bound.unknown.is_none(),
            ..reserve
        };
        let mut offered = Self { request, routed, reserve };
        offered.bounded();
        Ok(offered)
    }

    /// Puts counts in the place of the bounds by bytes.
    pub(crate) async fn count(&mut self, app: &App) {
        bound::count(app, &self.request, &mut self.routed).await;
        self.bounded();
    }

    fn bounded(&mut self) {
        self.reserve.candidates = reserve::candidates(&self.request, &self.routed);
        self.reserve.is_counted = self.routed.is_counted;
    }

    /// The most bytes that it can be upstream, roughly.
    pub(crate) fn bytes(&self) -> i64 {
        self.routed.bound.tokens
    }

    /// How the best model was chosen, in JSON, where the caller left that to the service. At half the price the same is chosen, and a
    /// right answer taken to be worth half.
    pub(crate) fn route(&self) -> Option<String> {
        let mut route = self.routed.explained(0, 0)?;
        route.tiers.iter_mut().for_each(|tier| tier.cost *= 0.5);
        route.worth = route.worth.map(|usd| usd * 0.5);
        Some(serde_json::json!(route).to_string())
    }

    /// Takes in what the ledger says.
    pub(crate) fn admission(&self, reserved: Reserved) -> Result<Admission, CallFailure> {
        match reserve::understood(&self.reserve, reserved)? {
            Said::Granted(Granted::Now(grant)) => Ok(Admission::Held(grant)),
            Said::Granted(_) => unreachable!("it has no idempotency key"),
            Said::Wait(_) => Ok(Admission::Wait),
            Said::Uncertain => Ok(Admission::Uncertain),
            Said::Unbounded => Err(reserve::unbounded(&self.routed)),
        }
    }

    /// What is submitted, and to which model.
    pub(crate) fn submission(&self, grant: &Grant) -> (&str, Prompt) {
        let best = grant.kept[0];
        let target = &self.routed.targets[best.index];
        let max_tokens = u32::try_from(best.output_tokens).expect("at most what was asked for");
        (&target.offer.model_id, self.request.prompt(&self.reserve.project, max_tokens))
    }
}

/// Step 6 of 7, for an item of a slice.
pub(crate) struct Settling<'a> {
    pub(crate) app: &'a App,
    pub(crate) slice: &'a Slice,
    pub(crate) project: &'a ProjectId,
    pub(crate) backend: &'static str,
}

impl Settling<'_> {
    /// Upstream has answered: what that costs is paid, and this is the answer.
    pub(crate) async fn answered(
        &self,
        item: &SliceItem,
        message: Message,
    ) -> Result<(Arc<Answer>, String), StoreError> {
        let Message { model_id, text, stop_reason, usage, terms } = message;
        let priced = self.app.prices().cost(&model_id, self.slice.created_at, &usage, terms);
        let has_tier = matches!(item.model.as_str().into(), ModelChoice::Tier(_));
        let model = if has_tier { item.model.clone() } else { model_id.clone() };
        let spent = Spent {
            model,
            model_id,
            backend: self.backend.to_owned(),
            usage,
            cost: priced.cost,
            notional: Nanos::ZERO,
            exact: true,
            unpriced: priced.unpriced,
            ended: Ended::Complete,
        };
        self.settle(item, Some(spent.clone())).await?;
        let answer = Answer {
            id: call_of(item.entry).to_string(),
            model: spent.model,
            model_id: spent.model_id,
            stop_reason,
            usage,
            cost_nanos: spent.cost.0,
            project: self.project.as_str().to_owned(),
            backend: spent.backend,
            route: item.route.as_deref().and_then(|kept| route::explained_later(kept, &item.model)),
            clamped: None,
            replayed: false,
            closing: Vec::new(),
        };
        Ok((Arc::new(answer), text))
    }

    /// Upstream has said that it cost nothing.
    pub(crate) async fn released(&self, item: &SliceItem) -> Result<(), StoreError> {
        self.settle(item, None).await
    }

    /// Nobody says what became of it: all that is held is paid.
    pub(crate) async fn charged_in_full(&self, item: &SliceItem) -> Result<(), StoreError> {
        let Some(held) = item.held else { return Ok(()) };
        let output_tokens = (held.amount.tokens - held.input_tokens).max(0).cast_unsigned();
        let spent = Spent {
            model: item.model.clone(),
            model_id: String::new(),
            backend: self.backend.to_owned(),
            usage: Usage { input_tokens: held.input_tokens.cast_unsigned(), output_tokens, ..Usage::default() },
            cost: Nanos(held.amount.nanos),
            notional: Nanos::ZERO,
            exact: false,
            unpriced: false,
            ended: Ended::Failed,
        };
        self.settle(item, Some(spent)).await
    }

    async fn settle(&self, item: &SliceItem, spent: Option<Spent>) -> Result<(), StoreError> {
        let (id, project) = (item.entry, self.project.clone());
        settle::once(self.app, &Settle { id, project, spent, claim: None, answer: None }).await.map(drop)
    }
}

fn call_of(entry: EntryId) -> CallId {
    CallId::from_bytes(*entry.as_bytes())
}

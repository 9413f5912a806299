//! Choice: the tier for one prompt, by the router's reading of it, by what the caller would lose to save money, by how fast the project's
//! budget is spent, and by which tier the conversation is with.

use claude_code_api_router::{FAMILIARITY_MIN, Facts, Reading};
use claude_code_api_wire::Route;

use super::{
    auto::Auto,
    pressure::Pressure,
    prompt::{Conversation, ConversationKey},
    sight::{Sight, usd},
};
use crate::{
    app::App,
    backend::Offer,
    call::{Request, bound::Bound},
    ledger::AutoTerms,
    model::{ModelChoice, TIERS, Tier},
    price::Rate,
    project::ProjectId,
    window::Moment,
};

/// How many of the user's turns are read where it is not known which tier a conversation is with.
const TURNS_READ_MAX: usize = 8;

/// What was chosen, and why.
pub(in crate::call) struct Choice {
    /// The tier, and after it those that may take its place where the budget does not cover it; never empty.
    pub(super) tiers: Vec<Tier>,
    pub(super) route: Route,
    conversation: ConversationKey,
}

/// What is to be chosen for.
pub(super) struct Asking<'a> {
    pub(super) app: &'a App,
    pub(super) project: &'a ProjectId,
    pub(super) request: &'a Request,
    pub(super) bound: &'a Bound,
    /// What the project has it be.
    pub(super) terms: AutoTerms,
    /// How fast the project's budget is spent.
    pub(super) pressure: &'a Pressure,
}

impl Choice {
    /// The conversation stays with what was chosen.
    pub(super) fn pin(&self, app: &App) {
        app.auto().pins.pin(self.conversation, self.tiers[0]);
    }
}

impl Asking<'_> {
    /// Chooses. `None`: there is no tier that may be chosen.
    pub(super) fn choose(&self) -> Option<Choice> {
        let auto = self.app.auto();
        let conversation = Conversation::of(&self.request.asked);
        let facts = conversation.facts(self.request, self.bound.tokens);
        let key = conversation.key(self.project, self.request);
        let goes_on = conversation.goes_on() || self.request.auto.conversation.is_some();
        let pinned = goes_on.then(|| auto.pins.of(&key)).flatten();

        let reading = auto.router.read(conversation.said.last().map_or("", |text| text), &facts);
        let offered = TIERS.map(|tier| self.offered(tier, facts.input_tokens));
        let rates = rates(&offered)?;
        let sight = self.sight(&offered, &rates, &reading, &facts, pinned);
        let routing = self.request.auto.routing.or(self.terms.routing).unwrap_or(auto.routing);
        let relaxed = auto.lambda(routing, rates, facts.input_tokens);
        let lambda = self.pressure.on(relaxed);
        let alone = auto.wanted(&reading, &sight, lambda)?;
        let before = pinned.or_else(|| auto.wanted_before(&conversation, &sight, relaxed));
        let (tier, reason) = if offered.iter().flatten().all(|(offer, _)| offer.is_embedded) {
            (auto.tier_default, "one model answers here, whatever the tier".to_owned())
        } else {
            auto.settled(&reading, &sight, lambda, alone, before)
        };
        let route = Route {
            tier: tier.as_str().to_owned(),
            reason,
            reasons: reading.reasons.iter().map(ToString::to_string).collect(),
            tiers: sight.shown(),
            routing: Some(routing),
            worth: (lambda > 0.0).then(|| 1.0 / lambda),
            familiarity: Some(reading.familiarity),
            router: Some(auto.router.version().to_owned()),
        };
        Some(Choice { tiers: sight.from(tier, lambda), route, conversation: key })
    }

    /// What is offered for a tier first, and its price.
    fn offered(&self, tier: Tier, input_tokens: u64) -> Option<(Offer, Option<Rate>)> {
        let choice = ModelChoice::Tier(tier);
        let offer = self.app.backends().iter().find_map(|backend| backend.offer(&choice))?;
        let rate = if offer.is_embedded {
            Some(Rate::default())
        } else {
            self.app.prices().rate(&offer.model_id, Moment::of_system(), input_tokens)
        };
        Some((offer, rate))
    }

    fn sight(
        &self,
        offered: &[Option<(Offer, Option<Rate>)>; 3],
        rates: &[Rate; 3],
        reading: &Reading,
        facts: &Facts,
        with: Option<Tier>,
    ) -> Sight {
        let cost = |tier: Tier| {
            let rate = &rates[tier as usize];
            let is_cached = self.bound.is_cached() && with == Some(tier);
            let input_price = if is_cached { rate.cache_read } else { self.bound.cache.input_price(rate) };
            usd(rate, input_price, facts.input_tokens, reading.output_tokens[tier as usize])
        };
        let excluded = |tier: Tier| match &offered[tier as usize] {
            _ if self.terms.tier_min.is_some_and(|least| tier < least) => {
                Some("below the project's tier_min".to_owned())
            }
            _ if self.terms.tier_max.is_some_and(|most| tier > most) => Some("above the project's tier_max".to_owned()),
            None => Some("no backend here has it".to_owned()),
            Some((offer, None)) => Some(format!("{} has no known price", offer.model_id)),
            Some(_) => None,
        };
        Sight { right: reading.right, cost: TIERS.map(cost), excluded: TIERS.map(excluded) }
    }
}

/// The prices of the tiers; of one that has none, the dearest of the others. `None`: none has any.
fn rates(offered: &[Option<(Offer, Option<Rate>)>; 3]) -> Option<[Rate; 3]> {
    let known = |tier: Tier| offered[tier as usize].as_ref().and_then(|(_, rate)| *rate);
    let dearest = TIERS.into_iter().filter_map(known).reduce(|rate, other| rate.max(&other))?;
    Some(TIERS.map(|tier| known(tier).unwrap_or(dearest)))
}

impl Auto {
    /// The tier for a prompt by itself. Where the router knows too little of it: the default one, unless there is next to no money.
    fn wanted(&self, reading: &Reading, sight: &Sight, lambda: f64) -> Option<Tier> {
        let is_guarded =
            reading.familiarity <= FAMILIARITY_MIN && lambda.is_finite() && sight.allows(self.tier_default);
        if is_guarded { Some(self.tier_default) } else { sight.best(lambda) }
    }

    /// The tier in the end, and why: the prompt alone wants one, and the conversation is with another, if with any.
    fn settled(
        &self,
        reading: &Reading,
        sight: &Sight,
        lambda: f64,
        alone: Tier,
        before: Option<Tier>,
    ) -> (Tier, String) {
        let stronger = before.filter(|tier| *tier > alone && sight.allows(*tier));
        if lambda.is_infinite() {
            (alone, "next to nothing is left of the budget".to_owned())
        } else if let Some(before) = stronger {
            (before, format!("the conversation is with {}, and changes only to a stronger model", before.as_str()))
        } else if reading.familiarity <= FAMILIARITY_MIN && alone == self.tier_default {
            (alone, "too little of it is like what the router knows: the default tier".to_owned())
        } else {
            (alone, sight.reason(alone))
        }
    }

    /// The tier that a conversation is with by what the user has said in it before: the strongest that any of it wanted. So it is known
    /// to a process that has not heard of it, too.
    fn wanted_before(&self, conversation: &Conversation<'_>, sight: &Sight, lambda: f64) -> Option<Tier> {
        let (_, before) = conversation.said.split_last()?;
        let wanted = before.iter().rev().take(TURNS_READ_MAX).filter_map(|text| {
            let reading = self.router.read(text, &Facts::default());
            self.wanted(&reading, &Sight { right: reading.right, ..sight.clone() }, lambda)
        });
        wanted.max()
    }
}

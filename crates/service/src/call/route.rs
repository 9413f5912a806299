//! Step 3 of 7: which models could answer, best first.
//!
//! `auto` is the default tier until a router that reads the prompt stands here.

use std::sync::Arc;

use claude_code_api_wire::Route;

use super::{CallFailure, Request, bound};
use crate::{
    app::App,
    backend::{Backend, Offer},
    model::{ModelChoice, Tier},
    price::Rate,
    window::Moment,
};

/// A model on a backend.
pub(super) struct Target {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) offer: Offer,
    /// The dearest that a call of this size can be.
    pub(super) price: Rate,
}

/// What routing found.
pub(super) struct Routed {
    /// Never empty; best first.
    pub(super) targets: Vec<Target>,
    /// How the model was chosen, when the caller left that to the service.
    pub(super) route: Option<Route>,
}

/// What `auto` means.
const DEFAULT_TIER: Tier = Tier::Sonnet;

pub(super) fn candidates(app: &App, request: &Request) -> Result<Routed, CallFailure> {
    let (choice, route) = match &request.model {
        ModelChoice::Auto => (ModelChoice::Tier(DEFAULT_TIER), Some(default_route())),
        asked => (asked.clone(), None),
    };
    let offers = app.backends().iter().filter_map(|backend| Some((backend, backend.offer(&choice)?)));
    let targets = offers.map(|(backend, offer)| target(app, request, backend, offer)).collect::<Result<Vec<_>, _>>()?;
    if targets.is_empty() {
        return Err(unknown_model(app, &request.model));
    }
    Ok(Routed { targets, route })
}

fn target(app: &App, request: &Request, backend: &Arc<dyn Backend>, offer: Offer) -> Result<Target, CallFailure> {
    let prompt_tokens_max = bound::input_tokens(request).cast_unsigned();
    let price = if offer.is_embedded {
        Some(Rate::default())
    } else {
        app.prices().worst(&offer.model_id, Moment::of_system(), prompt_tokens_max)
    };
    let price = price.ok_or_else(|| CallFailure::Invalid {
        field: "model",
        message: format!(
            "model: {:?} has no known price; `claude-code-api prices` lists the models that have",
            offer.model_id
        ),
    })?;
    Ok(Target { backend: Arc::clone(backend), offer, price })
}

fn default_route() -> Route {
    Route { tier: DEFAULT_TIER.as_str().to_owned(), reason: "the default tier".to_owned() }
}

fn unknown_model(app: &App, asked: &ModelChoice) -> CallFailure {
    let names: Vec<String> = app.backends().iter().flat_map(|backend| backend.names()).collect();
    let shown: String = asked.as_str().chars().take(80).collect();
    CallFailure::Invalid {
        field: "model",
        message: format!("model: no backend here has {shown:?}; it takes auto, {}", names.join(", ")),
    }
}

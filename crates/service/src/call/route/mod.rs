//! Step 3 of 7: which models could answer, best first. Where the service is to choose, `choice` does.

use std::{sync::Arc, time::Duration};

use claude_code_api_wire::Route;

use super::{
    CallFailure, Priority, Request,
    bound::{self, Bound},
};
use crate::{
    app::App,
    backend::{Backend, Offer},
    model::{ModelChoice, TIERS},
    price::Rate,
    project::ProjectId,
    window::Moment,
};
pub use auto::Auto;
use choice::{Asking, Choice};
pub(crate) use foresee::{Foresight, foresee};
pub(crate) use pressure::Pressure;

mod auto;
mod choice;
mod foresee;
mod pins;
mod pressure;
mod prompt;
mod sight;

/// A model on a backend.
pub(super) struct Target {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) offer: Offer,
    pace: Pace,
    /// The most tokens that the input can be.
    pub(super) input_tokens: i64,
    /// The dearest that a call of this size can be.
    pub(super) price: Rate,
}

/// When a call is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Now,
    /// Within a day, at half price.
    Economy,
}

impl Pace {
    fn is_kept_by(self, backend: &dyn Backend) -> bool {
        self == Self::Now || backend.economy().is_some()
    }
}

/// What routing found.
pub(super) struct Routed {
    /// Never empty; best first.
    pub(super) targets: Vec<Target>,
    /// Why these, where the caller left that to the service.
    choice: Option<Choice>,
    /// Whether inputs were counted; else they are bounded by their bytes.
    pub(super) is_counted: bool,
    /// What bounds the input where it is not counted.
    pub(super) bound: Bound,
}

/// How far apart the clocks of this process and of the ledger may be.
const CLOCKS_APART: Duration = Duration::from_mins(5);

pub(super) async fn candidates(app: &App, project: &ProjectId, request: &Request) -> Result<Routed, CallFailure> {
    let is_auto = request.model == ModelChoice::Auto;
    let pressure = if is_auto { Pressure::of(app, project).await } else { Pressure::default() };
    let routed = among(app, project, request, Pace::Now, &pressure)?;
    // Prompts of a batch are no conversations, and so many that they would have real ones forgotten.
    let may_go_on = request.priority != Priority::Batch || request.auto.conversation.is_some();
    if let Some(choice) = routed.choice.as_ref().filter(|_| may_go_on) {
        choice.pin(app);
    }
    Ok(routed)
}

/// The same for a prompt that is run at half price, when an upstream has room.
pub(super) fn in_economy(
    app: &App,
    project: &ProjectId,
    request: &Request,
    pressure: &Pressure,
) -> Result<Routed, CallFailure> {
    among(app, project, request, Pace::Economy, pressure)
}

fn among(
    app: &App,
    project: &ProjectId,
    request: &Request,
    pace: Pace,
    pressure: &Pressure,
) -> Result<Routed, CallFailure> {
    let mut bound = bound::by_bytes(&request.asked);
    let choice = if request.model == ModelChoice::Auto {
        let directory = app.directory();
        let terms = directory.project(project).map(|known| known.limits.auto).unwrap_or_default();
        Asking { app, project, request, bound: &bound, terms, pressure }.choose()
    } else {
        None
    };
    let models = match &choice {
        Some(choice) => choice.tiers.iter().copied().map(ModelChoice::Tier).collect(),
        None => vec![request.model.clone()],
    };
    let mut targets: Vec<Target> = Vec::new();
    for (backend, offer) in offers(app, models).filter(|(backend, _)| pace.is_kept_by(&***backend)) {
        // A backend may offer one model for several tiers.
        let is_same = |known: &Target| {
            (known.backend.name(), &known.offer.model_id, known.offer.tier)
                == (backend.name(), &offer.model_id, offer.tier)
        };
        if !targets.iter().any(is_same) {
            targets.push(target(app, backend, offer, pace, bound.tokens)?);
        }
    }
    if targets.is_empty() {
        return Err(if pace == Pace::Now { unknown_model(app, &request.model) } else { no_economy(&request.model) });
    }
    if targets.iter().all(|target| target.offer.is_embedded) {
        // The embedded model refuses what it does not know.
        bound.unknown = None;
    }
    Ok(Routed { targets, choice, is_counted: false, bound })
}

/// What the backends have for what was asked, best first.
fn offers(app: &App, models: Vec<ModelChoice>) -> impl Iterator<Item = (&Arc<dyn Backend>, Offer)> {
    models
        .into_iter()
        .flat_map(|model| app.backends().iter().filter_map(move |backend| Some((backend, backend.offer(&model)?))))
}

/// Whatever may be meant by what was asked.
pub(super) fn offered<'a>(app: &'a App, asked: &ModelChoice) -> impl Iterator<Item = (&'a Arc<dyn Backend>, Offer)> {
    let models = if *asked == ModelChoice::Auto { TIERS.map(ModelChoice::Tier).to_vec() } else { vec![asked.clone()] };
    offers(app, models)
}

fn target(
    app: &App,
    backend: &Arc<dyn Backend>,
    offer: Offer,
    pace: Pace,
    input_tokens: i64,
) -> Result<Target, CallFailure> {
    let price = dearest(app, &offer, pace, input_tokens).ok_or_else(|| CallFailure::Invalid {
        field: "model".into(),
        message: format!(
            "model: {:?} has no known price; `claude-code-api prices` lists the models that have",
            offer.model_id
        ),
    })?;
    Ok(Target { backend: Arc::clone(backend), offer, pace, input_tokens, price })
}

/// The dearest that a call of this size can be, whenever within the next while the ledger holds it.
fn dearest(app: &App, offer: &Offer, pace: Pace, input_tokens: i64) -> Option<Rate> {
    if offer.is_embedded {
        return Some(Rate::default());
    }
    let later = |by: Duration| i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    let now = Moment::of_system();
    let from = Moment(now.0 - later(CLOCKS_APART));
    let until = Moment(now.0.saturating_add(later(CLOCKS_APART + app.limits().budget_wait)));
    let worst = |at| app.prices().worst(&offer.model_id, at, input_tokens.cast_unsigned());
    let dearest = worst(from)?.max(&worst(until)?);
    Some(if pace == Pace::Economy { dearest.halved() } else { dearest })
}

impl Target {
    /// The input is at most this, by a better bound.
    pub(super) fn bounded(&mut self, app: &App, input_tokens: i64) {
        self.input_tokens = input_tokens;
        self.price = dearest(app, &self.offer, self.pace, input_tokens).expect("it had a price when it was chosen");
    }
}

impl Routed {
    /// Whether an input may be priced at a dearer band than a smaller one.
    pub(super) fn crosses_a_band(&self, app: &App) -> bool {
        self.targets.iter().any(|target| dearest(app, &target.offer, target.pace, 0) != Some(target.price))
    }

    /// Why the target at `index` was chosen, where the caller left that to the service; `covered`: the first that the budget covers.
    pub(super) fn explained(&self, index: usize, covered: usize) -> Option<Route> {
        let choice = self.choice.as_ref()?;
        let [best, first, this] = [0, covered, index].map(|at| &self.targets[at].offer);
        // Another backend may have the same tier.
        let reason = if this.tier == best.tier {
            choice.route.reason.clone()
        } else if this.tier == first.tier {
            not_covered(best.shown_as())
        } else {
            format!("{} did not answer", first.shown_as())
        };
        let tier = this.tier.unwrap_or(choice.tiers[0]);
        Some(Route { tier: tier.as_str().to_owned(), reason, ..choice.route.clone() })
    }
}

/// By the budget, or by the request's own limit.
fn not_covered(best: &str) -> String {
    format!("what may be spent does not cover {best}")
}

/// How this tier came to run, where it was kept how the best was chosen.
pub(super) fn explained_later(kept: &str, tier: &str) -> Option<Route> {
    let route: Route = serde_json::from_str(kept).ok()?;
    Some(if route.tier == tier {
        route
    } else {
        Route { reason: not_covered(&route.tier), tier: tier.to_owned(), ..route }
    })
}

/// Whether any backend has this model, and it a price.
pub(crate) fn check_model(app: &App, asked: &ModelChoice) -> Result<(), CallFailure> {
    match offered(app, asked).next() {
        Some((backend, offer)) => target(app, backend, offer, Pace::Now, 0).map(drop),
        None => Err(unknown_model(app, asked)),
    }
}

/// Whether any backend has this model, and it a price, and runs it at half price when it has room.
pub(crate) fn check_economy(app: &App, asked: &ModelChoice) -> Result<(), CallFailure> {
    check_model(app, asked)?;
    let is_offered = offered(app, asked).any(|(backend, _)| Pace::Economy.is_kept_by(&**backend));
    if is_offered { Ok(()) } else { Err(no_economy(asked)) }
}

fn no_economy(asked: &ModelChoice) -> CallFailure {
    let message = format!(
        "economy: {:?} is on no backend here that runs batches at half price; backend anthropic does. Leave it out, or configure \
         that backend",
        asked.as_str().chars().take(80).collect::<String>()
    );
    CallFailure::Invalid { field: "economy".into(), message }
}

pub(super) fn unknown_model(app: &App, asked: &ModelChoice) -> CallFailure {
    let mut names: Vec<String> = Vec::new();
    for name in app.backends().iter().flat_map(|backend| backend.names()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let shown: String = asked.as_str().chars().take(80).collect();
    CallFailure::Invalid {
        field: "model".into(),
        message: format!("model: no backend here has {shown:?}; it takes auto, {}", names.join(", ")),
    }
}

//! Auto: what is common to all calls whose model the service chooses.

use std::{
    fs,
    sync::{Mutex, PoisonError},
};

use claude_code_api_router::{Dial, ReferenceRow, Router};
use claude_code_api_wire::Routing;

use super::{pins::Pins, sight::usd};
use crate::{
    config,
    model::{TIERS, Tier},
    price::Rate,
};

/// How many λ are remembered.
const LAMBDAS_MAX: usize = 64;

/// The router, what it goes by where nobody says otherwise, and which tier conversations are with.
pub struct Auto {
    pub(super) router: Router,
    pub(super) routing: Routing,
    pub(super) tier_default: Tier,
    pub(super) pins: Pins,
    lambdas: Mutex<Vec<(LambdaOf, f64)>>,
}

/// What a λ follows from.
#[derive(Clone, Copy, PartialEq)]
struct LambdaOf {
    loss_percent: f64,
    rates: [Rate; 3],
}

impl Auto {
    /// The router of this build, or of a file.
    ///
    /// # Errors
    /// The file cannot be read, or is no router's; in words that name it.
    pub fn open(config: &config::Auto) -> Result<Self, String> {
        let router = match &config.router_path {
            None => Router::shipped().clone(),
            Some(path) => {
                let file = fs::read(path).map_err(|error| error.to_string());
                let router = file.and_then(|file| Router::parse(&file).map_err(|error| error.to_string()));
                router.map_err(|error| format!("router_path: {} cannot be used: {error}", path.display()))?
            }
        };
        let (routing, tier_default) = (config.routing, config.tier_default);
        Ok(Self { router, routing, tier_default, pins: Pins::default(), lambdas: Mutex::default() })
    }

    /// How many right answers a dollar has to bring, at these prices.
    pub(super) fn lambda(&self, routing: Routing, rates: [Rate; 3]) -> f64 {
        let of = LambdaOf { loss_percent: routing.loss_percent(), rates };
        let mut known = self.lambdas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, lambda)) = known.iter().find(|(known, _)| *known == of) {
            return *lambda;
        }
        let dial = Dial::new(of.loss_percent / 100.0).expect("a routing is within bounds");
        let lambda = self.router.lambda(dial, |row: &ReferenceRow| {
            let cost = |tier: Tier| {
                let rate = &rates[tier as usize];
                usd(rate, rate.input, row.input_tokens, row.output_tokens[tier as usize])
            };
            TIERS.map(cost)
        });
        known.truncate(LAMBDAS_MAX - 1);
        known.insert(0, (of, lambda));
        lambda
    }
}

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
const LAMBDAS_MAX: usize = 256;

/// An input up to this is about as large as those that the router was measured on, in tokens.
const SMALL_INPUT: u64 = 64;

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
    input_tokens: u64,
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

    /// How many right answers a dollar has to bring, at these prices, so that of calls of this size no more are lost than may be. (A larger
    /// input makes every answer dearer, and none of them less right.)
    pub(super) fn lambda(&self, routing: Routing, rates: [Rate; 3], input_tokens: u64) -> f64 {
        let input_tokens = size_of(input_tokens);
        let of = LambdaOf { input_tokens, loss_percent: routing.loss_percent(), rates };
        let mut known = self.lambdas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, lambda)) = known.iter().find(|(known, _)| *known == of) {
            return *lambda;
        }
        let dial = Dial::new(of.loss_percent / 100.0).expect("a routing is within bounds");
        let lambda = self.router.lambda(dial, |row: &ReferenceRow| {
            let cost = |tier: Tier| {
                let rate = &rates[tier as usize];
                usd(rate, rate.input, row.input_tokens.max(input_tokens), row.output_tokens[tier as usize])
            };
            TIERS.map(cost)
        });
        known.truncate(LAMBDAS_MAX - 1);
        known.insert(0, (of, lambda));
        lambda
    }
}

/// One of few sizes, which is not less, and at most an eighth more.
fn size_of(input_tokens: u64) -> u64 {
    let most = input_tokens.clamp(SMALL_INPUT, u64::MAX >> 1);
    most.next_multiple_of(1 << (most.ilog2() - 3))
}

#[cfg(test)]
mod tests {
    use claude_code_api_router::decide::decide;

    use super::*;
    use crate::config::{Config, Settings};

    /// Claude's, about, in nano-dollars per million tokens.
    fn rate(input_usd: i64, output_usd: i64) -> Rate {
        let nanos = |usd: i64| usd * 1_000_000_000;
        Rate { input: nanos(input_usd), output: nanos(output_usd), ..Rate::default() }
    }

    /// What is lost against always-opus, as the router expects it, of calls with so many tokens of input.
    fn lost(auto: &Auto, routing: Routing, input_tokens: u64) -> f64 {
        let rates = [rate(1, 5), rate(3, 15), rate(5, 25)];
        let lambda = auto.lambda(routing, rates, input_tokens);
        let (mut right, mut most) = (0.0, 0.0);
        for row in auto.router.reference() {
            let cost = TIERS.map(|tier| {
                let (rate, output_tokens) = (&rates[tier as usize], row.output_tokens[tier as usize]);
                usd(rate, rate.input, row.input_tokens.max(input_tokens), output_tokens)
            });
            right += row.right[decide(row.right, cost, [true; 3], lambda).expect("all are allowed") as usize];
            most += row.right[Tier::Opus as usize];
        }
        1.0 - right / most
    }

    #[test]
    fn no_more_is_lost_than_may_be_however_large_the_calls_are() {
        let auto = Auto::open(&Config::from_settings(&Settings::default()).expect("defaults").auto).expect("a router");
        for (routing, most) in [(Routing::Economy, 0.05), (Routing::Balanced, 0.03), (Routing::Quality, 0.01)] {
            for input_tokens in [0, 64, 65, 300, 1_500, 8_192, 100_000, 1_000_000] {
                let lost = lost(&auto, routing, input_tokens);
                assert!(lost <= most + 1e-9, "{routing} at {input_tokens}: {lost}");
                assert!(lost > 0.5 * most, "{routing} at {input_tokens} saves much less than it may: {lost}");
            }
        }
    }

    #[test]
    fn a_size_is_not_less_and_at_most_an_eighth_more() {
        for (tokens, size) in [(0, 64), (64, 64), (65, 72), (127, 128), (129, 144), (1_000_000, 1_048_576)] {
            assert_eq!(size_of(tokens), size);
        }
        assert!(size_of(u64::MAX) > u64::MAX >> 2, "no overflow");
    }
}

//! `POST /v1/route`, and how `auto` was resolved.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What `auto` may lose against always asking the strongest tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// At most 5 % of the answers that would be right, as far as that can be known beforehand.
    Economy,
    /// At most 3 %.
    Balanced,
    /// At most 1 %.
    Quality,
    /// At most so many hundredths of a per cent; more than 5,000 are 5,000.
    BasisPoints(u16),
}

/// The most that may be lost, in hundredths of a per cent.
const BASIS_POINTS_MAX: u16 = 5_000;

/// What a routing takes, for people.
const TAKES: &str = "economy, balanced, quality, or the per cent that may be lost, 0 to 50";

impl Routing {
    /// The words that there are.
    const WORDS: [(Self, &str); 3] =
        [(Self::Economy, "economy"), (Self::Balanced, "balanced"), (Self::Quality, "quality")];

    /// What may be lost, in per cent.
    pub fn loss_percent(self) -> f64 {
        let basis_points = match self {
            Self::Economy => 500,
            Self::Balanced => 300,
            Self::Quality => 100,
            Self::BasisPoints(basis_points) => basis_points.min(BASIS_POINTS_MAX),
        };
        f64::from(basis_points) / 100.0
    }

    /// So many per cent, 0 to 50, in hundredths.
    pub fn of_percent(percent: f64) -> Option<Self> {
        let basis_points = (percent * 100.0).round();
        let fits = (0.0..=f64::from(BASIS_POINTS_MAX)).contains(&basis_points);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within its range")]
        fits.then_some(Self::BasisPoints(basis_points as u16))
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(_, known)| *known == word).map(|(routing, _)| routing)
    }

    fn word(self) -> Option<&'static str> {
        Self::WORDS.into_iter().find(|(known, _)| *known == self).map(|(_, word)| word)
    }

    /// Reads a word or a number.
    ///
    /// # Errors
    /// It is neither; in words for whoever wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::of_word(text).or_else(|| text.parse().ok().and_then(Self::of_percent)).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            format!("takes {TAKES}; not {shown:?}")
        })
    }
}

/// As [`Routing::parse`] reads it.
impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word() {
            Some(word) => f.write_str(word),
            None => self.loss_percent().fmt(f),
        }
    }
}

impl Serialize for Routing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.word() {
            Some(word) => serializer.serialize_str(word),
            None => serializer.serialize_f64(self.loss_percent()),
        }
    }
}

impl<'de> Deserialize<'de> for Routing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Routing;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(TAKES)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Routing, E> {
                let shown: String = text.chars().take(40).collect();
                Routing::of_word(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(&shown), &self))
            }
            fn visit_f64<E: de::Error>(self, percent: f64) -> Result<Routing, E> {
                Routing::of_percent(percent).ok_or_else(|| E::invalid_value(de::Unexpected::Float(percent), &self))
            }
            #[expect(clippy::cast_precision_loss, reason = "what is that large is refused")]
            fn visit_u64<E: de::Error>(self, percent: u64) -> Result<Routing, E> {
                self.visit_f64(percent as f64)
            }
            #[expect(clippy::cast_precision_loss, reason = "what is negative is refused")]
            fn visit_i64<E: de::Error>(self, percent: i64) -> Result<Routing, E> {
                self.visit_f64(percent as f64)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// How `auto` was resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct Route {
    /// The tier chosen.
    pub tier: String,
    /// Why, in words.
    pub reason: String,
    /// What the prompt has about it that made it look easy or hard, the strongest first. No word of the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The tiers, from the cheapest on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<RouteTier>,
    /// What might be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub routing: Option<Routing>,
    /// What a right answer was taken to be worth, in USD: by `routing`, and by how fast the budget is spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worth: Option<f64>,
    /// How much of the prompt is like what the router was trained on, 0 to 1. Of what is not, it knows little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub familiarity: Option<f64>,
    /// The version of the router's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
}

/// A tier, as the router saw it for one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct RouteTier {
    /// `haiku`, `sonnet` or `opus`.
    pub tier: String,
    /// How probable a right answer is, 0 to 1.
    pub right: f64,
    /// What the call is expected to cost, in USD.
    pub cost: f64,
    /// Why it could not be chosen, where it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
}

/// The answer of `POST /v1/route`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct RouteResponse {
    /// The tier when a Claude model of that tier would run, else the id of what would.
    pub model: String,
    /// The id of the model that would run.
    pub model_id: String,
    /// The backend that would be asked first.
    pub backend: String,
    /// The project that would pay, by its real name.
    pub project_id: String,
    /// How the model was chosen.
    pub route: Route,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routing_is_a_word_or_what_may_be_lost() {
        for (text, percent) in [(r#""economy""#, 5.0), (r#""balanced""#, 3.0), (r#""quality""#, 1.0), ("2.5", 2.5)] {
            let routing: Routing = serde_json::from_str(text).expect(text);
            assert_eq!(routing.loss_percent().to_bits(), f64::to_bits(percent), "{text}");
            assert_eq!(serde_json::to_string(&routing).expect("it can be said"), text);
            assert_eq!(Routing::parse(text.trim_matches('"')), Ok(routing));
            assert_eq!(routing.to_string(), text.trim_matches('"'));
        }
        assert_eq!(serde_json::from_str::<Routing>("2").expect("a number"), Routing::BasisPoints(200));
        for wrong in [r#""cheap""#, r#""3""#, "-1", "51", "null", "[]", "1e400"] {
            let error = serde_json::from_str::<Routing>(wrong).expect_err(wrong).to_string();
            assert!(wrong == "1e400" || error.contains("economy, balanced, quality"), "{error}");
        }
        for wrong in ["cheap", "-1", "51", "NaN", ""] {
            assert!(Routing::parse(wrong).is_err_and(|why| why.contains("economy")), "{wrong}");
        }
    }
}

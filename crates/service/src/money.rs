//! Money: integer nano-dollars. No float before the JSON edge.

use std::str::FromStr;

/// An amount in nano-dollars: 10⁻⁹ USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub i64);

impl Nanos {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The amount in USD, for people.
    #[expect(clippy::cast_precision_loss, reason = "for people; the exact figure goes beside it")]
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

/// How many decimals a nano-dollar is.
const DECIMALS: usize = 9;

/// Reads USD as a decimal number, exactly: `12.50`.
impl FromStr for Nanos {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("takes USD, such as 12.50, with at most {DECIMALS} decimals; it was {text:?}");
        let (dollars, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(dollars) || !are_digits(decimals) || decimals.len() > DECIMALS {
            return Err(shape());
        }
        format!("{dollars}{decimals:0<DECIMALS$}").parse().map(Self).map_err(|_| shape())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly() {
        let cases = [
            ("0", 0),
            ("1", 1_000_000_000),
            ("12.50", 12_500_000_000),
            ("0.000000001", 1),
            ("9223372036.854775807", i64::MAX),
        ];
        for (text, nanos) in cases {
            assert_eq!(text.parse(), Ok(Nanos(nanos)), "{text}");
        }
        for wrong in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "0.0000000001", "9223372036.854775808", "$1"] {
            assert!(wrong.parse::<Nanos>().is_err_and(|error| error.contains("USD")), "{wrong}");
        }
    }
}

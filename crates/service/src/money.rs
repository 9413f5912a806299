//! Money: integer nano-dollars. No float before the JSON edge.

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

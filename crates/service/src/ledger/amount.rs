//! Amount: what budgets count, tokens and money side by side.

use std::ops::{Add, AddAssign, Sub, SubAssign};

/// Tokens and nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Tokens, in and out.
    pub tokens: i64,
    /// Nano-dollars.
    pub nanos: i64,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self { tokens: 0, nanos: 0 };

    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { tokens: self.tokens.max(other.tokens), nanos: self.nanos.max(other.nanos) }
    }

    /// What is above `other`, of each.
    #[must_use]
    pub fn above(self, other: Self) -> Self {
        (self - other).max(Self::ZERO)
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), nanos: self.nanos.saturating_add(other.nanos) }
    }
}

impl Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_sub(other.tokens), nanos: self.nanos.saturating_sub(other.nanos) }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

//! Prices: what a model's tokens cost.

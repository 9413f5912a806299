//! The bound on a call's input: what it can be at most, in tokens.
//!
//! A token is at least one byte of text, so that the bytes of the request bound its text from above; what is not text, and what
//! the servers add, is bounded by a table of what is documented ([`known`]). What the table does not know cannot be bounded.
//! Where the bound is too much, or where it would be priced at a dearer band, the backend counts.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{Request, route::Routed};
use crate::{app::App, price::Rate};

mod known;
mod part;

pub(super) use known::by_bytes;

/// What the input of a call can be at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// In tokens.
    pub(super) tokens: i64,
    /// The dearest way in which the request has it written to the cache.
    pub(super) cache: CacheWrite,
    /// What the table does not know: then the tokens are no bound.
    pub(super) unknown: Option<Unknown>,
}

/// Whether the input is written to the prompt cache, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CacheWrite {
    /// It is not.
    #[default]
    None,
    /// For 5 minutes.
    FiveMinutes,
    /// For an hour.
    Hour,
}

/// A part of a request that the table does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// Where it is.
    pub(super) field: String,
    /// What it is.
    pub(super) what: String,
}

impl Bound {
    /// Whether any of the input is written to the cache, to be read from it the next time.
    pub(super) fn is_cached(&self) -> bool {
        self.cache != CacheWrite::None
    }
}

impl CacheWrite {
    /// What a token of the input costs at most.
    pub(super) fn input_price(self, rate: &Rate) -> i64 {
        match self {
            Self::None => rate.input,
            Self::FiveMinutes => rate.input.max(rate.cache_write_5m),
            Self::Hour => rate.input.max(rate.cache_write_5m).max(rate.cache_write_1h),
        }
    }
}

/// Puts a count in the place of the bound by bytes, for every target. Where counting fails, that bound stands.
pub(super) async fn count(app: &App, request: &Request, routed: &mut Routed) {
    routed.is_counted = true;
    let counting = routed.targets.iter().map(|target| async {
        let backend = &target.backend;
        let counted = backend.count(&target.offer.model_id, Arc::clone(&request.asked)).await.ok()?;
        i64::try_from(counted.saturating_add(backend.count_margin(counted))).ok()
    });
    let counts = join_all(counting).await;
    for (target, counted) in routed.targets.iter_mut().zip(counts) {
        if let Some(tokens) = counted.filter(|tokens| *tokens < target.input_tokens) {
            target.bounded(app, tokens);
        }
    }
}

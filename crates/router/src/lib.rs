//! How hard a prompt is, and which Claude tier is worth its price.
//!
//! [`Router::read`] says how likely each tier is to be right and how long its answer will be; [`decide`](decide::decide) takes the tier that
//! is worth its price at a λ, which a [`Dial`] and a price table make with [`Router::lambda`] and a budget presses with
//! [`pressed`](decide::pressed). The same file says the same of the same prompt on every platform.
//!
//! [`mod@train`] makes the file from prompts with outcomes, [`calibrate`](calibrate::calibrate) fits it to an operator's own, [`mod@bench`] judges it.

// Counts are small, and what a weight loses between f64 and f32 is lost in the file as well.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
// What tests compare is exact.
#![cfg_attr(test, allow(clippy::float_cmp))]

pub mod bench;
pub mod calibrate;
pub mod data;
pub mod decide;
mod error;
mod features;
mod math;
mod model;
mod reasons;
mod router;
mod text;
pub mod train;
mod trust;

pub use decide::{Dial, ReferenceRow, Tier};
pub use error::RouterError;
pub use router::{Reading, Router};
pub use trust::{FAMILIARITY_MIN, Facts};

//! The ledger's nouns and its arithmetic: what is held, what is spent, what still fits. No IO.
//!
//! [`Books`] is the heart: a store loads what a group of operations names, [`Books`] decides, the store writes what changed,
//! all in one transaction. Both stores run the same decisions, so that no store decides anything.

mod account;
mod admit;
mod amount;
mod books;
mod claim;
mod entry;
mod limits;
mod operation;

pub use account::{Account, Counter, ModelUsage};
pub use admit::{Admission, Candidate, Kept, Room, Shortage, Unit};
pub use amount::Amount;
pub use books::{Books, Changes};
pub use claim::{Claim, ClaimScope, ClaimState, Claimed};
pub use entry::{Ended, Entry, OF_A_JOB, Reservation, SettledBy, Spent};
pub use limits::{AutoTerms, Clamp, Limit, Limits, Project};
pub use operation::{Grant, Reserve, Reserved, Resolve, Resolved, Settle, Settled};

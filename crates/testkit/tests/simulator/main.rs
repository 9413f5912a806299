//! The simulator itself, over a bare socket: its streams are what Anthropic's format says, each fault does what its name
//! says, and its bill is what was generated.

mod batches;
mod bill;
mod fault;
mod socket;
mod stream;

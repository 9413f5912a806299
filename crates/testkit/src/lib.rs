//! The kit of the black-box suite: a [`TestServer`] that checks the world when it is dropped, the real binary as a
//! [`Program`], and a [`Caller`] that holds every answer against the contract.
//!
//! It knows the service only as its users do: over a socket, or by its command line. What it adds to that is a look at
//! what a call leaves behind.
#![allow(clippy::missing_panics_doc, reason = "a test helper fails by panicking, and says why when it does")]

mod answer;
mod caller;
pub mod crash;
mod job;
mod log;
mod postgres;
mod program;
mod raw;
mod server;
pub mod simulator;
mod stream;
mod wait;

pub use answer::Answer;
pub use caller::{Caller, json_of, send};
pub use postgres::PostgresServer;
pub use program::{Ended, Program, command, ended, model_file, run, run_example, signal};
pub use raw::{Raw, answering, answering_in_turn, json_answer, read_request, stored_batch};
pub use server::TestServer;
pub use simulator::Simulator;
pub use stream::{Event, Events, Transcript};
pub use wait::{BOUND, in_time, until};

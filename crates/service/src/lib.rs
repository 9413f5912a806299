//! The Claude Code API service.
//!
//! The file list is the path of a call: `http/` takes it in, `call/` runs it, `backend/` answers it. ARCHITECTURE.md walks
//! through one.

pub mod app;
pub mod backend;
pub mod batch;
pub mod call;
pub mod config;
pub mod digest;
pub mod directory;
pub mod failpoint;
mod http;
pub mod id;
pub mod job;
pub mod key;
pub mod ledger;
pub mod model;
pub mod money;
pub mod operator;
pub mod price;
pub mod project;
mod serve;
pub mod slice;
pub mod store;
mod tls;
pub mod usage;
pub mod window;

pub use http::openapi;
pub use serve::{Listeners, serve};

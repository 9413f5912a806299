//! Backend `claude_code`: the Claude Code CLI, headless. What a pool of it will stand on, in use by `claude install` and
//! `claude doctor`; calls are not answered by it yet.

pub mod claim;
pub mod find;
pub mod gateway;
pub mod install;
pub mod isolate;
pub mod line;
mod observe;
pub mod package;
pub mod self_test;
pub mod slot;
mod turn;
pub mod worker;

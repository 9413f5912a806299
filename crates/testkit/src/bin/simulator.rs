//! The upstream simulator as a program, for tests in other languages. Its first line says where it is; then it does what it reads,
//! one command a line, and answers each in one line of JSON, until its input ends.
//!
//! - `bill`: everything that was charged.
//! - `requests`, `headers`: what was asked, of each request.
//! - `open`: how many streams are being written.
//! - `next SCRIPT`: the script of the next request that brings none.

use std::io::{self, BufRead, Write};

use claude_code_api_testkit::{
    Simulator,
    simulator::{Billed, Script},
};
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let simulator = Simulator::start();
    let mut out = io::stdout().lock();
    writeln!(out, "{}", simulator.base_url())?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        writeln!(out, "{}", answer(&simulator, &line?))?;
        out.flush()?;
    }
    Ok(())
}

fn answer(simulator: &Simulator, line: &str) -> Value {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("bill", _) => simulator.bill().iter().map(billed).collect(),
        ("requests", _) => simulator.requests().into(),
        ("headers", _) => json!(simulator.headers()),
        ("open", _) => simulator.open_streams().into(),
        ("next", script) => {
            simulator.answer_next(vec![Script::read(script)]);
            Value::Null
        }
        (other, _) => json!({"error": format!("there is no command {other:?}")}),
    }
}

fn billed(billed: &Billed) -> Value {
    json!({
        "model": billed.model, "input_tokens": billed.input_tokens, "output_tokens": billed.output_tokens,
        "cache_write_5m_tokens": billed.cache_write_5m_tokens, "cache_write_1h_tokens": billed.cache_write_1h_tokens,
        "cache_read_tokens": billed.cache_read_tokens, "batch": billed.batch,
    })
}

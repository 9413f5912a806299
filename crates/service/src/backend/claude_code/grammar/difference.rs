//! What a difference is, and how it is told without a word of a prompt: where it is, and the kinds and lengths of both sides.

use serde_json::Value;
use thiserror::Error;

use crate::backend::{Failure, Reason, Spend};

/// A worker's request is not the call that it was given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{at}: {what}")]
pub struct Mismatch {
    /// Where.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

impl Mismatch {
    pub(in super::super) fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into() }
    }

    /// What becomes of the call.
    pub(in super::super) fn failure(&self) -> Failure {
        tracing::error!(mismatch = %self, "a worker has asked for something else than its call; it is killed, and nothing is sent");
        let message = "has a worker that asked for something else than its call".into();
        Failure { spend: Spend::Unspent, reason: Reason::Broken { message, retryable: true } }
    }
}

pub(super) fn equal(at: &str, given: &Value, found: &Value) -> Result<(), Mismatch> {
    if same(given, found) { Ok(()) } else { Err(Mismatch::new(at, differs(given, found))) }
}

fn same(given: &Value, found: &Value) -> bool {
    match (given, found) {
        (Value::Number(given), Value::Number(found)) => given == found || near(given.as_f64(), found.as_f64()),
        (Value::Array(given), Value::Array(found)) => {
            given.len() == found.len() && given.iter().zip(found).all(|(given, found)| same(given, found))
        }
        (Value::Object(given), Value::Object(found)) => {
            let is_in_found =
                |(name, given): (&String, &Value)| found.get(name).is_some_and(|found| same(given, found));
            given.len() == found.len() && given.iter().all(is_in_found)
        }
        _ => given == found,
    }
}

/// JavaScript writes numbers anew: 1.0 as 1, and no digits that a double does not hold.
fn near(given: Option<f64>, found: Option<f64>) -> bool {
    given.zip(found).is_some_and(|(given, found)| (given - found).abs() <= given.abs() * f64::EPSILON)
}

fn differs(given: &Value, found: &Value) -> String {
    let (Value::String(own), Value::String(text)) = (given, found) else {
        return format!("{}, where {} was given", kind(found), kind(given));
    };
    let from = own.bytes().zip(text.bytes()).take_while(|(own, found)| own == found).count();
    format!("{}, where {} was given; they differ from byte {from} on", kind(found), kind(given))
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) => format!("a text of {} bytes", text.len()),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(object) => format!("an object of {} fields", object.len()),
    }
}

/// A name of a request's field, as far as it looks like one.
pub(super) fn shown(name: &str) -> &str {
    const LETTERS_MAX: usize = 32;
    let is_name = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
    if name.len() <= LETTERS_MAX && name.bytes().all(is_name) { name } else { "?" }
}

//! The misbehaviours, and what a caller is to hear of each.

use claude_code_api_wire::ErrorCode::{
    self, BackendError, InvalidRequest, NotFound, Overloaded, RateLimited, RequestTooLarge,
};
use serde_json::{Value, json};

/// One misbehaviour.
pub(super) struct Row {
    pub(super) name: String,
    /// What the simulator does.
    pub(super) script: Value,
    pub(super) ends: Ends,
}

/// How the caller's call ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ends {
    /// With a whole answer.
    Whole,
    /// With this error.
    Fails(ErrorCode),
    /// The same, with a time to come back after, in seconds.
    FailsFor(ErrorCode, f64),
    /// Not before the caller's time is over.
    Late,
}

/// Events of an answer with three deltas: start, block, ping, three deltas, the block's end, the reason, the stop.
const EVENTS: u64 = 9;
/// So many of them are a whole answer: the last is only a farewell.
const EVENTS_NEEDED: u64 = EVENTS - 1;

fn row(name: impl Into<String>, script: Value, ends: Ends) -> Row {
    Row { name: name.into(), script, ends }
}

fn told(status: u16) -> ErrorCode {
    match status {
        400 => InvalidRequest,
        404 => NotFound,
        413 => RequestTooLarge,
        429 => RateLimited,
        503 | 529 => Overloaded,
        _ => BackendError,
    }
}

/// All of them; first what takes an upstream that may be tried again.
pub(super) fn all() -> Vec<Row> {
    [once(), odd(), slow(), broken(), large(), statuses(), waits()].into_iter().flatten().collect()
}

/// Every error status, with every body.
pub(super) fn statuses() -> Vec<Row> {
    let mut rows = Vec::new();
    for status in [400, 401, 402, 403, 404, 409, 413, 429, 500, 503, 504, 529] {
        let ends = Ends::Fails(told(status));
        rows.push(row(status.to_string(), json!({"status": status}), ends));
        for body in ["html", "empty", "garbage"] {
            rows.push(row(format!("{status}, body {body}"), json!({"status": status, "error_body": body}), ends));
        }
    }
    for status in [302, 408, 418, 422, 502, 520] {
        rows.push(row(status.to_string(), json!({"status": status}), Ends::Fails(told(status))));
    }
    for (status, should_retry) in [(400, true), (500, false)] {
        let script = json!({"status": status, "should_retry": should_retry});
        rows.push(row(format!("{status}, x-should-retry {should_retry}"), script, Ends::Fails(told(status))));
    }
    rows
}

/// Every form in which an upstream says when to come back.
pub(super) fn waits() -> Vec<Row> {
    let forms = [
        (json!({}), 1.0),
        (json!({"retry_after": "0"}), 0.0),
        (json!({"retry_after": "7"}), 7.0),
        (json!({"retry_after": "1.5"}), 1.5),
        (json!({"retry_after": "999999"}), 3_600.0),
        (json!({"retry_after": "-1"}), 1.0),
        (json!({"retry_after": "inf"}), 1.0),
        (json!({"retry_after": "NaN"}), 1.0),
        (json!({"retry_after": ""}), 1.0),
        (json!({"retry_after": "soon"}), 1.0),
        (json!({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}), 0.0),
        (json!({"retry_after": "Thu, 31 Dec 2099 23:59:59 GMT"}), 3_600.0),
        (json!({"retry_after_ms": "2500"}), 2.5),
        (json!({"retry_after_ms": "2500", "retry_after": "3"}), 2.5),
        (json!({"retry_after_ms": "soon", "retry_after": "3"}), 3.0),
    ];
    let mut rows = Vec::new();
    for status in [429, 503, 529] {
        for (form, seconds) in &forms {
            let mut script = form.clone();
            script["status"] = json!(status);
            rows.push(row(format!("{status} {form}"), script, Ends::FailsFor(told(status), *seconds)));
        }
    }
    rows
}

/// Everything that ends an answer before its time, at every place.
pub(super) fn broken() -> Vec<Row> {
    let mut rows = wrong_as_a_whole();
    let fails = Ends::Fails(BackendError);
    for fault in ["reset_after_events", "close_after_events", "end_after_events", "half_event_after"] {
        for after in 0..=EVENTS {
            let ends = if after < EVENTS_NEEDED { fails } else { Ends::Whole };
            rows.push(row(format!("{fault} {after}"), json!({"output": 3, fault: after}), ends));
        }
    }
    for after in 0..EVENTS {
        let ends = if after < EVENTS_NEEDED { fails } else { Ends::Whole };
        rows.push(row(format!("garbage_after {after}"), json!({"output": 3, "garbage_after": after}), ends));
    }
    rows.push(row("no message_delta", json!({"no_delta": true}), fails));
    rows.push(row("no message_stop", json!({"no_stop": true}), Ends::Whole));
    rows.extend(error_events());
    rows.extend(cut_off());
    rows
}

fn wrong_as_a_whole() -> Vec<Row> {
    let faults = ["reset_before", "reset_after", "garbage", "html", "empty", "half_body", "whole"];
    let types = ["text/plain", "application/json", "text/event-stream2", ""];
    let of_fault = |fault| row(fault, json!({"fault": fault}), Ends::Fails(BackendError));
    let of_type =
        |kind| row(format!("content-type {kind:?}"), json!({"content_type": kind}), Ends::Fails(BackendError));
    faults.into_iter().map(of_fault).chain(types.into_iter().map(of_type)).collect()
}

/// Before the answer, after its start, in its block, in its content, and when it is whole.
fn error_events() -> Vec<Row> {
    let kinds = [
        ("overloaded_error", Overloaded),
        ("rate_limit_error", RateLimited),
        ("api_error", BackendError),
        ("timeout_error", BackendError),
        ("new_error", BackendError),
        ("invalid_request_error", InvalidRequest),
    ];
    let places = [0, 1, 2, 4, 7, EVENTS_NEEDED];
    let rows = kinds.into_iter().flat_map(|(kind, code)| {
        places.map(|after| {
            let ends = if after < EVENTS_NEEDED { Ends::Fails(code) } else { Ends::Whole };
            let script = json!({"output": 3, "error_event": {"type": kind, "after": after}});
            row(format!("{kind} after {after}"), script, ends)
        })
    });
    rows.collect()
}

/// Answers that are more than a text, cut off in the middle.
fn cut_off() -> Vec<Row> {
    let omitted = json!({"tokens": 400, "display": "omitted"});
    let summarized = json!({"tokens": 400});
    let tool = json!({"name": "look_up", "input": {"what": "the weather", "days": [1, 2, 3], "ü": "ß"}});
    let scripts = [
        ("hidden thinking", json!({"thinking": omitted, "output": 450, "reset_after_events": 3})),
        ("hidden thinking, then text", json!({"thinking": omitted, "output": 450, "reset_after_events": 8})),
        ("shown thinking", json!({"thinking": summarized, "output": 450, "close_after_events": 20})),
        ("a tool's use", json!({"tool": tool, "output": 60, "close_after_events": 8})),
        ("a tool's use, its value kept back", json!({"tool": tool, "output": 600, "reset_after_events": 19})),
        ("a cached input", json!({"cache_read": 60, "output": 30, "close_after_events": 9})),
        ("an answer of another model", json!({"model": "claude-tomorrow-9", "output": 30, "close_after_events": 9})),
        ("pieces of ten tokens", json!({"tokens_per_delta": 10, "output": 900, "reset_after_events": 40})),
    ];
    scripts.map(|(name, script)| row(format!("cut off: {name}"), script, Ends::Fails(BackendError))).into()
}

/// What takes its time, and what never comes.
pub(super) fn slow() -> Vec<Row> {
    let whole = [
        json!({"delay_ms": 300}),
        json!({"first_ms": 300}),
        json!({"token_ms": 5, "output": 30}),
        json!({"stall_after": 0, "stall_ms": 300}),
        json!({"stall_after": 3, "stall_ms": 300}),
        json!({"stall_after": 3, "stall_ms": 300, "stall_ping_ms": 50}),
    ];
    let late = [
        json!({"delay_ms": 60_000}),
        json!({"first_ms": 60_000}),
        json!({"token_ms": 50, "output": 900}),
        json!({"token_ms": 10, "output": 900, "lag_tokens": 50}),
        json!({"token_ms": 10, "output": 900, "lag_tokens": 200, "tokens_per_delta": 10}),
        json!({"token_ms": 5, "output": 900, "lag_tokens": 200, "bytes_per_delta": 1}),
        json!({"stall_after": 0}),
        json!({"stall_after": 3}),
        json!({"stall_after": 3, "stall_ping_ms": 50}),
        json!({"stall_after": 16}),
        json!({"endless": true, "token_ms": 10}),
        json!({"thinking": {"tokens": 900, "display": "omitted"}, "output": 950, "token_ms": 10}),
        json!({"thinking": {"tokens": 900}, "output": 950, "token_ms": 10, "lag_tokens": 50}),
        json!({"tool": {"name": "look_up", "input": {"a": "b"}}, "output": 900, "token_ms": 100}),
    ];
    let named = |script: Value, ends| row(script.to_string(), script, ends);
    let whole = whole.map(|script| named(script, Ends::Whole)).into_iter();
    whole.chain(late.map(|script| named(script, Ends::Late))).collect()
}

/// What is new, odd or unexpected, and takes nothing from the answer.
pub(super) fn odd() -> Vec<Row> {
    let tool = json!({"name": "look_up", "input": {"what": "the weather", "days": [1, 2, 3], "ü": "ß"}});
    let scripts = [
        json!({}),
        json!({"output": 0}),
        json!({"output": 1_000}),
        json!({"stop_reason": "refusal"}),
        json!({"stop_reason": "new_reason"}),
        json!({"unknown_events": true}),
        json!({"unknown_fields": true}),
        json!({"comments": true}),
        json!({"crlf": true}),
        json!({"chunk_bytes": 1}),
        json!({"chunk_bytes": 7, "crlf": true, "comments": true, "unknown_events": true, "unknown_fields": true}),
        json!({"content_type": "text/event-stream"}),
        json!({"content_type": "Text/Event-Stream; Charset=UTF-8"}),
        json!({"thinking": {"tokens": 50}, "output": 80}),
        json!({"thinking": {"tokens": 50, "display": "omitted"}, "output": 80}),
        json!({"thinking": {"tokens": 50}, "output": 50}),
        json!({"tool": tool, "output": 60}),
        json!({"tool": tool, "output": 60, "unknown_fields": true, "chunk_bytes": 3}),
        json!({"cache_write": 20, "cache_write_1h": 30, "cache_read": 40}),
        json!({"service_tier": "priority"}),
        json!({"model": "claude-tomorrow-9"}),
        json!({"model": "claude-haiku-5-5"}),
        json!({"beyond": true, "output": 2_000}),
        json!({"input": 100_000}),
        json!({"bytes_per_delta": 1_000_000, "output": 1}),
        json!({"bytes_per_delta": 1, "output": 900}),
    ];
    scripts.map(|script| row(script.to_string(), script, Ends::Whole)).into()
}

/// What goes wrong the first time, and not the second, before anything was said.
pub(super) fn once() -> Vec<Row> {
    let scripts = [
        json!({"fault": "reset_before"}),
        json!({"fault": "reset_after"}),
        json!({"fault": "html"}),
        json!({"fault": "whole"}),
        json!({"content_type": "text/plain"}),
        json!({"end_after_events": 0}),
        json!({"reset_after_events": 1}),
        json!({"close_after_events": 2}),
        json!({"half_event_after": 1}),
        json!({"garbage_after": 2}),
        json!({"error_event": {"type": "overloaded_error"}}),
        json!({"error_event": {"type": "rate_limit_error", "after": 1}}),
        json!({"error_event": {"type": "api_error", "after": 2}}),
        json!({"status": 429, "retry_after": "7"}),
        json!({"status": 529}),
        json!({"status": 500}),
    ];
    let once = |mut script: Value| {
        script["faults"] = json!(1);
        row(script.to_string(), script, Ends::Whole)
    };
    scripts.map(once).into()
}

/// What no answer may be.
pub(super) fn large() -> Vec<Row> {
    let scripts =
        [json!({"bytes_per_delta": 17_000_000, "output": 1}), json!({"bytes_per_delta": 1_000_000, "output": 80})];
    scripts.map(|script| row(script.to_string(), script, Ends::Fails(BackendError))).into()
}

//! Events as they are written: one by one, and with what may stand between them.

use serde_json::{Value, json};

use super::Script;

/// After every so many events comes one of no known name.
const UNKNOWN_EVERY: u64 = 3;

/// The lines of an event. `written` events were before it.
pub(super) fn frame(event: &Value, script: &Script, written: u64) -> String {
    let comment = if script.comments { ": what this says does not matter\n\n" } else { "" };
    let unknown = if script.unknown_events && written % UNKNOWN_EVERY == 1 {
        lines(&json!({"type": "new_thing", "new": {"nested": [1, null, "word"]}}))
    } else {
        String::new()
    };
    let known = if script.unknown_fields { lines(&with_unknown_fields(event.clone())) } else { lines(event) };
    let all = [comment, &unknown, &known].concat();
    if script.crlf { all.replace('\n', "\r\n") } else { all }
}

fn lines(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
}

/// The same with a field more in every object, except in what a tool is called with.
pub(super) fn with_unknown_fields(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let of_field = |(name, value): (String, Value)| {
                let value = if name == "input" { value } else { with_unknown_fields(value) };
                (name, value)
            };
            let unknown = ("new_field".to_owned(), json!({"nested": [1, null, "word"]}));
            Value::Object(fields.into_iter().map(of_field).chain([unknown]).collect())
        }
        Value::Array(values) => values.into_iter().map(with_unknown_fields).collect(),
        other => other,
    }
}

//! The parameters beside conversation and tools, one function each.

use serde_json::{Value, json};

use super::{Invalid, field::Field, request::field};

const TOKENS_MAX: u64 = 1_000_000;
const STOP_SEQUENCES_MAX: usize = 16;
const STOP_SEQUENCE_BYTES_MAX: usize = 256;

/// Whether to stream, and whether the stream ends with the usage.
pub(super) fn stream(stream: Option<Value>, options: Option<Value>) -> Result<(bool, bool), Invalid> {
    let stream = field("stream", stream).map_or(Ok(false), |stream| stream.flag())?;
    let Some(options) = field("stream_options", options) else { return Ok((stream, false)) };
    if !stream {
        return Err(options.refuse("takes effect only with \"stream\": true"));
    }
    let mut options = options.object("takes an object with include_usage")?;
    let include_usage = options.take("include_usage").map_or(Ok(false), |usage| usage.flag())?;
    if let Some(padding) = options.take("include_obfuscation")
        && padding.flag()?
    {
        return Err(padding.refuse("takes false: chunks are not padded here"));
    }
    options.finish()?;
    Ok((stream, include_usage))
}

/// Two names of one thing.
pub(super) fn max_tokens(older: Option<Value>, newer: Option<Value>) -> Result<Option<u32>, Invalid> {
    let older = field("max_tokens", older).as_ref().map(tokens).transpose()?;
    let newer = field("max_completion_tokens", newer).as_ref().map(tokens).transpose()?;
    match (older, newer) {
        (Some(older), Some(newer)) if older != newer => Err(Invalid::new(
            "max_tokens",
            format!("is {older}, and max_completion_tokens {newer}; send one of the two"),
        )),
        _ => Ok(newer.or(older)),
    }
}

fn tokens(field: &Field) -> Result<u32, Invalid> {
    let within = field.value.as_u64().filter(|count| (1..=TOKENS_MAX).contains(count));
    let count = within.and_then(|count| u32::try_from(count).ok());
    count.ok_or_else(|| field.refuse(format_args!("takes a whole number from 1 to {TOKENS_MAX}")))
}

pub(super) fn seconds(field: &Field) -> Result<f64, Invalid> {
    field.value.as_f64().ok_or_else(|| field.refuse("takes a number of seconds"))
}

pub(super) fn seed(field: &Field) -> Result<u32, Invalid> {
    let seed = field.value.as_u64().and_then(|seed| u32::try_from(seed).ok());
    seed.ok_or_else(|| field.refuse(format_args!("takes a whole number from 0 to {}", u32::MAX)))
}

/// OpenAI's scale ends at 2. Claude's ends at 1, and a value above it means nothing there.
pub(super) fn temperature(field: Field) -> Result<Value, Invalid> {
    let fits = field.value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value));
    if fits { Ok(field.value) } else { Err(field.refuse("takes 0 to 1, the range of Claude")) }
}

pub(super) fn top_p(field: Field) -> Result<Value, Invalid> {
    let fits = field.value.as_f64().is_some_and(|value| value > 0.0 && value <= 1.0);
    if fits { Ok(field.value) } else { Err(field.refuse("takes a number above 0, at most 1")) }
}

/// Blank texts pass, though Claude refuses them: the embedded model takes them.
pub(super) fn stop(field: Field) -> Result<Option<Value>, Invalid> {
    let takes = format!("takes a text, or at most {STOP_SEQUENCES_MAX}, of 1 to {STOP_SEQUENCE_BYTES_MAX} bytes each");
    let items = match field.value {
        Value::String(_) => vec![field],
        _ => field.items(&takes)?,
    };
    if let Some(surplus) = items.get(STOP_SEQUENCES_MAX) {
        return Err(surplus.refuse(takes));
    }
    let fits =
        |item: &Field| item.value.as_str().is_some_and(|text| (1..=STOP_SEQUENCE_BYTES_MAX).contains(&text.len()));
    if let Some(wrong) = items.iter().find(|item| !fits(item)) {
        return Err(wrong.refuse(takes));
    }
    let texts: Vec<Value> = items.into_iter().map(|item| item.value).collect();
    Ok((!texts.is_empty()).then_some(Value::Array(texts)))
}

/// `thinking` and the level of `output_config.effort`. The levels have the same names and the same meaning in both dialects:
/// how many tokens may go into an answer, thinking included. `minimal` has no counterpart. `none` is thinking disabled, which
/// models that always think refuse.
pub(super) fn effort(field: Field) -> Result<(Option<Value>, Option<Value>), Invalid> {
    match field.value.as_str() {
        Some("none") => Ok((Some(json!({"type": "disabled"})), None)),
        Some("low" | "medium" | "high" | "xhigh" | "max") => Ok((None, Some(field.value))),
        _ => Err(field.refuse("takes none, low, medium, high, xhigh or max: Claude has no other level")),
    }
}

/// `None` for plain text.
pub(super) fn format(field: Field) -> Result<Option<Value>, Invalid> {
    const TAKES: &str = "takes text or json_schema";
    let mut format = field.object("takes an object with type")?;
    let kind = format.need("type", TAKES)?;
    let schema = match kind.value.as_str() {
        Some("text") => None,
        Some("json_schema") => Some(schema(format.need("json_schema", "takes an object with schema")?)?),
        Some("json_object") => {
            return Err(kind.refuse("takes text or json_schema: Claude has no mode for JSON without a schema"));
        }
        _ => return Err(kind.refuse(TAKES)),
    };
    format.finish()?;
    Ok(schema.map(|schema| json!({"type": "json_schema", "schema": schema})))
}

/// `name` is a label for logs, and `strict` is always the case; `description` is for the model, and goes where it reads it.
fn schema(field: Field) -> Result<Value, Invalid> {
    let mut format = field.object("takes an object with schema")?;
    format.take("name").map(|name| name.text("takes a text")).transpose()?;
    format.take("strict").map(|strict| strict.flag()).transpose()?;
    let description = format.take("description").map(|text| text.text("takes a text")).transpose()?;
    let schema = format.need("schema", "takes a JSON schema")?;
    format.finish()?;
    match schema.value {
        Value::Object(mut fields) => {
            if let Some(description) = description {
                fields.entry("description").or_insert(description.into());
            }
            Ok(Value::Object(fields))
        }
        _ => Err(schema.refuse("takes a JSON schema, which is an object")),
    }
}

/// Two names of one thing.
pub(super) fn user(older: Option<Value>, newer: Option<Value>) -> Result<Option<Value>, Invalid> {
    let read = |name, value| field(name, value).map(|user| user.text("takes a text")).transpose();
    match (read("user", older)?, read("safety_identifier", newer)?) {
        (Some(older), Some(newer)) if older != newer => {
            Err(Invalid::new("user", "differs from safety_identifier; send one of the two"))
        }
        (older, newer) => Ok(newer.or(older).map(Value::from)),
    }
}

//! Grammar: whether the request that a worker sends is the call that it was briefed for, and nothing else.
//!
//! Every field of the call has to be there as it is, and what is there besides has to be what this version of the CLI puts there by
//! itself. Anything else, and anything that is lacking, is a [`Mismatch`]: the worker is killed. Upstream is sent a body of our own, but
//! on a login: then it is this one. It is pinned to **2.1.330**, as [`super::package`] is.

use claude_code_api_wire::Fields;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{apart::Apart, brief::Brief};

mod difference;

pub use difference::Mismatch;
use difference::{equal, shown};

/// What the CLI says that it is, in one of its forms; a worker on a login says the first.
pub(super) const IDENTITIES: [&str; 3] = [
    "You are a Claude agent, built on Anthropic's Claude Agent SDK.",
    "You are Claude Code, Anthropic's official CLI for Claude.",
    "You are Claude Code, Anthropic's official CLI for Claude, running within the Claude Agent SDK.",
];
/// Before that it says which version it is; between these stand three hexadecimal digits.
const BILL: (&str, &str) = ("x-anthropic-billing-header: cc_version=2.1.330.", "; cc_entrypoint=sdk-cli;");
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// Proves that the body of a worker's request is the call that it was briefed for.
///
/// # Errors
/// It is not. No word of either is in the error, as it goes to the log.
pub fn prove(brief: &Brief, body: &[u8]) -> Result<(), Mismatch> {
    let found: Fields =
        serde_json::from_slice(body).map_err(|_| Mismatch::new("", "no JSON object that can be read"))?;
    let apart = brief.apart.as_ref().map(|_| "system");
    let needed = ["model", "stream"].into_iter().chain(apart).chain(brief.fields.keys().map(String::as_str));
    if let Some(lacking) = needed.into_iter().find(|name| found.get(name).is_none()) {
        return Err(Mismatch::new(shown(lacking), "lacking"));
    }
    for (name, value) in found.iter() {
        let value = serde_json::from_str(value.get()).map_err(|_| Mismatch::new(shown(name), "cannot be read"))?;
        field(brief, name, value)?;
    }
    Ok(())
}

fn field(brief: &Brief, name: &str, found: Value) -> Result<(), Mismatch> {
    match (name, brief.fields.get(name)) {
        ("model", _) => equal(name, &brief.model.as_str().into(), &found),
        ("stream", _) => equal(name, &true.into(), &found),
        (_, Some(own)) => carried(name, own, found),
        (_, None) => besides(brief.apart.as_ref(), name, &found),
    }
}

fn besides(apart: Option<&Apart>, name: &str, found: &Value) -> Result<(), Mismatch> {
    match apart {
        Some(apart) if name == "system" => system(&apart.system, found),
        Some(_) if is_default_on_login(name, found) => Ok(()),
        None if is_default(name, found) => Ok(()),
        _ => Err(Mismatch::new(shown(name), "not given, and none of the CLI's defaults")),
    }
}

fn carried(name: &str, own: &Value, mut found: Value) -> Result<(), Mismatch> {
    // The CLI adds its effort to a configuration that names none.
    let is_added = name == "output_config" && own.get("effort").is_none() && found.get("effort").is_some_and(is_effort);
    if let Some(found) = found.as_object_mut().filter(|_| is_added) {
        found.shift_remove("effort");
    }
    equal(shown(name), own, &found)
}

/// What the CLI says of itself, and the system prompt.
fn system(own: &str, found: &Value) -> Result<(), Mismatch> {
    let blocks = found.as_array().map_or(&[][..], Vec::as_slice);
    let Some((bill, rest)) = blocks.split_first() else {
        return Err(Mismatch::new("system", "no list, or an empty one"));
    };
    if !is_bill(bill) {
        return Err(Mismatch::new("system", "does not begin with the CLI's version"));
    }
    let texts = [IDENTITIES[0], own].into_iter().filter(|text| !text.is_empty()).map(text_block);
    equal("system", &texts.collect(), &rest.into())
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn is_bill(block: &Value) -> bool {
    let Some(line) = block["text"].as_str().filter(|line| *block == text_block(line)) else { return false };
    let digits = line.strip_prefix(BILL.0).and_then(|line| line.strip_suffix(BILL.1));
    digits.is_some_and(|digits| digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// A worker on a login is told to leave out what can be left out.
fn is_default_on_login(name: &str, found: &Value) -> bool {
    match name {
        "tools" => *found == json!([]),
        "metadata" => is_metadata(found),
        // What the API takes where there is none.
        "temperature" => *found == json!(1),
        _ => false,
    }
}

fn is_default(name: &str, found: &Value) -> bool {
    match name {
        "tools" => *found == json!([]),
        "context_management" => *found == json!({"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}),
        "metadata" => is_metadata(found),
        "output_config" => {
            found.as_object().is_some_and(|of| of.len() == 1) && found.get("effort").is_some_and(is_effort)
        }
        "thinking" => is_thinking(found),
        _ => false,
    }
}

/// Whose the CLI says that a call is: JSON, in a text.
#[derive(Deserialize, Serialize)]
struct User {
    device_id: String,
    account_uuid: String,
    session_id: String,
}

fn is_metadata(found: &Value) -> bool {
    let Some(text) = found.get("user_id").and_then(Value::as_str) else { return false };
    let written = serde_json::from_str::<User>(text).and_then(|user| serde_json::to_string(&user));
    written.is_ok_and(|written| written == text) && found.as_object().is_some_and(|of| of.len() == 1)
}

fn is_effort(found: &Value) -> bool {
    found.as_str().is_some_and(|effort| EFFORTS.contains(&effort))
}

fn is_thinking(found: &Value) -> bool {
    let Some(mut of) = found.as_object().cloned() else { return false };
    let display = of.shift_remove("display");
    let kind = match of.shift_remove("budget_tokens") {
        None => "adaptive",
        Some(budget) if budget.is_u64() => "enabled",
        Some(_) => return false,
    };
    display.is_none_or(|display| display == "updates") && Value::from(of) == json!({"type": kind})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brief() -> Brief {
        let call = json!({"max_tokens": 7, "temperature": 1.0, "system": [{"type": "text", "text": "S"}],
            "messages": [{"role": "user", "content": "canary"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": [{"type": "text", "text": "c"}]}]});
        let Value::Object(fields) = call else { unreachable!("it is one") };
        Brief { model: "claude-haiku-5-5".to_owned(), fields, apart: None }
    }

    /// As CLI 2.1.330 sends it.
    fn body() -> Value {
        let mut body = Value::from(brief().fields);
        body["model"] = "claude-haiku-5-5".into();
        body["temperature"] = 1.into();
        body["stream"] = true.into();
        body["tools"] = json!([]);
        body["thinking"] = json!({"type": "adaptive"});
        body["output_config"] = json!({"effort": "medium"});
        body["metadata"] = json!({"user_id": r#"{"device_id":"0f","account_uuid":"","session_id":"1"}"#});
        body
    }

    fn proved(change: impl FnOnce(&mut Value)) -> Result<(), Mismatch> {
        let mut body = body();
        change(&mut body);
        prove(&brief(), body.to_string().as_bytes())
    }

    #[test]
    fn what_the_cli_sends_of_a_call_is_that_call() {
        assert_eq!(proved(|_| {}), Ok(()));
    }

    #[test]
    fn whatever_differs_is_found_and_told_without_a_word_of_it() {
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 20] = [
            ("model", |body| body["model"] = "claude-opus-5-5".into()),
            ("max_tokens", |body| body["max_tokens"] = 8.into()),
            ("temperature", |body| body["temperature"] = json!(0.5)),
            ("temperature", |body| drop(body.as_object_mut().expect("an object").remove("temperature"))),
            ("top_p", |body| body["top_p"] = 1.into()),
            ("stream", |body| body["stream"] = false.into()),
            ("tools", |body| body["tools"] = json!([{"name": "Bash"}])),
            ("thinking", |body| body["thinking"]["text"] = "x".into()),
            ("thinking", |body| body["thinking"] = json!({"type": "enabled", "budget_tokens": "canary"})),
            ("output_config", |body| body["output_config"]["effort"] = "canary".into()),
            ("context_management", |body| body["context_management"] = json!({"edits": []})),
            ("metadata", |body| body["metadata"]["user_id"] = "canary".into()),
            ("?", |body| body["Canary of a caller"] = 1.into()),
            ("system", |body| body["system"][0]["text"] = "canary".into()),
            ("system", |body| {
                body["system"] = json!([{"type": "text", "text": "You are"}, {"type": "text", "text": "S"}]);
            }),
            ("messages", |body| body["messages"][0]["content"] = "canarY".into()),
            ("messages", |body| body["messages"][0]["role"] = "assistant".into()),
            ("messages", |body| drop(body["messages"].as_array_mut().expect("a list").remove(1))),
            ("messages", |body| {
                body["messages"].as_array_mut().expect("a list").push(json!({"role": "user", "content": "."}));
            }),
            ("messages", |body| body["messages"][2]["content"][0]["cache_control"] = json!({"type": "ephemeral"})),
        ];
        for (number, (at, change)) in changes.into_iter().enumerate() {
            let mismatch = proved(change).expect_err("it differs");
            assert_eq!(mismatch.at, at, "{number}");
            assert!(!mismatch.to_string().to_lowercase().contains("canary"), "{number}: {mismatch}");
        }
        for garbage in ["", "[]", "{", "{\"model\": 1, \"model\": 1}"] {
            assert!(prove(&brief(), garbage.as_bytes()).is_err(), "{garbage}");
        }
    }

    /// As CLI 2.1.330 sends it on a login.
    fn on_login(system: &str) -> (Brief, Value) {
        let (mut brief, mut body) = (brief(), body());
        brief.fields.shift_remove("system");
        brief.apart = Some(Apart { system: system.to_owned(), ..Apart::default() });
        for left_out in ["thinking", "output_config"] {
            body.as_object_mut().expect("an object").shift_remove(left_out);
        }
        let bill = "x-anthropic-billing-header: cc_version=2.1.330.d01; cc_entrypoint=sdk-cli;";
        body["system"] =
            [bill, IDENTITIES[0], system].into_iter().filter(|text| !text.is_empty()).map(text_block).collect();
        (brief, body)
    }

    #[test]
    fn on_a_login_the_cli_says_what_it_is_and_nothing_else_besides() {
        type Change = fn(&mut Value);
        for system in ["S", ""] {
            let (brief, body) = on_login(system);
            assert_eq!(prove(&brief, body.to_string().as_bytes()), Ok(()), "{system:?}");
        }
        let changes: [(&str, Change); 8] = [
            ("system", |body| drop(body.as_object_mut().expect("an object").remove("system"))),
            ("system", |body| drop(body["system"].as_array_mut().expect("a list").remove(0))),
            ("system", |body| drop(body["system"].as_array_mut().expect("a list").remove(1))),
            ("system", |body| body["system"][2]["text"] = "canary".into()),
            ("system", |body| body["system"][2]["cache_control"] = json!({"type": "ephemeral"})),
            ("system", |body| body["system"][0]["text"] = "x-anthropic-billing-header: canary".into()),
            ("system", |body| body["system"].as_array_mut().expect("a list").push(text_block("canary"))),
            ("thinking", |body| body["thinking"] = json!({"type": "adaptive"})),
        ];
        for (number, (at, change)) in changes.into_iter().enumerate() {
            let (brief, mut body) = on_login("S");
            change(&mut body);
            let mismatch = prove(&brief, body.to_string().as_bytes()).expect_err("it differs");
            assert_eq!(mismatch.at, at, "{number}");
            assert!(!mismatch.to_string().contains("canary"), "{number}: {mismatch}");
        }
    }
}

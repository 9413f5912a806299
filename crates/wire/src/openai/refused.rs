//! Parameters of Chat Completions that Claude has no counterpart for.
//!
//! Each is taken with the value that changes nothing, which some clients always send, and refused with any other.

use serde_json::{Map, Value};

use super::Invalid;

struct Rule {
    name: &'static str,
    changes_nothing: fn(&Value) -> bool,
    takes: &'static str,
}

const RULES: [Rule; 20] = [
    rule("n", |value| value == 1, "takes 1: a call has one answer; call again for another"),
    rule("logprobs", is_false, "takes false: Claude gives no log probabilities"),
    rule("top_logprobs", is_zero, "is not taken: Claude gives no log probabilities"),
    rule("logit_bias", is_empty, "is not taken: Claude has no bias of single tokens"),
    rule("presence_penalty", is_zero, "takes 0: Claude has no penalties"),
    rule("frequency_penalty", is_zero, "takes 0: Claude has no penalties"),
    rule("store", is_false, "takes false: no answer is stored for later"),
    rule("metadata", is_empty, "is not taken: it belongs to stored answers, and none are stored"),
    rule("service_tier", is_default_tier, "takes auto or default"),
    rule("verbosity", |value| value == "medium", "takes medium, the default; ask for more or less in the prompt"),
    rule("modalities", is_text_alone, "takes [\"text\"]: Claude writes text"),
    rule("audio", never, "is not taken: Claude writes text"),
    rule("prediction", never, "is not taken: Claude has no predicted outputs"),
    rule("web_search_options", never, "is not taken: this service searches no web"),
    rule("moderation", never, "is not taken: this service runs no moderation"),
    rule("functions", is_empty, "is not taken; use tools"),
    rule("function_call", never, "is not taken; use tool_choice"),
    rule("prompt_cache_key", never, "is not taken: Claude finds cached prompts by their beginning"),
    rule("prompt_cache_options", never, "is not taken; /v1/messages has cache_control"),
    rule("prompt_cache_retention", never, "is not taken; /v1/messages has cache_control"),
];

const fn rule(name: &'static str, changes_nothing: fn(&Value) -> bool, takes: &'static str) -> Rule {
    Rule { name, changes_nothing, takes }
}

/// None of these parameters asks for anything.
pub(super) fn check(parameters: &Map<String, Value>) -> Result<(), Invalid> {
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_null()) {
        match RULES.iter().find(|rule| rule.name == name) {
            Some(rule) if (rule.changes_nothing)(value) => {}
            Some(rule) => return Err(Invalid::new(name, rule.takes)),
            None => return Err(Invalid::new(name, "is no parameter of Chat Completions; leave it out")),
        }
    }
    Ok(())
}

fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false)
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn is_default_tier(value: &Value) -> bool {
    value == "auto" || value == "default"
}

fn is_text_alone(value: &Value) -> bool {
    value.as_array().is_some_and(|modalities| modalities.len() == 1 && modalities[0] == "text")
}

fn never(_: &Value) -> bool {
    false
}

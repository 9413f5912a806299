//! What of a call a worker on a login is told apart from its other fields: its system prompt stands after the CLI's own identity, and
//! headers are no fields. What would not arrive as it is is refused.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{brief::invalid, grammar::IDENTITIES};
use crate::backend::{Asked, Reason};

/// A system prompt that begins so is no system prompt to the CLI; and one that is this is none, either.
const BILL: &str = "x-anthropic-billing-header";
const BOUNDARY: &str = "__SYSTEM_PROMPT_DYNAMIC_BOUNDARY__";

/// What a worker on a login is told apart from the other fields of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Apart {
    /// The system prompt; empty: none.
    pub system: String,
    /// The version of the API that the call is written for; `None`: the CLI's own.
    pub version: Option<String>,
    /// Betas of it.
    pub betas: Vec<String>,
}

impl Apart {
    /// Takes out of a call what a worker is told apart.
    pub(super) fn take(fields: &mut Map<String, Value>, asked: &Asked) -> Result<Self, Reason> {
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        for (header, is_plain) in [
            ("anthropic-version", asked.version.as_ref().is_none_or(is_name)),
            ("anthropic-beta", asked.betas.iter().all(is_name)),
        ] {
            if !is_plain {
                return Err(invalid(header, "takes letters, digits and hyphens"));
            }
        }
        let system = fields.shift_remove("system").unwrap_or_default();
        Ok(Self { system: one_text(system)?, version: asked.version.clone(), betas: asked.betas.clone() })
    }
}

/// A system prompt that the CLI takes along as it is.
fn one_text(system: Value) -> Result<String, Reason> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Block {
        #[serde(rename = "type")]
        kind: String,
        text: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum System {
        None(()),
        Text(String),
        Blocks(Vec<Block>),
    }
    let refused = |why: &str| Err(invalid("system", &format!("on a login of Claude Code it {why}")));
    let text = match serde_json::from_value(system) {
        Ok(System::None(())) => String::new(),
        Ok(System::Text(text)) => text,
        Ok(System::Blocks(mut blocks)) => match (blocks.pop(), blocks.len()) {
            (None, _) => String::new(),
            (Some(Block { kind, text }), 0) if kind == "text" && !text.is_empty() => text,
            _ => return refused("takes one text"),
        },
        Err(_) => return refused("takes one text, without cache_control"),
    };
    if text.starts_with(BILL) || text == BOUNDARY || IDENTITIES.contains(&text.as_str()) {
        return refused("cannot be what Claude Code says of itself");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_system_prompt_that_would_not_arrive_as_it_is_is_refused() {
        let text = |text: &str| json!({"type": "text", "text": text});
        for (system, taken) in [
            (Value::Null, ""),
            (json!(""), ""),
            (json!([]), ""),
            (json!(" \n"), " \n"),
            (json!([text("one")]), "one"),
            (
                json!(format!("{}\nx", IDENTITIES[0])),
                "You are a Claude agent, built on Anthropic's Claude Agent SDK.\nx",
            ),
        ] {
            assert_eq!(one_text(system).as_deref(), Ok(taken));
        }
        let cached = json!({"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}});
        for system in [
            json!([text("one"), text("two")]),
            json!([cached]),
            json!([text("")]),
            json!([{"type": "image", "text": "x"}]),
            json!(7),
            json!(format!("{BILL}: x")),
            json!(BOUNDARY),
            json!(IDENTITIES[1]),
        ] {
            assert!(matches!(one_text(system.clone()), Err(Reason::Invalid { .. })), "{system}");
        }
    }
}

//! What is known of the parts of a request: a list of what may be in one, with the most tokens that each can come to.
//!
//! Text, tools' definitions and inputs, and thinking that is sent back count as the bytes that they are written in. The figures
//! are the maxima of Anthropic's documentation as of November 2026 ("Vision", "PDF support", "Tool use"), over all models.

use serde::Deserialize;

use super::{
    Bound, CacheWrite, Unknown,
    part::{CacheControl, Content, ContextManagement, Part, Tool, Ttl, Turn},
};
use crate::backend::Asked;

/// What a chat template adds to a conversation: its own words, a default system prompt among them. Measured: 31 tokens for the
/// embedded model; Claude's documentation names single figures for plain text. What Claude Code says of itself on a login, before the
/// system prompt, is about 35.
const CONVERSATION_TOKENS: usize = 128;
/// What a chat template adds to a message or a block: less than the JSON round it, of which the bytes are counted.
pub(super) const PART_TOKENS: usize = 8;
/// The system prompt that comes with tools; documented are up to 804.
const TOOLS_TOKENS: usize = 1_024;
/// An image, scaled down to the largest size that a model looks at: 4,784 tokens at 2,576 pixels; 1,568 for most models.
pub(super) const IMAGE_TOKENS: usize = 4_800;
/// A page of a PDF: its text, up to 3,000 tokens, and its image.
pub(super) const PAGE_TOKENS: usize = 3_000 + IMAGE_TOKENS;
/// The most pages of a PDF.
pub(super) const PAGES_MAX: usize = 600;
/// What a tool of the API's own definition adds, beside what it is written in; documented are up to 735.
pub(super) const OWN_TOOL_TOKENS: usize = 1_024;

/// Fields of which the bytes count.
const COUNTED: [&str; 6] = ["messages", "system", "tools", "tool_choice", "output_config", "output_format"];
/// Fields that add nothing to the input.
const FREE: [&str; 11] = [
    "diagnostics",
    "model",
    "max_tokens",
    "stream",
    "metadata",
    "stop_sequences",
    "temperature",
    "top_k",
    "top_p",
    "thinking",
    "service_tier",
];
/// Betas that add nothing to the input beyond what is written in the request, by the beginning of their names.
const FREE_BETAS: [&str; 24] = [
    "adaptive-thinking-",
    "advanced-tool-use-",
    "cache-diagnosis-",
    "claude-code-",
    "context-1m-",
    "context-management-",
    "effort-",
    "extended-cache-ttl-",
    "fallback-credit-",
    "fine-grained-tool-streaming-",
    "interleaved-thinking-",
    "mid-conversation-tool-changes-",
    "oauth-",
    "output-128k-",
    "per-turn-control-",
    "prompt-caching-",
    "redact-thinking-",
    "structured-outputs-",
    "task-budgets-",
    "thinking-binding-controls-",
    "thinking-display-updates-",
    "thinking-token-count-",
    "token-efficient-tools-",
    "tool-provenance-",
];

/// The bound on the input of this request, without counting it.
pub(in crate::call) fn by_bytes(asked: &Asked) -> Bound {
    let mut found = Found::default();
    let mut bytes = 0;
    for (name, value) in asked.fields.iter() {
        if COUNTED.contains(&name) {
            bytes += value.get().len();
        }
        if let Err(unknown) = found.field(name, value.get()) {
            bytes = if COUNTED.contains(&name) { bytes } else { bytes + value.get().len() };
            found.unknown.get_or_insert(unknown);
        }
    }
    if let Some(beta) = asked.betas.iter().find(|beta| !FREE_BETAS.iter().any(|known| beta.starts_with(known))) {
        let what = format!("the beta {:?} is not known here", shown(beta));
        found.unknown.get_or_insert(Unknown { field: "anthropic-beta".to_owned(), what });
    }
    let tools = asked.fields.get("tools").map_or(0, |tools| tools.get().len());
    let referred_to = found.tool_references.saturating_mul(tools);
    let tokens =
        (bytes.saturating_sub(found.bytes_of_files) + found.tokens + CONVERSATION_TOKENS).saturating_add(referred_to);
    Bound { tokens: i64::try_from(tokens).unwrap_or(i64::MAX), cache: found.cache, unknown: found.unknown }
}

/// What was found in a request.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Beside those that are written as text.
    pub(super) tokens: usize,
    /// Of images and documents, which count by what they show.
    pub(super) bytes_of_files: usize,
    /// Each puts the definition of a tool into the conversation.
    pub(super) tool_references: usize,
    cache: CacheWrite,
    unknown: Option<Unknown>,
}

impl Found {
    fn field(&mut self, name: &str, json: &str) -> Result<(), Unknown> {
        match name {
            "messages" => self.parts(&read::<Vec<Turn>>(name, json)?),
            _ if json == "null" => {}
            "system" => self.parts(&read::<Content>(name, json)?),
            "tools" => {
                self.tokens += TOOLS_TOKENS;
                self.parts(&read::<Vec<Tool>>(name, json)?);
            }
            // What the servers say to the model of the form that they will hold it to is published nowhere.
            "output_config" | "output_format" => self.tokens += TOOLS_TOKENS,
            "context_management" => drop(read::<Option<ContextManagement>>(name, json)?),
            "cache_control" => self.cache(read::<Option<CacheControl>>(name, json)?.as_ref()),
            _ if COUNTED.contains(&name) || FREE.contains(&name) => {}
            _ => return Err(Unknown { field: shown(name), what: "is not known here".to_owned() }),
        }
        Ok(())
    }

    fn parts(&mut self, parts: &impl Part) {
        parts.add_to(self);
    }

    pub(super) fn cache(&mut self, control: Option<&CacheControl>) {
        let write = control.map_or(CacheWrite::None, |control| match control.ttl {
            Some(Ttl::Hour) => CacheWrite::Hour,
            _ => CacheWrite::FiveMinutes,
        });
        self.cache = self.cache.max(write);
    }
}

fn read<'a, T: Deserialize<'a>>(name: &str, json: &'a str) -> Result<T, Unknown> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let field = match path.strip_prefix('.').unwrap_or(&path) {
            "" => name.to_owned(),
            path if path.starts_with('[') => format!("{name}{path}"),
            path => format!("{name}.{path}"),
        };
        let problem = error.into_inner().to_string();
        let what = problem.split(" at line ").next().unwrap_or_default();
        Unknown { field: shown(&field), what: shown(what) }
    })
}

fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 400;
    let mut letters = text.chars().filter(|letter| !letter.is_control());
    let shown: String = letters.by_ref().take(SHOWN_MAX).collect();
    if letters.next().is_some() { shown + "…" } else { shown }
}

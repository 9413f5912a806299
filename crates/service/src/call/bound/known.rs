//! What is known of the parts of a request: a list of what may be in one, with the most tokens that each can come to.
//!
//! Text, tools' definitions and inputs, and thinking that is sent back count as the bytes that they are written in. The figures
//! are the maxima of Anthropic's documentation as of November 2026 ("Vision", "PDF support", "Tool use"), over all models.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::{Bound, CacheWrite, Unknown};
use crate::backend::Asked;

/// What a chat template adds to a conversation: its own words, a default system prompt among them. Measured: 31 tokens for the
/// embedded model; Claude's documentation names single figures for plain text.
const CONVERSATION_TOKENS: usize = 128;
/// What a chat template adds to a message or a block: less than the JSON round it, of which the bytes are counted.
const PART_TOKENS: usize = 8;
/// The system prompt that comes with tools; documented are up to 804.
const TOOLS_TOKENS: usize = 1_024;
/// An image, scaled down to the largest size that a model looks at: 4,784 tokens at 2,576 pixels; 1,568 for most models.
const IMAGE_TOKENS: usize = 4_800;
/// A page of a PDF: its text, up to 3,000 tokens, and its image.
const PAGE_TOKENS: usize = 3_000 + IMAGE_TOKENS;
/// The most pages of a PDF.
const PAGES_MAX: usize = 600;
/// What a tool of the API's own definition adds, beside what it is written in; documented are up to 735.
const OWN_TOOL_TOKENS: usize = 1_024;

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

pub(super) fn bound(asked: &Asked) -> Bound {
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
struct Found {
    /// Beside those that are written as text.
    tokens: usize,
    /// Of images and documents, which count by what they show.
    bytes_of_files: usize,
    /// Each puts the definition of a tool into the conversation.
    tool_references: usize,
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

    fn cache(&mut self, control: Option<&CacheControl>) {
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

/// A part of a request that may hold what does not count as text.
trait Part {
    fn add_to(&self, found: &mut Found);
}

impl<T: Part> Part for Vec<T> {
    fn add_to(&self, found: &mut Found) {
        for part in self {
            part.add_to(found);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    #[serde(rename = "role")]
    _role: IgnoredAny,
    content: Content,
    /// Of which the bytes count.
    #[serde(rename = "output_config")]
    _output_config: Ignored,
}

impl Part for Turn {
    fn add_to(&self, found: &mut Found) {
        found.tokens += PART_TOKENS;
        self.content.add_to(found);
    }
}

/// A text, or blocks.
struct Content(Vec<Block>);

impl Part for Content {
    fn add_to(&self, found: &mut Found) {
        self.0.add_to(found);
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of blocks")
            }

            fn visit_str<E>(self, _: &str) -> Result<Content, E> {
                Ok(Content(Vec::new()))
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, blocks: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(blocks)).map(Content)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

type Ignored = Option<IgnoredAny>;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Block {
    Text {
        #[serde(rename = "text")]
        _text: IgnoredAny,
        #[serde(rename = "citations")]
        _citations: Ignored,
        cache_control: Option<CacheControl>,
    },
    Image {
        source: Source,
        cache_control: Option<CacheControl>,
    },
    Document {
        source: Source,
        #[serde(rename = "title")]
        _title: Ignored,
        #[serde(rename = "context")]
        _context: Ignored,
        #[serde(rename = "citations")]
        _citations: Ignored,
        cache_control: Option<CacheControl>,
    },
    ToolUse {
        #[serde(rename = "id")]
        _id: IgnoredAny,
        #[serde(rename = "name")]
        _name: IgnoredAny,
        #[serde(rename = "input")]
        _input: IgnoredAny,
        #[serde(rename = "caller")]
        _caller: Ignored,
        cache_control: Option<CacheControl>,
    },
    ToolResult {
        #[serde(rename = "tool_use_id")]
        _id: IgnoredAny,
        content: Option<Content>,
        #[serde(rename = "is_error")]
        _is_error: Ignored,
        cache_control: Option<CacheControl>,
    },
    Thinking {
        #[serde(rename = "thinking")]
        _thinking: IgnoredAny,
        #[serde(rename = "signature")]
        _signature: Ignored,
    },
    ToolReference {
        #[serde(rename = "tool_name")]
        _tool_name: IgnoredAny,
        cache_control: Option<CacheControl>,
    },
    RedactedThinking {
        #[serde(rename = "data")]
        _data: IgnoredAny,
    },
}

impl Part for Block {
    fn add_to(&self, found: &mut Found) {
        found.tokens += PART_TOKENS;
        match self {
            Self::Text { cache_control, .. } | Self::ToolUse { cache_control, .. } => {
                found.cache(cache_control.as_ref());
            }
            Self::Image { source, cache_control } | Self::Document { source, cache_control, .. } => {
                source.add_to(found);
                found.cache(cache_control.as_ref());
            }
            Self::ToolResult { content, cache_control, .. } => {
                if let Some(content) = content {
                    content.add_to(found);
                }
                found.cache(cache_control.as_ref());
            }
            Self::ToolReference { cache_control, .. } => {
                found.tool_references += 1;
                found.cache(cache_control.as_ref());
            }
            Self::Thinking { .. } | Self::RedactedThinking { .. } => {}
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Source {
    Base64 {
        media_type: String,
        data: Length,
    },
    Text {
        #[serde(rename = "media_type")]
        _media_type: Ignored,
        #[serde(rename = "data")]
        _data: IgnoredAny,
    },
    Content {
        content: Content,
    },
}

impl Part for Source {
    fn add_to(&self, found: &mut Found) {
        match self {
            Self::Base64 { media_type, data } => {
                found.bytes_of_files += data.0;
                found.tokens += if media_type.starts_with("image/") { IMAGE_TOKENS } else { PAGES_MAX * PAGE_TOKENS };
            }
            Self::Text { .. } => {}
            Self::Content { content } => content.add_to(found),
        }
    }
}

/// A text of which only the length matters.
struct Length(usize);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Length, E> {
                Ok(Length(text.len()))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheControl {
    #[serde(rename = "type")]
    _kind: Ephemeral,
    ttl: Option<Ttl>,
    #[serde(rename = "scope")]
    _scope: Ignored,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ephemeral {
    Ephemeral,
}

#[derive(Deserialize)]
enum Ttl {
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    Hour,
}

/// Edits that leave parts of the conversation out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextManagement {
    #[serde(rename = "edits")]
    _edits: Option<Vec<Edit>>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Edit {
    #[serde(rename = "clear_thinking_20251015")]
    ClearThinking,
    #[serde(rename = "clear_tool_uses_20250919")]
    ClearToolUses,
}

/// A tool that the caller runs: its own, or one that the API defines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    #[serde(rename = "type")]
    kind: Option<ToolKind>,
    #[serde(rename = "name")]
    _name: IgnoredAny,
    #[serde(rename = "description")]
    _description: Ignored,
    #[serde(rename = "input_schema")]
    _input_schema: Ignored,
    #[serde(rename = "strict")]
    _strict: Ignored,
    #[serde(rename = "defer_loading")]
    _defer_loading: Ignored,
    #[serde(rename = "eager_input_streaming")]
    _eager: Ignored,
    #[serde(rename = "input_examples")]
    _examples: Ignored,
    #[serde(rename = "max_characters")]
    _max_characters: Ignored,
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize, PartialEq, Eq)]
enum ToolKind {
    #[serde(rename = "custom")]
    Custom,
    #[serde(rename = "bash_20250124")]
    Bash,
    #[serde(rename = "text_editor_20250124")]
    Editor1,
    #[serde(rename = "text_editor_20250429")]
    Editor2,
    #[serde(rename = "text_editor_20250728")]
    Editor3,
}

impl Part for Tool {
    fn add_to(&self, found: &mut Found) {
        let own = self.kind.as_ref().is_some_and(|kind| *kind != ToolKind::Custom);
        found.tokens += if own { OWN_TOOL_TOKENS } else { PART_TOKENS };
        found.cache(self.cache_control.as_ref());
    }
}

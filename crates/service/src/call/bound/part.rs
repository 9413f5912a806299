//! The parts of a request, as far as they are known: what is not named here does not read, and so cannot be bounded. Of most
//! only their being there is read, as the bytes of the whole count.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::known::{Found, IMAGE_TOKENS, OWN_TOOL_TOKENS, PAGE_TOKENS, PAGES_MAX, PART_TOKENS};

/// A part of a request that may hold what does not count as text.
pub(super) trait Part {
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
pub(super) struct Turn {
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
pub(super) struct Content(Vec<Block>);

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
pub(super) struct CacheControl {
    #[serde(rename = "type")]
    _kind: Ephemeral,
    pub(super) ttl: Option<Ttl>,
    #[serde(rename = "scope")]
    _scope: Ignored,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ephemeral {
    Ephemeral,
}

#[derive(Deserialize)]
pub(super) enum Ttl {
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    Hour,
}

/// Edits that leave parts of the conversation out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContextManagement {
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
pub(super) struct Tool {
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

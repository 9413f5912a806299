//! What the embedded model is asked, read from a request of the Messages API. It takes text; what it cannot honour is refused by
//! name, and nothing is left out silently.

use std::borrow::Cow;

use claude_code_api_wire::{Fields, Message, Role};
use serde::{Deserialize, de::IgnoredAny};

use crate::backend::{Asked, Reason};

/// What is looked for after every token.
const STOP_SEQUENCES_MAX: usize = 16;
const STOP_SEQUENCE_BYTES_MAX: usize = 256;

/// A conversation of texts, and how to go on with it.
pub(super) struct Conversation {
    pub(super) system: Option<String>,
    /// Never empty; the last is the user's.
    pub(super) messages: Vec<Message>,
    pub(super) sampling: Sampling,
}

/// How the next token is picked. `None`: the default.
#[derive(Clone, Debug, Default)]
pub(super) struct Sampling {
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) seed: Option<u32>,
    pub(super) stop_sequences: Vec<String>,
}

/// The fields that it takes. The model, the bound on the answer and the stream are the call's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    messages: Vec<Turn>,
    system: Option<Text>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    stop_sequences: Option<Vec<String>>,
    /// Says something about the caller, and asks for nothing.
    #[serde(rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    #[serde(rename = "model")]
    _model: Option<IgnoredAny>,
    #[serde(rename = "max_tokens")]
    _max_tokens: Option<IgnoredAny>,
    #[serde(rename = "stream")]
    _stream: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    role: Role,
    content: Text,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, or a list of text blocks: the embedded model takes nothing else")]
enum Text {
    Whole(String),
    Blocks(Vec<TextBlock>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum TextBlock {
    Text { text: String },
}

impl Text {
    fn joined(self) -> String {
        match self {
            Self::Whole(text) => text,
            Self::Blocks(blocks) => {
                blocks.into_iter().map(|TextBlock::Text { text }| text).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

pub(super) fn read(asked: &Asked) -> Result<Conversation, Reason> {
    if let Some(beta) = asked.betas.first() {
        return Err(invalid("anthropic-beta", &format!("the embedded model has no beta {:?}", shown(beta))));
    }
    let body = body(&asked.fields)?;
    let messages = body.messages.into_iter();
    let messages: Vec<Message> =
        messages.map(|turn| Message { role: turn.role, content: turn.content.joined() }).collect();
    if messages.last().is_none_or(|last| last.role != Role::User) {
        return Err(invalid("messages", "must end with a message of the user"));
    }
    let Body { temperature, top_p, .. } = body;
    within("temperature", temperature, |value| (0.0..=1.0).contains(&value), "0 to 1")?;
    within("top_p", top_p, |value| value > 0.0 && value <= 1.0, "a number above 0, at most 1")?;
    let stop_sequences = body.stop_sequences.unwrap_or_default();
    let fits = |text: &String| (1..=STOP_SEQUENCE_BYTES_MAX).contains(&text.len());
    if stop_sequences.len() > STOP_SEQUENCES_MAX || !stop_sequences.iter().all(fits) {
        let takes = format!("takes at most {STOP_SEQUENCES_MAX} texts of 1 to {STOP_SEQUENCE_BYTES_MAX} bytes");
        return Err(invalid("stop_sequences", &takes));
    }
    let sampling = Sampling { temperature, top_p, seed: asked.seed, stop_sequences };
    Ok(Conversation { system: body.system.map(Text::joined), messages, sampling })
}

fn body(fields: &Fields) -> Result<Body, Reason> {
    let json = serde_json::to_string(fields).expect("JSON serializes");
    let mut reader = serde_json::Deserializer::from_str(&json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let problem = error.into_inner().to_string();
        // The place in the text is that of our own copy.
        let problem = problem.split(" at line ").next().unwrap_or_default();
        let unknown = problem.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
        match unknown {
            Some((name, _)) if path == "." => {
                invalid(shown(name), "the embedded model does not take it; leave it out, or ask for Claude")
            }
            _ => invalid(path, &format!("{}; the embedded model takes text", shown(problem))),
        }
    })
}

fn within(name: &'static str, value: Option<f64>, is_in: impl Fn(f64) -> bool, takes: &str) -> Result<(), Reason> {
    match value {
        Some(value) if !is_in(value) => Err(invalid(name, &format!("takes {takes}; it was {value}"))),
        _ => Ok(()),
    }
}

fn invalid(field: impl Into<Cow<'static, str>>, problem: &str) -> Reason {
    let field = field.into();
    Reason::Invalid { message: format!("{field}: {problem}"), field }
}

fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(160).collect()
}

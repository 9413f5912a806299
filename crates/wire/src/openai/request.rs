//! A body of `POST /v1/chat/completions` becomes the fields of a Messages request.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Invalid, field::Field, messages, options, refused, tools};

/// The parameters of Chat Completions that are honoured, and this service's own two. Every other one is refused, unless it
/// says what is the case anyway, such as `"n": 1`. `null` is the same as absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatRequest {
    /// The conversation. The last message is of the role `user` or `tool`.
    messages: Option<Value>,
    /// `auto` (the default), `haiku`, `sonnet`, `opus`, or a concrete model id.
    model: Option<Value>,
    /// The most tokens to generate; the older name of `max_completion_tokens`.
    max_tokens: Option<Value>,
    /// The most tokens to generate.
    max_completion_tokens: Option<Value>,
    /// Answer as server-sent events.
    stream: Option<Value>,
    /// `include_usage`: end the stream with a chunk that has the usage. Only with `stream`.
    stream_options: Option<Value>,
    /// Randomness, 0 to 1.
    temperature: Option<Value>,
    /// Nucleus sampling, above 0, at most 1.
    top_p: Option<Value>,
    /// A text at which generation ends, or at most 16 of them.
    stop: Option<Value>,
    /// Seed of the sampler; the embedded model only.
    seed: Option<Value>,
    /// Functions that the model may call.
    tools: Option<Value>,
    /// `auto`, `none`, `required`, or a function by name.
    tool_choice: Option<Value>,
    /// Whether an answer may hold several calls of tools. Default: true.
    parallel_tool_calls: Option<Value>,
    /// `text`, or `json_schema` for an answer that follows a schema.
    response_format: Option<Value>,
    /// `none`, `low`, `medium`, `high`, `xhigh` or `max`.
    reasoning_effort: Option<Value>,
    /// An opaque id of the end user.
    user: Option<Value>,
    /// The same, by its newer name.
    safety_identifier: Option<Value>,
    /// The project that pays. Absent or `default`: the caller's own.
    project_id: Option<Value>,
    /// The deadline of the whole call on the server, in seconds.
    timeout: Option<Value>,
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    other: Map<String, Value>,
}

/// A request of the OpenAI dialect in the inner language.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The model asked for.
    pub model: Option<String>,
    /// The most tokens to generate; at least 1.
    pub max_tokens: Option<u32>,
    /// Answer as a stream of chunks.
    pub stream: bool,
    /// End the stream with a chunk that has the usage.
    pub include_usage: bool,
    /// The project that pays.
    pub project_id: Option<String>,
    /// The deadline in seconds, as it was sent: its range is for the service to check.
    pub timeout: Option<f64>,
    /// Seed of the sampler. Claude takes none: it is not in `body`, and who sends the call there refuses it.
    pub seed: Option<u32>,
    /// The fields of a Messages request, but for `model`, `max_tokens` and `stream`.
    pub body: Map<String, Value>,
}

/// Reads a body of `POST /v1/chat/completions`.
///
/// # Errors
/// The first place that is wrong, or that asks for what Claude does not do.
pub fn decode(body: Map<String, Value>) -> Result<Decoded, Invalid> {
    let mut request: ChatRequest =
        serde_json::from_value(Value::Object(body)).map_err(|error| Invalid::new("body", error))?;
    refused::check(&request.other)?;
    let (stream, include_usage) = options::stream(request.stream.take(), request.stream_options.take())?;
    Ok(Decoded {
        model: text("model", request.model.take())?,
        max_tokens: options::max_tokens(request.max_tokens.take(), request.max_completion_tokens.take())?,
        stream,
        include_usage,
        project_id: text("project_id", request.project_id.take())?,
        timeout: field("timeout", request.timeout.take()).as_ref().map(options::seconds).transpose()?,
        seed: field("seed", request.seed.take()).as_ref().map(options::seed).transpose()?,
        body: fields(request)?,
    })
}

fn fields(request: ChatRequest) -> Result<Map<String, Value>, Invalid> {
    let conversation = messages::read(need_messages(request.messages)?)?;
    let tools = tools::read(request.tools, request.tool_choice, request.parallel_tool_calls)?;
    let effort = field("reasoning_effort", request.reasoning_effort).map(options::effort).transpose()?;
    let (thinking, effort) = effort.unwrap_or_default();
    let temperature = field("temperature", request.temperature).map(options::temperature).transpose()?;
    let top_p = field("top_p", request.top_p).map(options::top_p).transpose()?;
    let format = field("response_format", request.response_format).map(options::format).transpose()?.flatten();
    Ok(present([
        ("messages", Some(Value::Array(conversation.messages))),
        ("system", conversation.system.map(Value::from)),
        ("tools", tools.tools),
        ("tool_choice", tools.choice),
        // Newer models take one of the two only, and 1 is what changes nothing.
        ("top_p", top_p.filter(|top_p| temperature.is_none() || top_p.as_f64() != Some(1.0))),
        ("temperature", temperature),
        ("stop_sequences", field("stop", request.stop).map(options::stop).transpose()?.flatten()),
        ("thinking", thinking),
        ("output_config", object([("effort", effort), ("format", format)])),
        ("metadata", object([("user_id", options::user(request.user, request.safety_identifier)?)])),
    ]))
}

fn need_messages(messages: Option<Value>) -> Result<Field, Invalid> {
    field("messages", messages).ok_or_else(|| Invalid::new("messages", "missing; takes the list of messages"))
}

fn text(name: &str, value: Option<Value>) -> Result<Option<String>, Invalid> {
    field(name, value).map(|field| field.text("takes a text")).transpose()
}

/// A parameter at the body's root.
pub(super) fn field(name: &str, value: Option<Value>) -> Option<Field> {
    value.map(|value| Field { path: name.to_owned(), value })
}

/// The fields that are there.
fn present<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The object of the fields that are there, if any is.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Option<Value> {
    let fields = present(fields);
    (!fields.is_empty()).then_some(Value::Object(fields))
}

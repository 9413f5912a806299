//! What the Messages API answers, as events; and every way in which it does not, with what that has cost.
//!
//! A connection that failed and an error status cost nothing. A request that was sent and has no readable answer may have
//! cost anything.

use std::time::{Duration, SystemTime};

use claude_code_api_wire::StopReason;
use reqwest::{Response, header::RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    backend::{Event, Events, Failure, Reason, Spend},
    usage::Usage,
};

const ANSWER_BYTES_MAX: usize = 64 << 20;
const ERROR_BYTES_MAX: usize = 1 << 20;
/// The most of upstream's own words that are passed on, in characters.
const SHOWN_MAX: usize = 160;
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Answer {
    model: String,
    #[serde(default)]
    content: Vec<Block>,
    stop_reason: Option<String>,
    usage: Counted,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counted {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<Lifetimes>,
    service_tier: Option<String>,
    inference_geo: Option<String>,
    server_tool_use: Option<serde_json::Map<String, Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lifetimes {
    ephemeral_1h_input_tokens: u64,
}

impl Counted {
    fn usage(&self) -> Usage {
        let written = self.cache_creation_input_tokens.unwrap_or(0);
        let an_hour = self.cache_creation.as_ref().map_or(0, |of| of.ephemeral_1h_input_tokens).min(written);
        let read = self.cache_read_input_tokens.unwrap_or(0);
        Usage {
            input_tokens: self.input_tokens.saturating_add(written).saturating_add(read),
            output_tokens: self.output_tokens,
            cache_write_5m_tokens: written - an_hour,
            cache_write_1h_tokens: an_hour,
            cache_read_tokens: read,
        }
    }

    /// Whether it names what changes the price and what no table of prices covers.
    fn is_unpriced(&self) -> bool {
        let is_other =
            |value: &Option<String>, usual: &[&str]| value.as_deref().is_some_and(|value| !usual.contains(&value));
        let tools = self.server_tool_use.iter().flat_map(|tools| tools.values());
        is_other(&self.service_tier, &["standard"])
            || is_other(&self.inference_geo, &["global", "not_available"])
            || tools.into_iter().any(|count| count.as_u64() != Some(0))
    }
}

/// By how much a count may be below the input: it is documented as an estimate.
const COUNT_MARGIN_TOKENS_MIN: u64 = 64;
const COUNT_MARGIN_PERCENT: u64 = 2;

/// The most tokens that an input can be that was counted.
pub(super) async fn counted(response: Response) -> Option<u64> {
    #[derive(Deserialize)]
    struct Count {
        input_tokens: u64,
    }
    let response = response.error_for_status().ok()?;
    let Count { input_tokens } = serde_json::from_slice(&bounded(response, ERROR_BYTES_MAX).await?).ok()?;
    let margin = input_tokens.saturating_mul(COUNT_MARGIN_PERCENT).div_ceil(100).max(COUNT_MARGIN_TOKENS_MIN);
    Some(input_tokens.saturating_add(margin))
}

/// The request did not get through, or nothing came back.
pub(super) fn unsent(error: &reqwest::Error) -> Failure {
    let (spend, what) = if error.is_connect() {
        (Spend::Unspent, "cannot be reached")
    } else {
        (Spend::Unknown, "took the request, and the connection broke before its answer")
    };
    broken(spend, true, what.to_owned())
}

fn broken(spend: Spend, retryable: bool, message: String) -> Failure {
    Failure { spend, reason: Reason::Broken { message: message.into(), retryable } }
}

pub(super) async fn events(response: Response) -> Result<Events, Failure> {
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let unknown = |what: &str| broken(Spend::Unknown, true, what.to_owned());
    let bytes = bounded(response, ANSWER_BYTES_MAX).await;
    let bytes = bytes.ok_or_else(|| unknown("began an answer that broke off, or that is too large"))?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| unknown("sent an answer that is none"))?;
    Ok(Box::pin(futures_util::stream::iter(said(answer).into_iter().map(Ok))))
}

fn said(answer: Answer) -> Vec<Event> {
    let usage = answer.usage.usage();
    let texts = answer.content.into_iter().filter(|block| block.kind == "text").filter_map(|block| block.text);
    let text: String = texts.collect();
    let start = Event::Start { model_id: answer.model, input_tokens: usage.input_tokens };
    let text = (!text.is_empty()).then_some(Event::Text { text, output_tokens: usage.output_tokens });
    let stop_reason = stop_reason(answer.stop_reason.as_deref());
    let end = Event::End { stop_reason, usage, unpriced: answer.usage.is_unpriced() };
    [Some(start), text, Some(end)].into_iter().flatten().collect()
}

fn stop_reason(word: Option<&str>) -> StopReason {
    match word {
        Some("end_turn") => StopReason::EndTurn,
        Some("max_tokens") => StopReason::MaxTokens,
        Some("stop_sequence") => StopReason::StopSequence,
        Some("model_context_window_exceeded") => StopReason::ModelContextWindowExceeded,
        _ => StopReason::Unknown,
    }
}

/// An error status: nothing was spent.
async fn refusal(response: Response) -> Failure {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| wait(value.to_str().ok()?));
    if matches!(status, 429 | 503 | 529) {
        let retry_after = retry_after.unwrap_or(RETRY_AFTER_DEFAULT);
        return Failure { spend: Spend::Unspent, reason: Reason::Overloaded { retry_after } };
    }
    let body = bounded(response, ERROR_BYTES_MAX).await.unwrap_or_default();
    let said = serde_json::from_slice::<Value>(&body).ok();
    let said = said.as_ref().and_then(|body| body.pointer("/error/message")?.as_str()).unwrap_or("no reason");
    let said: String = said.chars().filter(|letter| !letter.is_control()).take(SHOWN_MAX).collect();
    broken(Spend::Unspent, status == 408 || status >= 500, format!("refused with HTTP {status}: {said}"))
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

async fn bounded(mut response: Response, bytes_max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if bytes.len() + chunk.len() > bytes_max {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Some(bytes)
}

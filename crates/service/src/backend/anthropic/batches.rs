//! Message Batches. Any key that is configured may see a batch, or only some of them may: whoever asks for one asks with each.

use std::{collections::BTreeMap, time::Duration};

use claude_code_api_wire::{
    StopReason,
    anthropic::{self, Block},
};
use futures_core::future::BoxFuture;
use reqwest::{Method, RequestBuilder, Response, header::CONTENT_TYPE};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{API_VERSION, Anthropic, Unaccepted, keys::Key, none_ready, request, response};
use crate::{
    backend::{
        Failure, Reason, Spend,
        economy::{BatchPrompt, Economy, Listed, Message, Reported, Reports, Unsubmitted},
        said,
    },
    price::Terms,
    window::Moment,
};

/// How long submitting may take: a batch may be of many megabytes.
const SUBMIT_TIMEOUT: Duration = Duration::from_mins(5);
const ASK_TIMEOUT: Duration = Duration::from_mins(1);

/// The most batches on a page of the list, as the API has it.
const PAGE: u32 = 1_000;

/// The most bytes of what is told of batches, but for results.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// The most bytes of one result.
const LINE_BYTES_MAX: usize = 64 << 20;

#[derive(Deserialize)]
struct Batch {
    id: String,
    processing_status: String,
    created_at: String,
    request_counts: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Batch>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Line {
    custom_id: String,
    result: Ended,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Ended {
    Succeeded { message: Box<Answered> },
    Errored { error: Wrapped },
    Canceled,
    Expired,
}

#[derive(Deserialize)]
struct Wrapped {
    error: Named,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Answered {
    model: String,
    content: Vec<Block>,
    stop_reason: String,
    usage: anthropic::Usage,
}

impl Economy for Anthropic {
    fn submit(&self, prompts: &[BatchPrompt]) -> BoxFuture<'_, Result<String, Unsubmitted>> {
        let body = body(prompts);
        Box::pin(async move {
            let body = body.map_err(Unsubmitted::Refused)?;
            let none_ready = |none| Unsubmitted::Refused(none_ready(none).reason);
            let key = self.keys.pick(None, Instant::now()).map_err(none_ready)?;
            let request = self.to_batches(Method::POST, &[], None, key).timeout(SUBMIT_TIMEOUT);
            let request = request.header(CONTENT_TYPE, "application/json").body(body);
            let taken = self.accepted_besides(key, request).await.map_err(unsubmitted)?;
            // Taken it is, whatever is said of it.
            let batch: Batch = read(taken).await.map_err(|failure| Unsubmitted::Unknown(failure.reason))?;
            Ok(batch.id)
        })
    }

    fn made_since(&self, since: Moment) -> BoxFuture<'_, Result<Vec<Listed>, Failure>> {
        Box::pin(async move {
            let mut found = None;
            for key in self.keys.all() {
                let Some(listed) = self.made_since_with(key, since).await? else { continue };
                let found: &mut BTreeMap<_, _> = found.get_or_insert_default();
                found.extend(listed.into_iter().map(|batch| (batch.id.clone(), batch)));
            }
            let found = found.ok_or_else(|| broken("lets no key that is configured here see its batches"))?;
            let mut found: Vec<Listed> = found.into_values().collect();
            found.sort_by_key(|batch| batch.created_at);
            Ok(found)
        })
    }

    fn has_ended<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move {
            let batch: Batch = read(self.asked(Method::GET, &[id], ASK_TIMEOUT).await?).await?;
            Ok(batch.processing_status == "ended")
        })
    }

    fn reports<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Reports, Failure>> {
        Box::pin(async move { Ok(reports(self.asked(Method::GET, &[id, "results"], SUBMIT_TIMEOUT).await?)) })
    }

    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move { self.asked(Method::POST, &[id, "cancel"], ASK_TIMEOUT).await.map(drop) })
    }
}

impl Anthropic {
    fn to_batches(&self, method: Method, path: &[&str], query: Option<&str>, key: &Key) -> RequestBuilder {
        let mut url = self.messages.clone();
        url.set_query(query);
        // An id is upstream's word: it is one piece of the path, whatever is in it.
        url.path_segments_mut().expect("an http URL has a path").push("batches").extend(path);
        let request = key.shown(self.http.request(method, url));
        request.header("anthropic-version", API_VERSION)
    }

    /// Asks with one key after the other until one may know of it.
    async fn asked(&self, method: Method, path: &[&str], timeout: Duration) -> Result<Response, Failure> {
        let mut last = None;
        for key in self.keys.all() {
            match self.to_batches(method.clone(), path, None, key).timeout(timeout).send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let is_unknown_to_it = matches!(response.status().as_u16(), 401 | 403 | 404);
                    let failure = response::refusal(response).await;
                    if !is_unknown_to_it {
                        return Err(failure);
                    }
                    last = Some(failure);
                }
                Err(error) => return Err(response::unsent(&error)),
            }
        }
        Err(last.expect("there is a key"))
    }

    /// `None`: the key is denied.
    async fn made_since_with(&self, key: &Key, since: Moment) -> Result<Option<Vec<Listed>>, Failure> {
        let mut found: Vec<Listed> = Vec::new();
        loop {
            let Some(page) = self.page(key, found.last().map(|last| last.id.as_str())).await? else { return Ok(None) };
            let is_last = !page.has_more || page.data.is_empty();
            found.extend(page.data.iter().map(listed));
            // The newest come first.
            if is_last || found.last().is_some_and(|oldest| oldest.created_at < since) {
                found.retain(|batch| batch.created_at >= since);
                return Ok(Some(found));
            }
        }
    }

    /// `None`: the key is denied.
    async fn page(&self, key: &Key, after: Option<&str>) -> Result<Option<Page>, Failure> {
        let after: String = after.map(|id| format!("&after_id={id}")).unwrap_or_default();
        let query = format!("limit={PAGE}{after}");
        match self.to_batches(Method::GET, &[], Some(&query), key).timeout(ASK_TIMEOUT).send().await {
            Ok(response) if response.status().is_success() => read(response).await.map(Some),
            Ok(response) if matches!(response.status().as_u16(), 401 | 403) => Ok(None),
            Ok(response) => Err(response::refusal(response).await),
            Err(error) => Err(response::unsent(&error)),
        }
    }
}

/// Where the connection did not come about nothing was sent; an error status may be that of a proxy which has lost the answer.
fn unsubmitted(Unaccepted { failure: Failure { spend, reason }, status }: Unaccepted) -> Unsubmitted {
    match (spend, &reason) {
        (Spend::Unspent, Reason::Broken { retryable: true, .. }) if status.is_some() => Unsubmitted::Doubtful(reason),
        (Spend::Unspent, _) => Unsubmitted::Refused(reason),
        _ => Unsubmitted::Unknown(reason),
    }
}

fn listed(batch: &Batch) -> Listed {
    let created_at = Moment::parse(&batch.created_at).unwrap_or_else(Moment::of_system);
    Listed { id: batch.id.clone(), created_at, total: batch.request_counts.values().sum() }
}

/// A body of the API, which is JSON.
async fn read<T: DeserializeOwned>(response: Response) -> Result<T, Failure> {
    let body = response::bounded(response, ANSWER_BYTES_MAX).await;
    let read = body.and_then(|body| serde_json::from_slice(&body).ok());
    read.ok_or_else(|| broken("said of batches what cannot be read"))
}

fn broken(what: &str) -> Failure {
    response::broken(Spend::Unspent, true, what.to_owned())
}

/// As it is submitted.
fn body(prompts: &[BatchPrompt]) -> Result<Vec<u8>, Reason> {
    let mut body = b"{\"requests\":[".to_vec();
    for (at, BatchPrompt { name, model_id, prompt }) in prompts.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        let name = serde_json::to_string(name).expect("text serializes");
        body.extend_from_slice(format!("{{\"custom_id\":{name},\"params\":").as_bytes());
        body.extend(request::of_batch(model_id, prompt)?);
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    Ok(body)
}

/// Lines of results, as they come.
fn reports(response: Response) -> Reports {
    let lines = Lines { response, buffer: Vec::new(), is_over: false };
    Box::pin(futures_util::stream::try_unfold(lines, |mut lines| async {
        let line = lines.next().await?;
        line.map(|line| Ok((reported(&line)?, lines))).transpose()
    }))
}

struct Lines {
    response: Response,
    buffer: Vec<u8>,
    is_over: bool,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(searched + at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                if line.iter().all(u8::is_ascii_whitespace) {
                    searched = 0;
                    continue;
                }
                return Ok(Some(line));
            }
            if self.is_over {
                let last = std::mem::take(&mut self.buffer);
                return Ok(Some(last).filter(|last| !last.iter().all(u8::is_ascii_whitespace)));
            }
            searched = self.buffer.len();
            match self.response.chunk().await {
                Ok(Some(bytes)) if searched + bytes.len() <= LINE_BYTES_MAX => self.buffer.extend_from_slice(&bytes),
                Ok(Some(_)) => return Err(broken("sent a result that is too large")),
                Ok(None) => self.is_over = true,
                Err(_) => return Err(broken("broke off in the middle of the results of a batch")),
            }
        }
    }
}

fn reported(line: &[u8]) -> Result<(String, Reported), Failure> {
    let line: Line = serde_json::from_slice(line).map_err(|_| broken("sent a result that cannot be read"))?;
    let reported = match line.result {
        Ended::Succeeded { message } => Reported::Succeeded((*message).into()),
        Ended::Errored { error: Wrapped { error } } => Reported::Errored(error.reason()),
        Ended::Canceled => Reported::Canceled,
        Ended::Expired => Reported::Expired,
    };
    Ok((line.custom_id, reported))
}

impl Named {
    /// Why a prompt has no answer.
    fn reason(&self) -> Reason {
        let message = response::shown(&self.message);
        let refused = |status, message| Reason::Refused { status, message };
        match self.kind.as_str() {
            "invalid_request_error" => refused(400, message),
            "not_found_error" => refused(404, message),
            "request_too_large" => refused(413, message),
            kind => {
                let kind = response::shown(kind);
                let retryable =
                    matches!(&*kind, "api_error" | "overloaded_error" | "rate_limit_error" | "timeout_error");
                Reason::Broken { message: format!("failed at this prompt with {kind}: {message}").into(), retryable }
            }
        }
    }
}

impl From<Answered> for Message {
    fn from(answered: Answered) -> Self {
        let text = answered.content.into_iter().filter_map(|block| match block {
            Block::Text { text } => Some(text),
            _ => None,
        });
        Self {
            model_id: answered.model,
            text: text.collect(),
            stop_reason: StopReason::parse(&answered.stop_reason),
            usage: said::usage(&answered.usage),
            // It is one, whether or not its usage says so.
            terms: Terms { batch: true, ..said::terms(&answered.usage) },
        }
    }
}

//! Backend `anthropic`: Claude over the Messages API. It always asks for a stream, and passes it on event by event, as it comes.
//!
//! It never tries again: it only knows which of its keys may be asked next. What is tried again, the call decides.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use claude_code_api_wire::{ServiceHealth, ServiceStatus};
use futures_core::future::BoxFuture;
use http::Request;
use reqwest::{RequestBuilder, Response, Url, header::CONTENT_TYPE};
use tokio::time::Instant;

use super::{Answering, Asked, Backend, Capacity, Cost, Failure, Offer, Prompt, Reason, Sent, Spend, economy::Economy};
use crate::{
    config,
    model::{ModelChoice, Tier},
    tls,
};
use keys::{Key, Keys, NoneReady, Outcome, Why};

mod batches;
mod keys;
mod request;
mod response;
mod stream;

/// The version of the API that a request is written for that names none.
const API_VERSION: &str = "2023-06-01";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long counting may take: it decides only how well an input is bounded.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// By how much a count may be below the input: it is documented as an estimate.
const COUNT_MARGIN_TOKENS_MIN: u64 = 64;
const COUNT_MARGIN_PERCENT: u64 = 2;

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The Messages API.
pub struct Anthropic {
    http: reqwest::Client,
    messages: Url,
    count_tokens: Url,
    keys: Keys,
    settings: config::Anthropic,
}

impl Anthropic {
    /// Does not call out: a wrong key shows at the first call.
    ///
    /// # Errors
    /// No key, a base URL that is none, or a system without certificates, in words.
    pub fn new(settings: &config::Anthropic) -> Result<Self, String> {
        if settings.api_keys.is_empty() {
            return Err(
                "backend anthropic needs a key; set ANTHROPIC_API_KEY, or anthropic_api_key in the configuration file"
                    .to_owned(),
            );
        }
        Self::with(settings, Keys::new(settings.api_keys.clone()))
    }

    /// The API for requests that bring a login of their own: none of the service's keys is used.
    ///
    /// # Errors
    /// As of [`Anthropic::new`].
    pub fn on_login(settings: &config::Anthropic) -> Result<Self, String> {
        Self::with(&config::Anthropic { api_keys: Vec::new(), ..settings.clone() }, Keys::of_a_login())
    }

    fn with(settings: &config::Anthropic, keys: Keys) -> Result<Self, String> {
        let base = settings.base_url.trim_end_matches('/');
        let messages = format!("{base}/v1/messages");
        let messages = Url::parse(&messages).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let messages = messages
            .ok_or_else(|| format!("anthropic_base_url takes an http or https URL; it was {:?}", settings.base_url))?;
        let http = http_client(&messages).map_err(|error| format!("backend anthropic cannot be used: {error}"))?;
        let count_tokens = Url::parse(&format!("{messages}/count_tokens")).expect("a URL with a longer path");
        Ok(Self { http, messages, count_tokens, keys, settings: settings.clone() })
    }

    fn model_of(&self, tier: Tier) -> &str {
        match tier {
            Tier::Haiku => &self.settings.model_haiku,
            Tier::Sonnet => &self.settings.model_sonnet,
            Tier::Opus => &self.settings.model_opus,
        }
    }

    async fn answer(&self, model_id: &str, prompt: Prompt) -> Result<Answering, Failure> {
        let body = request::body(model_id, &prompt).map_err(|reason| Failure { spend: Spend::Unspent, reason })?;
        let key = self.keys.pick(Some(model_id), Instant::now()).map_err(none_ready)?;
        let request = self.post(&self.messages, key, &prompt.request, body);
        self.begun((key, model_id), request, &prompt.sent).await
    }

    /// Sends a request for an answer as it is, but for where it goes.
    pub(super) async fn forward(&self, model_id: &str, own: Request<Bytes>, sent: &Sent) -> Result<Answering, Failure> {
        let key = self.keys.pick(Some(model_id), Instant::now()).map_err(none_ready)?;
        let mut url = self.messages.clone();
        url.set_query(own.uri().query());
        let (head, body) = own.into_parts();
        self.begun((key, model_id), self.http.post(url).headers(head.headers).body(body), sent).await
    }

    async fn begun(&self, by: (&Key, &str), request: RequestBuilder, sent: &Sent) -> Result<Answering, Failure> {
        if !sent.mark() {
            return Err(response::broken(Spend::Unspent, false, "was given up before it was asked".to_owned()));
        }
        let response = self.accepted(by, request).await?;
        response::is_stream(&response)?;
        let headers = response::passed_on(&response);
        Ok(Answering { headers, events: stream::events(response) })
    }

    async fn counted(&self, model_id: &str, asked: &Asked) -> Result<u64, Failure> {
        let key = self.keys.pick(None, Instant::now()).map_err(none_ready)?;
        let request = self.post(&self.count_tokens, key, asked, request::to_count(model_id, asked));
        response::counted(self.accepted_besides(key, request.timeout(COUNT_TIMEOUT)).await?).await
    }

    /// Sends a message; what becomes of it is known to the key that it was sent with.
    async fn accepted(&self, (key, model): (&Key, &str), request: RequestBuilder) -> Result<Response, Unaccepted> {
        let sent = sent(request).await;
        let outcome =
            sent.as_ref().map_or_else(|refused| response::outcome(&refused.failure, refused.status), |_| Outcome::Good);
        key.report(model, &outcome, Instant::now());
        sent.map_err(|unaccepted| self.another_key_may(outcome, unaccepted))
    }

    /// Sends what is no message. The upstream has limits of its own for that, which say nothing of messages.
    async fn accepted_besides(&self, key: &Key, request: RequestBuilder) -> Result<Response, Unaccepted> {
        sent(request).await.map_err(|unaccepted| {
            let outcome = response::outcome(&unaccepted.failure, unaccepted.status);
            if matches!(outcome, Outcome::Denied) {
                key.denied(Instant::now());
            }
            self.another_key_may(outcome, unaccepted)
        })
    }

    /// What one key is denied, another may be granted.
    fn another_key_may(&self, outcome: Outcome, mut unaccepted: Unaccepted) -> Unaccepted {
        if let (Outcome::Denied, Reason::Broken { retryable, .. }) = (outcome, &mut unaccepted.failure.reason) {
            *retryable = self.keys.ready_in(None, Instant::now()).is_zero();
        }
        unaccepted
    }

    fn post(&self, url: &Url, key: &Key, asked: &Asked, body: Vec<u8>) -> RequestBuilder {
        let mut request = key.shown(self.http.post(url.clone()));
        if !asked.betas.is_empty() {
            request = request.header("anthropic-beta", asked.betas.join(","));
        }
        let version = asked.version.as_deref().unwrap_or(API_VERSION);
        request.header("anthropic-version", version).header(CONTENT_TYPE, "application/json").body(body)
    }
}

async fn sent(request: RequestBuilder) -> Result<Response, Unaccepted> {
    match request.send().await {
        Ok(response) if response.status().is_success() => Ok(response),
        Ok(response) => {
            let status = Some(response.status().as_u16());
            Err(Unaccepted { failure: response::refusal(response).await, status })
        }
        Err(error) => Err(Unaccepted { failure: response::unsent(&error), status: None }),
    }
}

/// Why a request was not accepted.
struct Unaccepted {
    failure: Failure,
    /// `None`: there was no answer.
    status: Option<u16>,
}

impl From<Unaccepted> for Failure {
    fn from(unaccepted: Unaccepted) -> Self {
        unaccepted.failure
    }
}

/// What a call is told that no key may be asked for.
fn none_ready(NoneReady { wait, why }: NoneReady) -> Failure {
    let reason = match why {
        Why::Limited => Reason::RateLimited { retry_after: wait, headers: Box::default() },
        Why::Overloaded | Why::Failing => Reason::Overloaded { retry_after: wait },
        Why::Denied => Reason::Broken {
            message: "refuses every key that is configured here, or the login (HTTP 401, 402 or 403); whoever runs this service has \
                      to see to it"
                .into(),
            retryable: false,
        },
    };
    Failure { spend: Spend::Unspent, reason }
}

fn http_client(url: &Url) -> Result<reqwest::Client, String> {
    let tls = tls::config().map_err(|error| error.to_string())?;
    let builder = reqwest::Client::builder()
        .user_agent(concat!("claude-code-api/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        // A redirect would send the key to somewhere else; what is tried again, the call decides.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .tcp_nodelay(true)
        // Well below what servers wait: a request on a connection that was just closed may have cost anything.
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tls_backend_preconfigured(tls);
    let loopback = url.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    let builder = if loopback { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| error.to_string())
}

impl Backend for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn offer(&self, choice: &ModelChoice) -> Option<Offer> {
        let tiers = [Tier::Haiku, Tier::Sonnet, Tier::Opus];
        let (model_id, tier) = match choice {
            ModelChoice::Auto => (self.model_of(Tier::Sonnet), Some(Tier::Sonnet)),
            ModelChoice::Tier(tier) => (self.model_of(*tier), Some(*tier)),
            ModelChoice::Id(id) if id.starts_with("claude-") => {
                (id.as_str(), tiers.into_iter().find(|tier| self.model_of(*tier) == id))
            }
            ModelChoice::Id(_) => return None,
        };
        let max_tokens_default = self.settings.max_tokens_default;
        Some(Offer { model_id: model_id.to_owned(), tier, max_tokens_default, is_embedded: false, cost: Cost::Price })
    }

    fn names(&self) -> Vec<String> {
        ["haiku", "sonnet", "opus", "or the id of a Claude model"].map(str::to_owned).to_vec()
    }

    fn ids(&self) -> Vec<String> {
        [Tier::Haiku, Tier::Sonnet, Tier::Opus].map(|tier| self.model_of(tier).to_owned()).to_vec()
    }

    fn capacity(&self) -> Capacity {
        Capacity { calls_max: self.settings.concurrency_max, waiting_max: self.settings.queue_max }
    }

    fn health(&self) -> ServiceHealth {
        let host = self.messages.host_str().unwrap_or_default();
        let (keys, resting) = (self.keys.count(), self.keys.resting(Instant::now()));
        let status = if resting < keys { ServiceStatus::Ok } else { ServiceStatus::Down };
        let of_keys = match (keys, self.settings.api_keys.is_empty()) {
            (_, true) => "the operator's own login".to_owned(),
            (1, _) => "one key".to_owned(),
            _ => format!("{keys} keys"),
        };
        ServiceHealth {
            status,
            detail: Some(format!("calls go to {host}, with {of_keys}; {resting} may not be asked now")),
        }
    }

    fn count(&self, model_id: &str, request: Arc<Asked>) -> BoxFuture<'_, Result<u64, Failure>> {
        let model_id = model_id.to_owned();
        Box::pin(async move { self.counted(&model_id, &request).await })
    }

    fn count_margin(&self, counted: u64) -> u64 {
        counted.saturating_mul(COUNT_MARGIN_PERCENT).div_ceil(100).max(COUNT_MARGIN_TOKENS_MIN)
    }

    fn call(&self, model_id: &str, prompt: Prompt) -> BoxFuture<'_, Result<Answering, Failure>> {
        let model_id = model_id.to_owned();
        Box::pin(async move { self.answer(&model_id, prompt).await })
    }

    fn economy(&self) -> Option<&dyn Economy> {
        Some(self)
    }

    fn ready_in(&self, model_id: &str) -> Duration {
        self.keys.ready_in(Some(model_id), Instant::now())
    }
}

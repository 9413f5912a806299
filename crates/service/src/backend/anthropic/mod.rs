//! Backend `anthropic`: Claude over the Messages API. In this form an answer comes whole: one text, then its end.

use std::{sync::Arc, time::Duration};

use claude_code_api_wire::{ServiceHealth, ServiceStatus};
use futures_core::future::BoxFuture;
use reqwest::{RequestBuilder, Url, header::CONTENT_TYPE};
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;
use secrecy::{ExposeSecret, SecretString};

use super::{Backend, Events, Failure, Offer, Prompt, Spend};
use crate::{
    config,
    model::{ModelChoice, Tier},
};

mod request;
mod response;

/// The version of the API that requests and answers are written in.
const API_VERSION: &str = "2023-06-01";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long counting may take: it decides only how well an input is bounded.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// The Messages API, with a key.
pub struct Anthropic {
    http: reqwest::Client,
    messages: Url,
    count_tokens: Url,
    key: SecretString,
    settings: config::Anthropic,
}

impl Anthropic {
    /// Does not call out: a wrong key shows at the first call.
    ///
    /// # Errors
    /// A base URL that is none, or a system without certificates, in words.
    pub fn new(settings: &config::Anthropic, key: SecretString) -> Result<Self, String> {
        let base = settings.base_url.trim_end_matches('/');
        let messages = format!("{base}/v1/messages");
        let messages = Url::parse(&messages).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let messages = messages
            .ok_or_else(|| format!("anthropic_base_url takes an http or https URL; it was {:?}", settings.base_url))?;
        let http = http_client(&messages).map_err(|error| format!("backend anthropic cannot be used: {error}"))?;
        let count_tokens = Url::parse(&format!("{messages}/count_tokens")).expect("a URL with a longer path");
        Ok(Self { http, messages, count_tokens, key, settings: settings.clone() })
    }

    fn model_of(&self, tier: Tier) -> &str {
        match tier {
            Tier::Haiku => &self.settings.model_haiku,
            Tier::Sonnet => &self.settings.model_sonnet,
            Tier::Opus => &self.settings.model_opus,
        }
    }

    async fn answer(&self, model_id: &str, prompt: Prompt) -> Result<Events, Failure> {
        let body = request::body(model_id, prompt).map_err(|reason| Failure { spend: Spend::Unspent, reason })?;
        let answer = self.post(&self.messages, body).send().await.map_err(|error| response::unsent(&error))?;
        response::events(answer).await
    }

    async fn counted(&self, model_id: &str, prompt: Prompt) -> Option<u64> {
        let request = self.post(&self.count_tokens, request::to_count(model_id, &prompt));
        response::counted(request.timeout(COUNT_TIMEOUT).send().await.ok()?).await
    }

    fn post(&self, url: &Url, body: Vec<u8>) -> RequestBuilder {
        let request = self.http.post(url.clone()).header("x-api-key", self.key.expose_secret());
        request.header("anthropic-version", API_VERSION).header(CONTENT_TYPE, "application/json").body(body)
    }
}

fn http_client(url: &Url) -> Result<reqwest::Client, String> {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|error| error.to_string())?
        .with_no_client_auth();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("claude-code-api/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        // A redirect would send the key to somewhere else; what is tried again, the call decides.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .tcp_nodelay(true)
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
        Some(Offer { model_id: model_id.to_owned(), tier, max_tokens_default, is_embedded: false })
    }

    fn names(&self) -> Vec<String> {
        ["haiku", "sonnet", "opus", "or the id of a Claude model"].map(str::to_owned).to_vec()
    }

    fn health(&self) -> ServiceHealth {
        let host = self.messages.host_str().unwrap_or_default();
        ServiceHealth { status: ServiceStatus::Ok, detail: Some(format!("calls go to {host}, with one key")) }
    }

    fn count(&self, model_id: &str, prompt: Prompt) -> BoxFuture<'_, Option<u64>> {
        let model_id = model_id.to_owned();
        Box::pin(async move { self.counted(&model_id, prompt).await })
    }

    fn call(&self, model_id: &str, prompt: Prompt) -> BoxFuture<'_, Result<Events, Failure>> {
        let model_id = model_id.to_owned();
        Box::pin(async move { self.answer(&model_id, prompt).await })
    }
}

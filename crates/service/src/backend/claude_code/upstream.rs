//! Where the calls of workers go: to the Messages API, as the anthropic backend asks it.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;

use super::{brief::Brief, login::Login};
use crate::backend::{Answering, Backend, Failure, Prompt, Reason, anthropic::Anthropic};

/// The Messages API, and who asks it.
#[derive(Clone)]
pub struct Upstream {
    /// The API.
    pub api: Arc<Anthropic>,
    /// The operator's own login; `None`: the keys of the service.
    pub login: Option<Login>,
}

impl Upstream {
    /// What a worker is told of a call.
    pub(super) fn brief(&self, model_id: &str, prompt: &Prompt) -> Result<Brief, Reason> {
        if self.login.is_some() { Brief::on_login(model_id, prompt) } else { Brief::of(model_id, prompt) }
    }

    /// Answers the request that a worker has made of a brief, once it is proven to be that: with the keys of the service by a request
    /// of our own, and no byte of the worker's leaves; on a login by the worker's.
    pub(super) async fn answer(
        &self,
        brief: &Brief,
        prompt: Prompt,
        request: Request<Bytes>,
    ) -> Result<Answering, Failure> {
        match &self.login {
            Some(login) => self.api.forward(&brief.model, login.own(brief, request)?, &prompt.sent).await,
            None => self.api.call(&brief.model, prompt).await,
        }
    }
}

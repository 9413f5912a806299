//! The operator's own login of Claude Code, in the place of the service's keys. Then it is a worker's own request that goes upstream, word
//! for word: the call, and what this version of the CLI puts round it ([`grammar`](super::grammar)).
//!
//! A worker is told to put as little round a call as it can be told to: no thinking, no effort and no prompt cache but the call's own.

use bytes::Bytes;
use http::{HeaderMap, Request};
use secrecy::{ExposeSecret, SecretString};

use super::{
    brief::{Brief, invalid},
    grammar::Mismatch,
};
use crate::backend::{Failure, Spend};

/// The version of the API that the CLI asks for by itself.
const VERSION: &str = "2023-06-01";

/// What the CLI asks for on its own account, on one model or another.
const BETAS: [&str; 5] = [
    "claude-code-20250219",
    "effort-2025-11-24",
    "fallback-credit-2026-06-01",
    "interleaved-thinking-2025-05-14",
    "oauth-2025-04-20",
];

/// What goes upstream of a worker's headers besides: who asks, and in which form.
const HEADERS: [(&str, &str); 5] = [
    ("accept", "application/json"),
    ("anthropic-dangerous-direct-browser-access", "true"),
    ("content-type", "application/json"),
    ("user-agent", "claude-cli/2.1.330 (external, sdk-cli)"),
    ("x-app", "cli"),
];

/// A number that the CLI makes up for each of its processes.
const SESSION: &str = "x-claude-code-session-id";

/// A login: its token, which `claude setup-token` has made.
#[derive(Clone, Debug)]
pub struct Login(SecretString);

impl Login {
    /// That of this token.
    pub fn new(token: SecretString) -> Self {
        Self(token)
    }

    /// One that is nobody's: for workers whose requests are answered here.
    pub fn made_up() -> Self {
        Self(SecretString::from("sk-ant-oat01-made-up"))
    }

    /// What a worker has of it in its environment, and what makes it leave a call alone.
    pub(super) fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("CLAUDE_CODE_OAUTH_TOKEN", self.0.expose_secret().to_owned()),
            ("CLAUDE_CODE_DISABLE_THINKING", "1".to_owned()),
            ("CLAUDE_CODE_EFFORT_LEVEL", "auto".to_owned()),
            ("DISABLE_PROMPT_CACHING", "1".to_owned()),
        ]
    }

    /// A worker's request, of which the body was proven, as it goes upstream. Of its headers those go that are about the call; the others
    /// are about its connection, which ends here.
    ///
    /// # Errors
    /// It is not on this login, or for something else than the call.
    pub(super) fn own(&self, brief: &Brief, request: Request<Bytes>) -> Result<Request<Bytes>, Failure> {
        self.prove(brief, &request).map_err(|mismatch| mismatch.failure())?;
        let found = betas(request.headers()).unwrap_or_default();
        if let Some(beta) = asked_for(brief).iter().find(|beta| !found.contains(&beta.as_str())) {
            let why = format!("Claude Code does not ask for {beta:?} on a login; leave it out");
            return Err(Failure { spend: Spend::Unspent, reason: invalid("anthropic-beta", &why) });
        }
        let (mut head, body) = request.into_parts();
        head.headers = passed_on(&head.headers);
        Ok(Request::from_parts(head, body))
    }

    /// Proves that a worker's request is on this login, and for nothing but the call.
    pub(super) fn prove(&self, brief: &Brief, request: &Request<Bytes>) -> Result<(), Mismatch> {
        let headers = request.headers();
        let authorization = format!("Bearer {}", self.0.expose_secret());
        if only(headers, "authorization") != Some(&authorization) || headers.contains_key("x-api-key") {
            return Err(Mismatch::new("authorization", "not that of the login"));
        }
        let asked = brief.apart.as_ref().and_then(|apart| apart.version.as_deref());
        let version = ("anthropic-version", asked.unwrap_or(VERSION));
        let mut due = HEADERS.into_iter().chain([version]);
        if let Some((name, _)) = due.find(|(name, value)| only(headers, name) != Some(value)) {
            return Err(Mismatch::new(name, "not as this version of the CLI has it"));
        }
        if request.uri().query() != Some("beta=true") {
            return Err(Mismatch::new("query", "not as this version of the CLI has it"));
        }
        let is_known = |beta: &&str| BETAS.contains(beta) || asked_for(brief).iter().any(|asked| asked == beta);
        match betas(headers) {
            Some(betas) if betas.iter().all(is_known) => Ok(()),
            _ => Err(Mismatch::new("anthropic-beta", "not given, and none of the CLI's own")),
        }
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn betas(headers: &HeaderMap) -> Option<Vec<&str>> {
    only(headers, "anthropic-beta").map(|betas| betas.split(',').map(str::trim).collect())
}

fn asked_for(brief: &Brief) -> &[String] {
    brief.apart.as_ref().map_or(&[], |apart| &apart.betas)
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let others = ["anthropic-beta", "anthropic-version", "authorization", SESSION];
    let is_passed_on = |name: &str| HEADERS.iter().any(|(passed, _)| *passed == name) || others.contains(&name);
    let passed = headers.iter().filter(|(name, _)| is_passed_on(name.as_str()));
    passed.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{super::apart::Apart, *};
    use crate::backend::Reason;

    fn brief(betas: &[&str]) -> Brief {
        let betas = betas.iter().map(|beta| (*beta).to_owned()).collect();
        Brief { apart: Some(Apart { betas, ..Apart::default() }), ..Brief::default() }
    }

    fn request(change: impl FnOnce(&mut HeaderMap)) -> Request<Bytes> {
        let mut request = Request::post("/v1/messages?beta=true").body(Bytes::from("{}")).expect("a request");
        let others = [
            ("authorization", "Bearer token"),
            ("anthropic-version", VERSION),
            ("anthropic-beta", "oauth-2025-04-20,mine-2026-01-01"),
            (SESSION, "1"),
            ("x-stainless-retry-count", "0"),
            ("host", "127.0.0.1:1"),
        ];
        for (name, value) in HEADERS.into_iter().chain(others) {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        change(request.headers_mut());
        request
    }

    fn own(betas: &[&str], change: impl FnOnce(&mut HeaderMap)) -> Result<Request<Bytes>, Failure> {
        Login::new(SecretString::from("token")).own(&brief(betas), request(change))
    }

    #[test]
    fn what_is_about_the_call_is_passed_on_and_nothing_else_is() {
        let own = own(&["mine-2026-01-01"], |_| {}).expect("it is on the login");
        let mut names: Vec<&str> = own.headers().keys().map(http::HeaderName::as_str).collect();
        let mut due =
            [&HEADERS.map(|(name, _)| name)[..], &["anthropic-beta", "anthropic-version", "authorization", SESSION]]
                .concat();
        due.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, due);
    }

    #[test]
    fn a_request_that_is_not_on_the_login_or_for_something_else_goes_nowhere() {
        let changes = [
            ("authorization", None),
            ("authorization", Some("Bearer another")),
            ("x-api-key", Some("k")),
            ("anthropic-version", Some("2024-01-01")),
            ("anthropic-beta", Some("unasked-2026-01-01")),
            ("user-agent", None),
            ("x-app", Some("another")),
        ];
        let change = |headers: &mut HeaderMap, name: &'static str, value: Option<&'static str>| match value {
            Some(value) => _ = headers.append(name, HeaderValue::from_static(value)),
            None => _ = headers.remove(name),
        };
        for (name, value) in changes {
            let failure = own(&["mine-2026-01-01"], |headers| change(headers, name, value)).expect_err("it differs");
            assert!(matches!(failure.reason, Reason::Broken { .. }), "{name}: {failure:?}");
            assert!(!format!("{failure:?}").contains("token"), "{name}: {failure:?}");
        }
        let lacking = own(&["mine-2026-01-01", "other-2026-01-01"], |_| {}).expect_err("it lacks a beta");
        assert!(matches!(lacking.reason, Reason::Invalid { field, .. } if field == "anthropic-beta"));
    }

    #[test]
    fn the_token_is_shown_to_nobody() {
        assert!(!format!("{:?}", Login::new(SecretString::from("canary"))).contains("canary"));
    }
}

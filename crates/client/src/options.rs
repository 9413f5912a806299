//! How a client is set up: what was given, then the environment, then the defaults.

use std::time::Duration;

use reqwest::{Url, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::{Client, Error, ErrorKind, blocking};

/// The longest that a call may run on the service. Whoever gives a longer time means "as long as it takes".
pub(crate) const LONGEST: Duration = Duration::from_hours(24);

/// Sets up a [`Client`]. What is not given comes from the environment (`CLAUDE_CODE_API_BASE_URL`, `CLAUDE_CODE_API_API_KEY`,
/// `CLAUDE_CODE_API_PROJECT_ID`), and else is the default.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder {
    /// May hold a password.
    base_url: Option<SecretString>,
    api_key: Option<SecretString>,
    project_id: Option<String>,
    timeout: Option<Duration>,
    max_retries: Option<u32>,
    retry_delay: Option<Duration>,
    max_retry_after: Option<Duration>,
}

/// The set-up in force.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) base_url: Url,
    /// Marked as sensitive, so that it is not printed.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) project_id: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) attempts_max: u32,
    pub(crate) retry_delay: Duration,
    pub(crate) max_retry_after: Duration,
}

impl ClientBuilder {
    /// URL of the service. Default: `http://localhost:8080`.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let client = Client::builder().base_url("http://localhost:9090").build()?;
    /// assert_eq!(client.base_url(), "http://localhost:9090/");
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(SecretString::from(url.into()));
        self
    }

    /// The key to send. Default: none.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let client = Client::builder().api_key("ccak_secret").build()?;
    /// assert!(!format!("{client:?}").contains("ccak_secret"), "a key is never printed");
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(SecretString::from(key.into()));
        self
    }

    /// The project that pays. Default: the key's own.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let client = Client::builder().project_id("team-a").build()?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn project_id(mut self, project: impl Into<String>) -> Self {
        self.project_id = Some(project.into());
        self
    }

    /// How long a call may take in all. Default: 30 s.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// # use std::time::Duration;
    /// let patient = Client::builder().timeout(Duration::from_mins(5)).build()?;
    /// assert!(Client::builder().timeout(Duration::ZERO).build().is_err());
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout.min(LONGEST));
        self
    }

    /// The most attempts of a call; 0 and 1 both mean one. Default: 3.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let once = Client::builder().max_retries(1).build()?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn max_retries(mut self, attempts: u32) -> Self {
        self.max_retries = Some(attempts);
        self
    }

    /// The wait before the second attempt; it doubles with each one more, up to 8 s. Default: 1 s.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// # use std::time::Duration;
    /// let client = Client::builder().max_retries(5).retry_delay(Duration::from_millis(200)).build()?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = Some(delay);
        self
    }

    /// The longest `Retry-After` to obey; a longer one is an error at once. Default: 60 s.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// # use std::time::Duration;
    /// let hasty = Client::builder().max_retry_after(Duration::from_secs(5)).build()?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    pub fn max_retry_after(mut self, wait: Duration) -> Self {
        self.max_retry_after = Some(wait.min(LONGEST));
        self
    }

    /// The async client. It connects when it is first used.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let client = Client::builder().base_url("https://llm.example.org/api").build()?;
    /// assert!(Client::builder().base_url("llm.example.org").build().is_err(), "a URL has a scheme");
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// A URL that is none, or a time-out of zero.
    pub fn build(self) -> Result<Client, Error> {
        let base_url = self.base_url.or_else(|| from_environment("BASE_URL").map(SecretString::from));
        let timeout = self.timeout.unwrap_or(Duration::from_secs(30));
        if timeout.is_zero() {
            return Err(Error::new(ErrorKind::Configuration, "timeout: takes more than 0 seconds"));
        }
        let api_key = self.api_key.or_else(|| from_environment("API_KEY").map(SecretString::from));
        Ok(Client::from_options(Options {
            base_url: parse(base_url.as_ref().map_or("http://localhost:8080", |url| url.expose_secret()))?,
            authorization: api_key.as_ref().map(bearer).transpose()?,
            project_id: self.project_id.or_else(|| from_environment("PROJECT_ID")),
            timeout,
            attempts_max: self.max_retries.unwrap_or(3).max(1),
            retry_delay: self.retry_delay.unwrap_or(Duration::from_secs(1)),
            max_retry_after: self.max_retry_after.unwrap_or(Duration::from_mins(1)),
        }))
    }

    /// The blocking client, set up the same.
    ///
    /// ```
    /// # use claude_code_api_client::Client;
    /// let client = Client::builder().project_id("team-a").build_blocking()?;
    /// # Ok::<(), claude_code_api_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ClientBuilder::build`].
    pub fn build_blocking(self) -> Result<blocking::Client, Error> {
        self.build().map(blocking::Client::from)
    }
}

fn bearer(key: &SecretString) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).map_err(|_| {
        Error::new(ErrorKind::Configuration, "api_key: holds a line break or another character that no key has")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn parse(text: &str) -> Result<Url, Error> {
    let wrong = |why: &str| {
        // What may be a name and a password is not shown.
        let shown = text.rsplit_once('@').map_or_else(|| format!("{text:?}"), |(_, rest)| format!("one at {rest:?}"));
        let message = format!("base_url: takes a URL such as http://localhost:8080; {shown} {why}");
        Error::new(ErrorKind::Configuration, message)
    };
    let mut url = Url::parse(text).map_err(|error| wrong(&format!("is none: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("is neither http nor https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    // So that joining a path appends to this one and does not replace its last part.
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[expect(clippy::disallowed_methods, reason = "the client's one place that reads the environment")]
fn from_environment(name: &str) -> Option<String> {
    std::env::var(format!("CLAUDE_CODE_API_{name}")).ok().filter(|value| !value.is_empty())
}

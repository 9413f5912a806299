//! One call, as the caller asks for it.

use std::time::Duration;

use claude_code_api_wire::{CompleteRequest, Message, Routing};

use crate::{Error, ErrorKind, options::LONGEST};

/// What to complete, and how. A text is a request for its completion.
///
/// ```
/// use claude_code_api_client::Request;
/// let request = Request::new("Name three colours").model("haiku").max_tokens(50);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a request does nothing until a client sends it"]
pub struct Request {
    pub(crate) body: CompleteRequest,
    pub(crate) timeout: Option<Duration>,
    pub(crate) total_timeout: Option<Duration>,
    pub(crate) idempotency_key: Option<String>,
}

impl<T: Into<String>> From<T> for Request {
    fn from(prompt: T) -> Self {
        Self::new(prompt)
    }
}

impl Request {
    /// The completion of one prompt.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("Name three colours");
    /// assert_eq!(request, Request::from("Name three colours"));
    /// ```
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { body: CompleteRequest { prompt: Some(prompt.into()), ..CompleteRequest::default() }, ..Self::default() }
    }

    /// The next turn of a conversation; the last message is the user's.
    ///
    /// ```
    /// # use claude_code_api_client::{Message, Request};
    /// let request = Request::conversation([
    ///     Message::user("My name is Ada."),
    ///     Message::assistant("Hello, Ada."),
    ///     Message::user("What is my name?"),
    /// ]);
    /// ```
    pub fn conversation(messages: impl Into<Vec<Message>>) -> Self {
        Self {
            body: CompleteRequest { messages: Some(messages.into()), ..CompleteRequest::default() },
            ..Self::default()
        }
    }

    /// `auto` (the default), `haiku`, `sonnet`, `opus`, or a concrete model id.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("Prove it").model("opus");
    /// ```
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.body.model = Some(model.into());
        self
    }

    /// Instructions that stand above the conversation.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("Hello").system("Answer in French.");
    /// ```
    pub fn system(mut self, system: impl Into<String>) -> Self {
        self.body.system = Some(system.into());
        self
    }

    /// The project that pays, for this call.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("Hello").project_id("team-a");
    /// ```
    pub fn project_id(mut self, project: impl Into<String>) -> Self {
        self.body.project_id = Some(project.into());
        self
    }

    /// The most tokens to generate.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("Hello").max_tokens(100);
    /// ```
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.body.max_tokens = Some(tokens);
        self
    }

    /// The most that the call may cost, in USD. One that could cost more is refused, or answered by a cheaper model.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let at_most_two_cents = Request::new("Hello").max_cost(0.02);
    /// ```
    pub fn max_cost(mut self, usd: f64) -> Self {
        self.body.max_cost = Some(usd);
        self
    }

    /// What `auto` may lose to save money.
    ///
    /// ```
    /// # use claude_code_api_client::{Request, Routing};
    /// let request = Request::new("Is 91 prime?").routing(Routing::Economy);
    /// ```
    pub fn routing(mut self, routing: Routing) -> Self {
        self.body.routing = Some(routing);
        self
    }

    /// What the conversation is known by: `auto` stays with its model, or goes up.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("And then?").conversation_id("ticket-17");
    /// ```
    pub fn conversation_id(mut self, id: impl Into<String>) -> Self {
        self.body.conversation_id = Some(id.into());
        self
    }

    /// Randomness, 0 to 1.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("Is 91 prime?").temperature(0.0);
    /// ```
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.body.temperature = Some(temperature);
        self
    }

    /// Nucleus sampling, above 0, at most 1.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("Invent a word").top_p(0.9);
    /// ```
    pub fn top_p(mut self, top_p: f64) -> Self {
        self.body.top_p = Some(top_p);
        self
    }

    /// Texts at which generation ends.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("Count to five").stop_sequences(["3", "three"]);
    /// ```
    pub fn stop_sequences(mut self, texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.body.stop_sequences = Some(texts.into_iter().map(Into::into).collect());
        self
    }

    /// Seed of the sampler; the embedded model only.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let request = Request::new("Roll a die").model("smollm2-135m-instruct").seed(42);
    /// ```
    pub fn seed(mut self, seed: u32) -> Self {
        self.body.seed = Some(seed);
        self
    }

    /// The key that every attempt of this call is sent with, so that none is paid for twice. Default: a new one for each call. A
    /// program that sends the same call again after it was restarted gives it one of its own, of at most 255 visible ASCII
    /// characters.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// let order = 1234;
    /// let request = Request::new("Thank the customer").idempotency_key(format!("thanks-{order}"));
    /// ```
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// How long the call may take. For a whole answer: in all, every attempt included. For a stream: until its first text, time
    /// in the service's queue left out, and between texts. Default: the client's.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// # use std::time::Duration;
    /// let request = Request::new("Hello").timeout(Duration::from_secs(10));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout.min(LONGEST));
        self
    }

    /// How long a stream may take in all. Default: as long as it goes on.
    ///
    /// ```
    /// # use claude_code_api_client::Request;
    /// # use std::time::Duration;
    /// let request = Request::new("Tell me a story").total_timeout(Duration::from_mins(2));
    /// ```
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = Some(timeout.min(LONGEST));
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if [self.timeout, self.total_timeout].contains(&Some(Duration::ZERO)) {
            return Err(Error::new(ErrorKind::Configuration, "timeout: takes more than 0 seconds"));
        }
        finite("max_cost", self.body.max_cost)?;
        finite("temperature", self.body.temperature)?;
        finite("top_p", self.body.top_p)
    }
}

/// JSON would have `null` for what is not finite, and that is a limit which was not given.
pub(crate) fn finite(name: &str, value: Option<f64>) -> Result<(), Error> {
    match value {
        Some(value) if !value.is_finite() => {
            Err(Error::new(ErrorKind::Configuration, format!("{name}: takes a number; it was {value}")))
        }
        _ => Ok(()),
    }
}

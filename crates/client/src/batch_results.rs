//! The results of a stored batch, over as many connections as they take: each asks for those after the ones that came.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use claude_code_api_wire::BatchEvent;
use futures_core::Stream;
use reqwest::{Response, Url};

use crate::{Client, Error, ErrorKind, client::with_query, lines::Lines, transport};

/// The results that a stored batch has, each with the place of its prompt, in the order in which they came. Ends after the last one
/// that there is, or after one error. The first is asked for when it is wanted.
#[must_use = "results are asked for when they are read"]
pub struct BatchResults(State);

enum State {
    Waiting(Box<Reader>),
    Reading(Pin<Box<dyn Future<Output = (Box<Reader>, Next)> + Send>>),
    Ended,
}

type Next = Result<Option<BatchEvent>, Error>;

impl BatchResults {
    /// `path`: of the results.
    pub(crate) fn new(client: Client, path: Result<String, Error>, after: u64) -> Self {
        Self(State::Waiting(Box::new(Reader { client, path, after, attempts: 1, body: None })))
    }

    /// The next result; `None` after the last one.
    ///
    /// ```no_run
    /// # async fn example(mut results: claude_code_api_client::BatchResults) -> Result<(), claude_code_api_client::Error> {
    /// while let Some(event) = results.next().await {
    ///     let event = event?;
    ///     println!("prompt {}: {}", event.index, event.result.status);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// There is no such batch, or connections failed and another attempt was of no use.
    pub async fn next(&mut self) -> Option<Result<BatchEvent, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for BatchResults {
    type Item = Result<BatchEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut reading = match std::mem::replace(&mut self.0, State::Ended) {
            State::Waiting(reader) => Box::pin(read(reader)),
            State::Reading(reading) => reading,
            State::Ended => return Poll::Ready(None),
        };
        let Poll::Ready((reader, next)) = reading.as_mut().poll(context) else {
            self.0 = State::Reading(reading);
            return Poll::Pending;
        };
        self.0 = if matches!(next, Ok(Some(_))) { State::Waiting(reader) } else { State::Ended };
        Poll::Ready(next.transpose())
    }
}

async fn read(mut reader: Box<Reader>) -> (Box<Reader>, Next) {
    let next = reader.next().await;
    (reader, next)
}

impl std::fmt::Debug for BatchResults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchResults").finish_non_exhaustive()
    }
}

struct Reader {
    client: Client,
    path: Result<String, Error>,
    /// How many results have come, those before this stream included.
    after: u64,
    /// Attempts since the last result, the present one included.
    attempts: u32,
    body: Option<Body>,
}

impl Reader {
    /// The next result, at whichever attempt.
    async fn next(&mut self) -> Next {
        loop {
            match self.attempt().await {
                Ok(Some(event)) => {
                    (self.after, self.attempts) = (self.after + 1, 1);
                    return Ok(Some(event));
                }
                Ok(None) => {
                    self.client.succeeded(self.attempts);
                    return Ok(None);
                }
                Err(error) => {
                    self.body = None;
                    tokio::time::sleep(self.client.wait_after(error, self.attempts, None)?).await;
                    self.attempts += 1;
                }
            }
        }
    }

    async fn attempt(&mut self) -> Next {
        let body = match &mut self.body {
            Some(body) => body,
            None => self.body.insert(open(&self.client, self.path.clone()?, self.after).await?),
        };
        body.next(&self.client).await
    }
}

async fn open(client: &Client, path: String, after: u64) -> Result<Body, Error> {
    let path = with_query(&path, [("after", Some(&*after.to_string()))]);
    let response = in_time(client, "no answer", client.open(&path)).await??;
    Ok(Body { url: response.url().clone(), response, lines: Lines::default() })
}

/// One connection's answer.
struct Body {
    url: Url,
    response: Response,
    lines: Lines,
}

impl Body {
    async fn next(&mut self, client: &Client) -> Next {
        loop {
            if let Some(line) = self.lines.next_line().map_err(|error| error.at(&self.url))? {
                let event = serde_json::from_slice(line);
                return event.map(Some).map_err(|error| self.unexpected(&error));
            }
            match in_time(client, "not a byte", self.response.chunk()).await? {
                Ok(Some(bytes)) => self.lines.push(&bytes),
                Ok(None) if self.lines.is_at_an_end() => return Ok(None),
                Ok(None) => {
                    let message = "the results broke off within a line";
                    return Err(Error::new(ErrorKind::Connection, message).at(&self.url));
                }
                Err(error) => return Err(transport::connection_error(&error, &self.url)),
            }
        }
    }

    fn unexpected(&self, error: &serde_json::Error) -> Error {
        Error::new(ErrorKind::UnexpectedResponse, format!("a result is not of this API: {error}")).at(&self.url)
    }
}

async fn in_time<T>(client: &Client, what: &str, work: impl Future<Output = T>) -> Result<T, Error> {
    let timeout = client.default_timeout();
    let done = tokio::time::timeout(timeout, work).await;
    done.map_err(|_| client.timed_out(format!("{what} within {} s", timeout.as_secs_f64())))
}

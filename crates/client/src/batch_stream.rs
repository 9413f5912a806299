//! The results of a batch as they come, over as many connections as that takes.
//!
//! Every connection sends the whole batch under one idempotency key. What the service has finished it tells again at no cost, so
//! that nothing has to be known of how far it came; each result is handed over once.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use claude_code_api_wire::{
    BatchEvent, BatchResult, ErrorEnvelope,
    sse::{Decoder, Frame},
};
use futures_core::Stream;
use reqwest::{Response, Url, header::HeaderValue};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep};

use crate::{Batch, BatchResponse, BatchTotals, Client, Error, ErrorKind, transport};

/// The results of a batch, each with the place of its prompt, as they come. Ends after the last one, or after one error. Dropping it
/// cancels on the service what is unfinished.
#[must_use = "a batch that nobody reads is cancelled when it is dropped"]
pub struct BatchStream {
    sent: Arc<Sent>,
    state: State,
    /// The prompts whose results were handed over.
    told: Vec<bool>,
    totals: BatchTotals,
    /// Attempts since the last result that was new, the present one included.
    attempts: u32,
    /// Somebody waits for the next result. The time that a reader takes between two of them is not the service's.
    awaited: bool,
}

/// What every attempt sends.
struct Sent {
    client: Client,
    batch: Batch,
    key: HeaderValue,
}

enum State {
    Connecting(Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>),
    Reading(Box<Reading>),
    Ended,
}

impl BatchStream {
    /// Returns when the service has taken the batch.
    pub(crate) async fn open(client: Client, batch: Batch, key: HeaderValue) -> Result<Self, Error> {
        let total = batch.body.prompts.len();
        let sent = Arc::new(Sent { client, batch, key });
        let mut stream = Self {
            state: State::Connecting(Box::pin(attempt(Arc::clone(&sent), Duration::ZERO))),
            sent,
            told: vec![false; total],
            totals: BatchTotals { total, ..BatchTotals::default() },
            attempts: 1,
            awaited: false,
        };
        std::future::poll_fn(|context| stream.poll_open(context)).await?;
        Ok(stream)
    }

    /// The next result; `None` after the end.
    ///
    /// ```no_run
    /// # async fn example(mut stream: claude_code_api_client::BatchStream) -> Result<(), claude_code_api_client::Error> {
    /// while let Some(event) = stream.next().await {
    ///     let event = event?;
    ///     println!("prompt {}: {}", event.index, event.result.status);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The batch broke off and another attempt was of no use, or nothing came for 60 s.
    pub async fn next(&mut self) -> Option<Result<BatchEvent, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Counts and sums over the results handed over until now; after the end, over all.
    ///
    /// ```no_run
    /// # async fn example(mut stream: claude_code_api_client::BatchStream) -> Result<(), claude_code_api_client::Error> {
    /// while let Some(event) = stream.next().await {
    ///     event?;
    ///     let totals = stream.totals();
    ///     eprintln!("{} of {}", totals.completed + totals.failed, totals.total);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn totals(&self) -> BatchTotals {
        self.totals
    }

    /// All results, of a stream from which none was taken.
    pub(crate) async fn response(mut self) -> Result<BatchResponse, Error> {
        let mut places: Vec<Option<BatchResult>> = vec![None; self.totals.total];
        while let Some(event) = self.next().await {
            let BatchEvent { index, result, .. } = event?;
            places[index] = Some(result);
        }
        Ok(BatchResponse { totals: self.totals, results: places.into_iter().flatten().collect() })
    }

    /// Makes attempts until one is answered.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while let State::Connecting(attempt) = &mut self.state {
            match ready!(attempt.as_mut().poll(context)) {
                Ok(response) => {
                    self.state = State::Reading(Box::new(Reading::of(response, self.sent.batch.silence_timeout)));
                }
                Err(error) => self.again_after(error)?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<BatchEvent>, Error>> {
        loop {
            ready!(self.poll_open(context))?;
            let State::Reading(reading) = &mut self.state else { return Poll::Ready(Ok(None)) };
            match ready!(reading.poll_frame(context)).and_then(|frame| self.take(frame)) {
                Ok(None) => {}
                Ok(Some(event)) => return Poll::Ready(Ok(Some(event))),
                Err(error) => self.again_after(error)?,
            }
        }
    }

    /// Begins another attempt, or ends the stream with the error.
    fn again_after(&mut self, error: Error) -> Result<(), Error> {
        // What is left of the attempt that failed is closed first.
        self.state = State::Ended;
        let wait = self.sent.client.wait_after(error, self.attempts, None)?;
        self.attempts += 1;
        self.state = State::Connecting(Box::pin(attempt(Arc::clone(&self.sent), wait)));
        Ok(())
    }

    /// The result in a frame, if it is one and new.
    fn take(&mut self, frame: Frame) -> Result<Option<BatchEvent>, Error> {
        let Frame::Event { name, data } = frame else { return Ok(None) };
        match name.as_str() {
            "result" => {
                let event: BatchEvent = self.parsed(&data)?;
                let Some(told) = self.told.get_mut(event.index) else {
                    return Err(self.unexpected(format!("a result of prompt {}, which there is none of", event.index)));
                };
                if std::mem::replace(told, true) {
                    return Ok(None);
                }
                self.attempts = 1;
                self.totals.count(&event.result);
                Ok(Some(event))
            }
            "done" if self.told.contains(&false) => {
                Err(self.unexpected("the batch ended before every prompt had its result".to_owned()))
            }
            "done" => {
                self.sent.client.succeeded(self.attempts);
                self.state = State::Ended;
                Ok(None)
            }
            "error" => Err(Error::from_body(None, None, self.parsed::<ErrorEnvelope>(&data)?.error).at(&self.url())),
            _ => Ok(None), // An event of a newer service.
        }
    }

    fn parsed<T: DeserializeOwned>(&self, data: &str) -> Result<T, Error> {
        serde_json::from_str(data).map_err(|error| self.unexpected(format!("an event is not of this API: {error}")))
    }

    fn unexpected(&self, message: String) -> Error {
        Error::new(ErrorKind::UnexpectedResponse, message).at(&self.url())
    }

    fn url(&self) -> Url {
        match &self.state {
            State::Reading(reading) => reading.url.clone(),
            State::Connecting(_) | State::Ended => self.sent.client.base_url().parse().expect("it was one before"),
        }
    }
}

/// One attempt, after a wait, until the service answers.
async fn attempt(sent: Arc<Sent>, wait: Duration) -> Result<Response, Error> {
    tokio::time::sleep(wait).await;
    let Sent { client, batch, key } = &*sent;
    let answer = tokio::time::timeout(batch.silence_timeout, client.post("v1/batch", key, &batch.body)).await;
    answer.map_err(|_| client.timed_out(format!("not a byte within {} s", batch.silence_timeout.as_secs_f64())))?
}

/// One connection's answer.
struct Reading {
    body: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    decoder: Decoder,
    url: Url,
    silence_timeout: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Reading {
    fn of(response: Response, silence_timeout: Duration) -> Self {
        Self {
            url: response.url().clone(),
            body: Box::pin(response.bytes_stream()),
            decoder: Decoder::default(),
            silence_timeout,
            timer: Box::pin(tokio::time::sleep(silence_timeout)),
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Frame, Error>> {
        let failed = |kind, message: &str, url: &Url| Poll::Ready(Err(Error::new(kind, message).at(url)));
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Poll::Ready(Ok(frame)),
                Ok(None) => {}
                Err(error) => return failed(ErrorKind::UnexpectedResponse, &error.to_string(), &self.url),
            }
            match self.body.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => {
                    self.decoder.push(&bytes);
                    self.restart_timer();
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(transport::connection_error(&error, &self.url)));
                }
                Poll::Ready(None) => {
                    return failed(ErrorKind::Connection, "the batch broke off before its end", &self.url);
                }
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(context));
                    let message = format!("not a byte within {} s", self.silence_timeout.as_secs_f64());
                    return failed(ErrorKind::Timeout, &message, &self.url);
                }
            }
        }
    }

    fn restart_timer(&mut self) {
        self.timer.as_mut().reset(Instant::now() + self.silence_timeout);
    }
}

impl Stream for BatchStream {
    type Item = Result<BatchEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !std::mem::replace(&mut self.awaited, true)
            && let State::Reading(reading) = &mut self.state
        {
            reading.restart_timer();
        }
        let result = ready!(self.poll_result(context));
        self.awaited = false;
        Poll::Ready(result.transpose())
    }
}

impl std::fmt::Debug for BatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchStream").field("totals", &self.totals).finish_non_exhaustive()
    }
}

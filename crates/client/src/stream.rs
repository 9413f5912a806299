//! An answer as it comes.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use claude_code_api_wire::{
    CompleteResponse, Delta, ErrorEnvelope, Start,
    sse::{Decoder, Frame},
};
use futures_core::Stream;
use reqwest::{Response, Url};
use serde::de::DeserializeOwned;
use tokio::time::Sleep;

use crate::{Error, ErrorKind, transport};

/// The text of an answer, piece by piece, as it comes over the connection; nothing is read ahead. Ends after the answer's end,
/// or after one error. Dropping it stops the generation.
#[must_use = "an answer that nobody reads is stopped when it is dropped"]
pub struct TextStream {
    body: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    decoder: Decoder,
    url: Url,
    timeout: Duration,
    deadline: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    start: Option<Start>,
    text: String,
    /// Text that has come and was not handed over yet.
    unread: String,
    end: Option<Result<Box<CompleteResponse>, Error>>,
    /// Somebody waits for the next text. The time that a reader takes between two of them is not the service's.
    awaited: bool,
    ended: bool,
}

impl TextStream {
    /// Reads until the first text. An error before that is the attempt's.
    pub(crate) async fn open(response: Response, timeout: Duration, deadline: Option<Instant>) -> Result<Self, Error> {
        let url = response.url().clone();
        let mut stream = Self {
            body: Box::pin(response.bytes_stream()),
            decoder: Decoder::default(),
            url,
            timeout,
            deadline,
            timer: Box::pin(tokio::time::sleep(timeout)),
            start: None,
            text: String::new(),
            unread: String::new(),
            end: None,
            awaited: false,
            ended: false,
        };
        stream.restart_timer();
        std::future::poll_fn(|context| stream.poll_read(context)).await;
        match stream.end.take_if(|end| end.is_err() && stream.unread.is_empty()) {
            Some(Err(error)) => Err(error),
            _ => Ok(stream),
        }
    }

    /// The next piece of text; `None` after the end.
    ///
    /// ```no_run
    /// # async fn example(mut stream: claude_code_api_client::TextStream) -> Result<(), claude_code_api_client::Error> {
    /// while let Some(text) = stream.next().await {
    ///     print!("{}", text?);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The answer broke off: the service's error, a connection that failed, or a time-out.
    pub async fn next(&mut self) -> Option<Result<String, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Id of the call.
    ///
    /// ```no_run
    /// # fn example(stream: claude_code_api_client::TextStream) {
    /// println!("call {}", stream.id().unwrap_or("not begun"));
    /// # }
    /// ```
    pub fn id(&self) -> Option<&str> {
        self.start.as_ref().map(|start| start.id.as_str())
    }

    /// The model, as [`CompleteResponse::model`].
    ///
    /// ```no_run
    /// # fn example(stream: claude_code_api_client::TextStream) {
    /// println!("answered by {}", stream.model().unwrap_or("nobody yet"));
    /// # }
    /// ```
    pub fn model(&self) -> Option<&str> {
        self.start.as_ref().map(|start| start.model.as_str())
    }

    /// The model that really runs, as [`CompleteResponse::model_id`].
    pub fn model_id(&self) -> Option<&str> {
        self.start.as_ref().map(|start| start.model_id.as_str())
    }

    /// The text handed over until now.
    ///
    /// ```no_run
    /// # async fn example(mut stream: claude_code_api_client::TextStream) -> Result<(), claude_code_api_client::Error> {
    /// while let Some(Ok(_)) = stream.next().await {}
    /// println!("came through: {}", stream.text());
    /// # Ok(()) }
    /// ```
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole answer with its usage and cost, once the stream has ended as it should.
    ///
    /// ```no_run
    /// # async fn example(mut stream: claude_code_api_client::TextStream) -> Result<(), claude_code_api_client::Error> {
    /// while let Some(text) = stream.next().await {
    ///     print!("{}", text?);
    /// }
    /// let response = stream.response().expect("it has ended as it should");
    /// println!("{} tokens, ${:.4}", response.usage.total_tokens, response.cost);
    /// # Ok(()) }
    /// ```
    pub fn response(&self) -> Option<&CompleteResponse> {
        self.end.as_ref()?.as_ref().ok().map(AsRef::as_ref)
    }

    /// Reads until there is text to hand over, or the end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.unread.is_empty() && self.end.is_none() {
            match self.body.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => self.take(&bytes),
                Poll::Ready(Some(Err(error))) => self.end = Some(Err(transport::connection_error(&error, &self.url))),
                Poll::Ready(None) => self.fail(ErrorKind::Connection, "the stream broke off before its end"),
                Poll::Pending => {
                    std::task::ready!(self.timer.as_mut().poll(context));
                    let message = match self.deadline {
                        Some(deadline) if deadline <= Instant::now() => {
                            "the stream took longer than its total_timeout".to_owned()
                        }
                        _ => format!("no text within {} s", self.timeout.as_secs_f64()),
                    };
                    self.fail(ErrorKind::Timeout, &message);
                }
            }
        }
        Poll::Ready(())
    }

    /// Takes all that has come. Several texts become one: who reads wakes once for them.
    fn take(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
        loop {
            match self.decoder.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) if self.end.is_none() => self.take_frame(frame),
                Ok(Some(_)) => {} // The contract ends with `done` or `error`.
                Err(error) => return self.fail(ErrorKind::UnexpectedResponse, &error.to_string()),
            }
        }
    }

    fn take_frame(&mut self, frame: Frame) {
        match frame {
            // Time in the service's queue does not count.
            Frame::Comment(text) if text == "queued" => self.restart_timer(),
            Frame::Comment(_) => {}
            Frame::Event { name, data } => match name.as_str() {
                "start" => {
                    self.restart_timer();
                    self.start = self.parsed(&data);
                }
                "delta" => {
                    self.restart_timer();
                    if let Some(Delta { text }) = self.parsed(&data) {
                        self.unread += &text;
                    }
                }
                "done" => self.end = self.parsed(&data).map(|response| Ok(Box::new(response))).or(self.end.take()),
                "error" => {
                    if let Some(envelope) = self.parsed::<ErrorEnvelope>(&data) {
                        self.end = Some(Err(Error::from_body(None, None, envelope.error).at(&self.url)));
                    }
                }
                _ => {} // An event of a newer service.
            },
        }
    }

    fn parsed<T: DeserializeOwned>(&mut self, data: &str) -> Option<T> {
        match serde_json::from_str(data) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fail(ErrorKind::UnexpectedResponse, &format!("an event is not of this API: {error}"));
                None
            }
        }
    }

    fn fail(&mut self, kind: ErrorKind, message: &str) {
        self.end = Some(Err(Error::new(kind, message).at(&self.url)));
    }

    fn restart_timer(&mut self) {
        let idle = Instant::now() + self.timeout;
        let at = self.deadline.map_or(idle, |deadline| deadline.min(idle));
        self.timer.as_mut().reset(at.into());
    }
}

impl Stream for TextStream {
    type Item = Result<String, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if !std::mem::replace(&mut self.awaited, true) {
            self.restart_timer();
        }
        std::task::ready!(self.poll_read(context));
        self.awaited = false;
        if !self.unread.is_empty() {
            let text = std::mem::take(&mut self.unread);
            self.text += &text;
            return Poll::Ready(Some(Ok(text)));
        }
        self.ended = true;
        // After the end nothing more is read, and the connection is given back or closed.
        self.body = Box::pin(Nothing);
        let error = self.end.as_ref().and_then(|end| end.as_ref().err().cloned());
        Poll::Ready(error.map(|error| Err(error.after(1, None))))
    }
}

/// A body of which nothing is left.
struct Nothing;

impl Stream for Nothing {
    type Item = reqwest::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

impl std::fmt::Debug for TextStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextStream").field("id", &self.id()).field("ended", &self.ended).finish_non_exhaustive()
    }
}

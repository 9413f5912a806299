//! Server-sent events, written and read.
//!
//! The decoder takes the bytes of a body in any pieces and gives back frames, comments included. It keeps to the format as
//! the HTML standard defines it: a byte-order mark is skipped, lines end in LF, CR or CRLF, several `data` lines are joined
//! by a newline, an event without data and one that the body's end cuts off are dropped. Every byte is looked at once,
//! however the body is cut; a line or an event above the limit is an error, not memory.

use serde::Serialize;

/// One event or comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An event.
    Event {
        /// Its name; `message` when the sender gave none.
        name: String,
        /// Its data.
        data: String,
    },
    /// A comment: a line that starts with a colon, without it and one space after it.
    Comment(String),
}

/// An event in the format of the wire.
///
/// # Panics
/// When `data` does not serialize; the types of this crate do.
pub fn event(name: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("wire types serialize");
    // JSON text holds no raw line break, so that one `data` line is enough.
    format!("event: {name}\ndata: {data}\n\n")
}

/// An event whose data is a text already.
pub fn text_event(name: &str, data: &str) -> String {
    let mut event = format!("event: {name}\n");
    data.split('\n').for_each(|line| event.extend(["data: ", line, "\n"]));
    event.push('\n');
    event
}

/// Data without a name, as OpenAI sends it. `data` holds no line break.
pub fn data(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// A comment in the format of the wire. `text` holds no line break.
pub fn comment(text: &str) -> String {
    format!(": {text}\n\n")
}

/// A line or an event was longer than the decoder takes. The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The limit in bytes.
    pub bytes_max: usize,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a server-sent event is longer than {} bytes", self.bytes_max)
    }
}

impl std::error::Error for TooLong {}

/// Turns the bytes of a body into [`Frame`]s.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the next line starts in `buffer`.
    start: usize,
    /// Up to where `buffer` is known to hold no end of line.
    scanned: usize,
    /// The last line ended in CR: a LF that follows belongs to it.
    after_cr: bool,
    at_beginning: bool,
    name: String,
    data: Option<String>,
    bytes_max: usize,
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

impl Default for Decoder {
    /// A decoder for events of at most 16 MiB.
    fn default() -> Self {
        Self::with_bytes_max(16 << 20)
    }
}

impl Decoder {
    /// A decoder for lines and events of at most `bytes_max` bytes.
    pub fn with_bytes_max(bytes_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            after_cr: false,
            at_beginning: true,
            name: String::new(),
            data: None,
            bytes_max,
        }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        // What was read is cut off here, once per push and not once per line.
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame that is complete, or `None` until more bytes are pushed.
    ///
    /// # Errors
    /// [`TooLong`], then and at every later call.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, TooLong> {
        while let Some(line) = self.next_line()? {
            let line = String::from_utf8_lossy(&self.buffer[line]).into_owned();
            if let Some(frame) = self.take_line(&line)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// The range of the next whole line, without its end.
    fn next_line(&mut self) -> Result<Option<std::ops::Range<usize>>, TooLong> {
        if self.at_beginning && !self.skip_byte_order_mark() {
            return Ok(None);
        }
        if self.after_cr && self.start < self.buffer.len() {
            self.after_cr = false;
            if self.buffer[self.start] == b'\n' {
                self.start += 1;
                self.scanned = self.start;
            }
        }
        let end = memchr::memchr2(b'\n', b'\r', &self.buffer[self.scanned..]).map(|found| self.scanned + found);
        if end.unwrap_or(self.buffer.len()) - self.start > self.bytes_max {
            return Err(TooLong { bytes_max: self.bytes_max });
        }
        let Some(end) = end else {
            self.scanned = self.buffer.len();
            return Ok(None);
        };
        let line = self.start..end;
        self.after_cr = self.buffer[end] == b'\r';
        self.start = end + 1;
        self.scanned = self.start;
        Ok(Some(line))
    }

    /// Whether the beginning of the body is known well enough to read on.
    fn skip_byte_order_mark(&mut self) -> bool {
        if self.buffer.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&self.buffer) {
            return false;
        }
        if self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.start = BYTE_ORDER_MARK.len();
            self.scanned = self.start;
        }
        self.at_beginning = false;
        true
    }

    fn take_line(&mut self, line: &str) -> Result<Option<Frame>, TooLong> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let name = if name.is_empty() { "message".to_owned() } else { name };
            return Ok(self.data.take().map(|data| Frame::Event { name, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Ok(Some(Frame::Comment(value.to_owned()))),
            "event" => value.clone_into(&mut self.name),
            "data" => self.append_data(value)?,
            _ => {} // `id` and `retry` serve reconnection, which this contract does not use; the rest is unknown.
        }
        Ok(None)
    }

    fn append_data(&mut self, value: &str) -> Result<(), TooLong> {
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) if data.len() + value.len() >= self.bytes_max => {
                return Err(TooLong { bytes_max: self.bytes_max });
            }
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
        }
        Ok(())
    }
}

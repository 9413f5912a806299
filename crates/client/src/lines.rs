//! The lines of a body, in whatever pieces it comes. Every byte is looked at once, and a line above the limit is an error, not memory.

use crate::{Error, ErrorKind};

/// The longest line: as the longest event of a stream.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Takes the bytes of a body, and gives back whole lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Where the next line starts in `buffer`.
    start: usize,
    /// Up to where `buffer` is known to hold no end of line.
    scanned: usize,
}

impl Lines {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line without its end; `None` until more is pushed.
    pub(crate) fn next_line(&mut self) -> Result<Option<&[u8]>, Error> {
        let end = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n').map(|found| self.scanned + found);
        self.scanned = end.unwrap_or(self.buffer.len());
        if self.scanned - self.start > LINE_BYTES_MAX {
            let message = format!("a line of the answer is longer than {LINE_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::UnexpectedResponse, message));
        }
        let Some(end) = end else { return Ok(None) };
        let line = self.start..end;
        self.start = end + 1;
        self.scanned = self.start;
        Ok(Some(&self.buffer[line]))
    }

    /// Whether the last line has come whole.
    pub(crate) fn is_at_an_end(&self) -> bool {
        self.start == self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().expect("short lines") {
            all.push(String::from_utf8(line.to_vec()).expect("text"));
        }
        all
    }

    #[test]
    fn lines_are_the_same_however_the_body_is_cut() {
        let body = "one\n\nthrée\nfour".as_bytes();
        for cut in 1..body.len() {
            let (mut lines, mut read) = (Lines::default(), Vec::new());
            for piece in body.chunks(cut) {
                lines.push(piece);
                read.extend(all(&mut lines));
            }
            assert_eq!(read, ["one", "", "thrée"], "in pieces of {cut}");
            assert!(!lines.is_at_an_end());
            lines.push(b"\n");
            assert_eq!((all(&mut lines), lines.is_at_an_end()), (vec!["four".to_owned()], true));
        }
    }

    #[test]
    fn a_line_without_end_is_an_error_at_its_limit() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; LINE_BYTES_MAX / 2];
        for _ in 0..2 {
            lines.push(&piece);
            assert_eq!(lines.next_line().expect("not too long yet"), None);
        }
        lines.push(b"x");
        lines.next_line().expect_err("too long");
    }
}

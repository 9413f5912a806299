//! From the bytes of tokens to text that may be shown: whole characters only, and nothing of a stop sequence.

/// Puts an answer together.
pub(super) struct Text {
    /// The beginning of a character whose other bytes are still to come.
    incomplete: Vec<u8>,
    /// Text that may turn out to be the beginning of a stop sequence.
    held_back: String,
    stop_sequences: Vec<String>,
}

/// What a token added.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Text that may be shown; may be empty.
    pub(super) text: String,
    /// The stop sequence that is complete: the answer ends here.
    pub(super) stopped: Option<String>,
}

impl Text {
    pub(super) fn new(stop_sequences: Vec<String>) -> Self {
        Self { incomplete: Vec::new(), held_back: String::new(), stop_sequences }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Piece {
        self.incomplete.extend_from_slice(bytes);
        self.take_whole_characters();
        let stops = self.stop_sequences.iter().filter_map(|stop| Some((self.held_back.find(stop.as_str())?, stop)));
        if let Some((at, stop)) = stops.min_by_key(|(at, _)| *at) {
            let stopped = Some(stop.clone());
            self.held_back.truncate(at);
            return Piece { text: std::mem::take(&mut self.held_back), stopped };
        }
        let shown = self.held_back.len() - self.stop_beginning();
        let rest = self.held_back.split_off(shown);
        Piece { text: std::mem::replace(&mut self.held_back, rest), stopped: None }
    }

    /// What is left when the answer ends without a stop sequence.
    pub(super) fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held_back);
        text += &String::from_utf8_lossy(&std::mem::take(&mut self.incomplete));
        text
    }

    fn take_whole_characters(&mut self) {
        let mut bytes = self.incomplete.as_slice();
        loop {
            match std::str::from_utf8(bytes) {
                Ok(text) => {
                    self.held_back += text;
                    bytes = &[];
                }
                Err(error) => {
                    let (valid, rest) = bytes.split_at(error.valid_up_to());
                    self.held_back += std::str::from_utf8(valid).expect("valid up to here");
                    bytes = rest;
                    if let Some(broken) = error.error_len() {
                        self.held_back.push(char::REPLACEMENT_CHARACTER);
                        bytes = &bytes[broken..];
                        continue;
                    }
                }
            }
            break;
        }
        self.incomplete = bytes.to_vec();
    }

    /// Bytes at the end of the text that a stop sequence may begin with.
    fn stop_beginning(&self) -> usize {
        let longest = |stop: &String| {
            let cuts = stop.char_indices().map(|(at, _)| at).rev();
            cuts.into_iter().find(|&at| self.held_back.ends_with(&stop[..at])).unwrap_or(0)
        };
        self.stop_sequences.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
        let mut text = Text::new(stops.iter().map(ToString::to_string).collect());
        let mut all = Vec::new();
        for piece in pieces {
            let piece = text.push(piece);
            all.push(piece.text);
            if piece.stopped.is_some() {
                return (all, piece.stopped);
            }
        }
        all.push(text.finish());
        (all, None)
    }

    #[test]
    fn a_character_is_shown_when_its_last_byte_has_come() {
        let (all, _) = shown(&[], &[b"a\xF0\x9F", b"\x98", b"\x80b"]);
        assert_eq!(all, ["a", "", "\u{1F600}b", ""]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_do_not_hold_up_what_follows() {
        let (all, _) = shown(&[], &[b"a\xFFb", b"\xC3"]);
        assert_eq!(all, ["a\u{FFFD}b", "", "\u{FFFD}"]);
    }

    #[test]
    fn nothing_of_a_stop_sequence_is_shown_however_it_is_cut() {
        let (all, stopped) = shown(&["END", "\n\n"], &[b"one E", b"N", b"D two"]);
        assert_eq!((all.concat().as_str(), stopped.as_deref()), ("one ", Some("END")));
    }

    #[test]
    fn what_only_looked_like_a_stop_sequence_is_shown_in_the_end() {
        let (all, stopped) = shown(&["END"], &[b"an E", b"N", b"E"]);
        assert_eq!(all, ["an ", "", "EN", "E"]);
        assert_eq!(stopped, None);
    }

    #[test]
    fn the_stop_sequence_that_comes_first_counts() {
        assert_eq!(shown(&["c", "b"], &[b"abc"]), (vec!["a".to_owned()], Some("b".to_owned())));
    }
}

//! The pass over a prompt's characters.

use super::{
    BUCKET_BITS, Features, WORD_BITS, hash,
    tally::Tally,
    words::{self, Sign},
};

/// Digits of a word that tell it from others; what follows them does not.
const WORD_DIGITS_MAX: u32 = 4;

pub(super) struct Scan {
    tally: Tally,
    word: Word,
    number: Option<Number>,
    /// The hash of the word before.
    previous: Option<u64>,
    /// A line, and a sentence, has begun.
    line_open: bool,
    sentence_open: bool,
    depth: u32,
    /// Buckets that were met.
    met: [u64; 1 << (BUCKET_BITS - 6)],
    buckets: Vec<u16>,
    words: Vec<u32>,
}

/// The word that is being read; without characters between words.
#[derive(Default)]
pub(super) struct Word {
    hash: u64,
    /// Of the word before, a blank and this one.
    pair: Option<u64>,
    pub(super) chars: u32,
    pub(super) digits: u32,
    pub(super) upper: u32,
    pub(super) non_ascii: u32,
}

/// The number that is being read.
struct Number {
    value: f64,
    fraction: bool,
}

impl Scan {
    pub(super) fn new(prompt: &str) -> Self {
        let words = prompt.len().min(4_000) / 4;
        Self {
            tally: Tally::default(),
            word: Word::default(),
            number: None,
            previous: None,
            line_open: false,
            sentence_open: false,
            depth: 0,
            met: [0; 1 << (BUCKET_BITS - 6)],
            buckets: Vec::with_capacity(2 * words),
            words: Vec::with_capacity(words),
        }
    }

    /// Reads a part of the prompt. Words, numbers and lines end with it.
    pub(super) fn read(&mut self, part: &str) {
        let bytes = part.as_bytes();
        for (at, character) in part.char_indices() {
            let rest = &bytes[at..];
            if self.number.is_some() && !self.number_goes_on(rest) {
                self.end_number();
            }
            if !self.line_open && !character.is_whitespace() {
                self.tally.options += u32::from(is_option(rest));
                self.line_open = true;
            }
            if character.is_ascii_alphanumeric() {
                self.ascii(character as u8);
            } else if !character.is_ascii() && character.is_alphanumeric() {
                self.letter(character);
            } else {
                self.end_word();
                self.mark(character, rest);
            }
        }
        self.end_word();
        self.end_number();
        self.end_line();
        self.previous = None;
    }

    #[inline]
    fn ascii(&mut self, byte: u8) {
        self.begin_word();
        if byte.is_ascii_digit() {
            self.digit(byte);
        } else {
            self.word.upper += u32::from(byte.is_ascii_uppercase());
            self.word.add(byte.to_ascii_lowercase());
        }
        self.word.chars += 1;
    }

    /// A letter or a digit outside of ASCII.
    fn letter(&mut self, character: char) {
        self.begin_word();
        self.word.upper += u32::from(character.is_uppercase());
        self.word.non_ascii += 1;
        self.word.chars += 1;
        for lower in character.to_lowercase() {
            let mut bytes = [0; 4];
            lower.encode_utf8(&mut bytes).bytes().for_each(|byte| self.word.add(byte));
        }
    }

    #[inline]
    fn begin_word(&mut self) {
        if self.word.chars == 0 {
            let pair = self.previous.map(|previous| hash::step(previous, b' '));
            self.word = Word { hash: hash::START, pair, ..Word::default() };
        }
    }

    fn digit(&mut self, byte: u8) {
        let word = &mut self.word;
        if word.digits < WORD_DIGITS_MAX {
            // Which digit it is says little; how many there are says more.
            word.add(b'0');
        }
        // A number begins where a word does: that in `x2` is none.
        if self.number.is_none() && word.chars == 0 {
            self.number = Some(Number { value: 0.0, fraction: false });
            self.tally.numbers += 1;
        }
        word.digits += 1;
        if let Some(number) = &mut self.number
            && !number.fraction
            && number.value < 1e15
        {
            number.value = number.value * 10.0 + f64::from(byte - b'0');
        }
    }

    /// Whether the number goes on with these bytes: with a digit, or with a separator and as many digits as it takes.
    fn number_goes_on(&mut self, rest: &[u8]) -> bool {
        let digits = |bytes: &[u8]| bytes.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
        match rest[0] {
            b'0'..=b'9' => true,
            b',' => digits(&rest[1..]) == 3,
            b'.' if digits(&rest[1..]) > 0 => {
                self.number.iter_mut().for_each(|number| number.fraction = true);
                true
            }
            _ => false,
        }
    }

    fn end_number(&mut self) {
        if let Some(number) = self.number.take() {
            self.tally.largest = self.tally.largest.max(number.value);
        }
    }

    #[inline]
    fn end_word(&mut self) {
        if self.word.chars == 0 {
            return;
        }
        let word = std::mem::take(&mut self.word);
        let sign = words::sign(word.hash);
        if sign == Some(Sign::Courtesy) {
            return;
        }
        self.tally.count(&word, sign);
        self.sentence_open = true;
        self.previous = Some(word.hash);
        if self.meet(word.hash) {
            self.tally.distinct_words += 1;
            if word.digits < word.chars {
                self.words.push(hash::fold(word.hash, WORD_BITS));
            }
        }
        if let Some(pair) = word.pair {
            self.meet(pair);
        }
    }

    /// Whether this bucket is met for the first time.
    #[inline]
    fn meet(&mut self, hash: u64) -> bool {
        let bucket = hash::fold(hash, BUCKET_BITS) as u16;
        let (at, bit) = (usize::from(bucket >> 6), 1 << (bucket & 63));
        let new = self.met[at] & bit == 0;
        if new {
            self.met[at] |= bit;
            self.buckets.push(bucket);
        }
        new
    }

    /// Anything that is no part of a word.
    #[inline]
    fn mark(&mut self, character: char, rest: &[u8]) {
        if character == '\n' {
            self.end_line();
        }
        if character.is_whitespace() {
            return;
        }
        let tally = &mut self.tally;
        tally.chars += 1;
        tally.punctuation += u32::from(character.is_ascii_punctuation());
        tally.non_ascii += u32::from(!character.is_ascii());
        match character {
            '(' | '[' | '{' => {
                self.depth += 1;
                tally.depth = tally.depth.max(self.depth);
            }
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            ',' | '，' | '、' => tally.commas += 1,
            '?' | '？' => tally.questions += 1,
            '=' | '+' | '*' | '^' | '<' | '>' | '\\' | '$' | '%' | '≤' | '≥' | '±' | '×' | '÷' | '√' | '∑' | '∫'
            | '∞' => {
                tally.maths += 1;
            }
            _ => {}
        }
        tally.code += u32::from(matches!(character, '{' | '}' | ';' | '_' | '`' | '#'));
        let ends = matches!(character, '?' | '!' | '？' | '！' | '。')
            || character == '.' && rest.get(1).is_none_or(u8::is_ascii_whitespace);
        if ends {
            self.end_sentence();
        }
    }

    fn end_sentence(&mut self) {
        self.tally.sentences += u32::from(self.sentence_open);
        self.sentence_open = false;
    }

    fn end_line(&mut self) {
        self.tally.lines += u32::from(self.line_open);
        self.line_open = false;
        self.end_sentence();
    }

    pub(super) fn finish(self) -> Features {
        Features { counts: self.tally.counts(), buckets: self.buckets, words: self.words }
    }
}

impl Word {
    #[inline]
    fn add(&mut self, byte: u8) {
        self.hash = hash::step(self.hash, byte);
        self.pair = self.pair.map(|pair| hash::step(pair, byte));
    }
}

/// Whether a line that begins so is an option to choose: `A. `, `B) `, `(C) `.
fn is_option(line: &[u8]) -> bool {
    let letter = usize::from(line[0] == b'(');
    let after = |at: usize| line.get(letter + at).copied().unwrap_or(b' ');
    after(0).is_ascii_alphabetic() && matches!(after(1), b'.' | b')' | b':') && after(2).is_ascii_whitespace()
}

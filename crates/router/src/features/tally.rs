//! What the pass has counted, and the counts that are made of it.

use super::{COUNTS, count::Count, scan::Word, words::Sign};

const LONG_WORD_CHARS: u32 = 9;

/// What was counted until now.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) chars: u32,
    pub(super) words: u32,
    pub(super) word_chars: u32,
    pub(super) long_words: u32,
    pub(super) distinct_words: u32,
    pub(super) lines: u32,
    pub(super) sentences: u32,
    pub(super) digits: u32,
    pub(super) numbers: u32,
    pub(super) largest: f64,
    pub(super) maths: u32,
    pub(super) code: u32,
    pub(super) options: u32,
    pub(super) questions: u32,
    pub(super) upper: u32,
    pub(super) non_ascii: u32,
    pub(super) punctuation: u32,
    pub(super) depth: u32,
    pub(super) commas: u32,
    pub(super) negations: u32,
    pub(super) quantifiers: u32,
    pub(super) easy: u32,
    pub(super) hard: u32,
    pub(super) proofs: u32,
}

impl Tally {
    /// Adds a word.
    pub(super) fn count(&mut self, word: &Word, sign: Option<Sign>) {
        self.words += 1;
        self.chars += word.chars;
        self.word_chars += word.chars;
        self.digits += word.digits;
        // A letter alone is a name or an option, and one at the beginning belongs to a sentence.
        self.upper += u32::from(word.chars > 1 && word.upper == word.chars);
        self.non_ascii += word.non_ascii;
        self.long_words += u32::from(word.chars >= LONG_WORD_CHARS);
        match sign {
            Some(Sign::Negation) => self.negations += 1,
            Some(Sign::Quantifier) => self.quantifiers += 1,
            Some(Sign::Easy) => self.easy += 1,
            Some(Sign::Hard) => self.hard += 1,
            Some(Sign::Proof) => self.proofs += 1,
            Some(Sign::Code) => self.code += 1,
            Some(Sign::Courtesy) | None => {}
        }
    }

    pub(super) fn counts(&self) -> [f32; COUNTS] {
        let share = |part: u32, whole: u32| part as f32 / whole.max(1) as f32;
        let log = |count: u32| libm::log1pf(count as f32);
        let mut counts = [0.0; COUNTS];
        for (count, value) in [
            (Count::Chars, log(self.chars)),
            (Count::Words, log(self.words)),
            (Count::Lines, log(self.lines)),
            (Count::WordLength, share(self.word_chars, self.words)),
            (Count::Variety, share(self.distinct_words, self.words)),
            (Count::Digits, share(self.digits, self.chars)),
            (Count::Numbers, log(self.numbers)),
            (Count::LargestNumber, libm::log10(1.0 + self.largest) as f32),
            (Count::Maths, log(self.maths)),
            (Count::Code, log(self.code)),
            (Count::Options, self.options as f32),
            (Count::Questions, log(self.questions)),
            (Count::Upper, capitals(share(self.upper, self.words))),
            (Count::NonAscii, share(self.non_ascii, self.chars)),
            (Count::Punctuation, share(self.punctuation, self.chars)),
            (Count::Depth, log(self.depth)),
            (Count::SentenceLength, libm::log1pf(share(self.words, self.sentences))),
            (Count::LongWords, share(self.long_words, self.words)),
            (Count::Commas, share(self.commas, self.words)),
            (Count::Negations, log(self.negations)),
            (Count::Quantifiers, log(self.quantifiers)),
            (Count::EasyTasks, log(self.easy)),
            (Count::HardTasks, log(self.hard)),
            (Count::Proofs, log(self.proofs)),
        ] {
            counts[count as usize] = value;
        }
        counts
    }
}

/// Where nearly all is in capitals they say nothing.
fn capitals(share: f32) -> f32 {
    if share > 0.7 { 0.0 } else { share }
}

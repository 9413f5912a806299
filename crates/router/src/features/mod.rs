//! What is counted in a prompt, and its words as hashes: one pass over its characters, in a time that only their number decides.
//!
//! Courtesy, blank lines and case change little: words are compared in lower case, blanks count once, `please` not at all.

mod count;
pub(crate) mod hash;
mod scan;
mod tally;
mod words;

pub(crate) use count::COUNTS;
pub(crate) use count::{REASONS, WORDS};

/// Bits of a bucket of n-grams, and of the words that training has seen.
pub(crate) const BUCKET_BITS: u32 = 16;
pub(crate) const WORD_BITS: u32 = 17;

/// A prompt, as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Features {
    /// In the order of `count::Count`. Finite.
    pub(crate) counts: [f32; COUNTS],
    /// Of its words and pairs of words, each once, in the order they came.
    pub(crate) buckets: Vec<u16>,
    /// Its words that have letters, each once.
    pub(crate) words: Vec<u32>,
}

impl Features {
    pub(crate) fn of(prompt: &str) -> Self {
        let mut scan = scan::Scan::new(prompt);
        for part in crate::text::parts(prompt) {
            scan.read(part);
        }
        scan.finish()
    }

    /// What each of its buckets weighs, so that all together have length 1.
    pub(crate) fn gram(&self) -> f32 {
        1.0 / (self.buckets.len().max(1) as f32).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{count::Count, *};

    fn count(prompt: &str, count: Count) -> f32 {
        Features::of(prompt).counts[count as usize]
    }

    #[test]
    fn each_count_counts_what_it_is_called() {
        let ln = |count: f32| libm::log1pf(count);
        for (prompt, of, expected) in [
            ("one two three", Count::Words, ln(3.0)),
            ("a b\n\n\nc\n", Count::Lines, ln(2.0)),
            ("abcd ef", Count::WordLength, 3.0),
            ("a a a b", Count::Variety, 0.5),
            ("12 b4", Count::Digits, 0.75),
            ("1,000 and 2.5", Count::Numbers, ln(2.0)),
            ("7 and 1,000", Count::LargestNumber, 3.000_434),
            ("x = y + z", Count::Maths, ln(2.0)),
            ("def f(x): return {x: 1};", Count::Code, ln(5.0)),
            ("Which?\nA. one\nB) two\n(C) three", Count::Options, 3.0),
            ("What? Why?", Count::Questions, ln(2.0)),
            ("The DNA of A", Count::Upper, 0.25),
            ("aéaé", Count::NonAscii, 0.5),
            ("a.b!", Count::Punctuation, 0.5),
            ("((a)[b])", Count::Depth, ln(2.0)),
            ("One two. Three four.", Count::SentenceLength, ln(2.0)),
            ("extraordinary cat", Count::LongWords, 0.5),
            ("a, b", Count::Commas, 0.5),
            ("It is not so", Count::Negations, ln(1.0)),
            ("for all of them", Count::Quantifiers, ln(1.0)),
            ("List three colours", Count::EasyTasks, ln(1.0)),
            ("ANALYZE it", Count::HardTasks, ln(1.0)),
            ("Prove the lemma", Count::Proofs, ln(2.0)),
        ] {
            let found = count(prompt, of);
            assert!((found - expected).abs() < 1e-4, "{of:?} of {prompt:?} is {found}, not {expected}");
        }
    }

    #[test]
    fn courtesy_case_and_blank_lines_change_no_word() {
        let plain = Features::of("Find the largest prime below 100.\nSay why.");
        for variant in [
            "please find THE largest prime below 100.\n\n\nsay why.",
            "Please, find the  largest prime below 100.\nSay why. Thanks",
        ] {
            assert_eq!(Features::of(variant).buckets, plain.buckets, "{variant}");
        }
    }

    #[test]
    fn a_word_and_a_pair_have_a_bucket_each_and_repeating_them_adds_none() {
        assert_eq!(Features::of("red green").buckets.len(), 3);
        assert_eq!(Features::of("red green red green red green").buckets.len(), 4);
        assert_ne!(Features::of("red green").buckets, Features::of("green red").buckets);
    }

    proptest! {
        #[test]
        fn any_text_has_finite_counts(prompt in any::<String>()) {
            let features = Features::of(&prompt);
            prop_assert!(features.counts.iter().all(|count| count.is_finite()), "{:?}", features.counts);
        }
    }
}

//! Words that mean something by themselves, found by their hash.

use super::hash;

/// What a word is a sign of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Courtesy changes no task: such a word is not read at all.
    Courtesy,
    Negation,
    Quantifier,
    /// Tasks that mostly repeat what is known or given.
    Easy,
    /// Tasks that take reasoning.
    Hard,
    Proof,
    Code,
}

const LISTS: [(Sign, &[&str]); 7] = [
    (Sign::Courtesy, &["please", "kindly", "thanks", "thank", "hello", "hi"]),
    (
        Sign::Negation,
        &[
            "not",
            "no",
            "never",
            "neither",
            "nor",
            "none",
            "nothing",
            "without",
            "cannot",
            "except",
            "false",
            "incorrect",
            "isn",
            "doesn",
            "don",
            "didn",
            "won",
            "wouldn",
            "shouldn",
            "aren",
            "wasn",
            "least",
            "unless",
            "unlike",
        ],
    ),
    (
        Sign::Quantifier,
        &[
            "all", "every", "each", "any", "some", "exactly", "only", "most", "both", "either", "always", "must", "at",
            "distinct", "possible", "many", "few", "largest", "smallest", "maximum", "minimum", "total", "sum",
            "whole",
        ],
    ),
    (
        Sign::Easy,
        &[
            "list",
            "name",
            "define",
            "translate",
            "summarize",
            "summarise",
            "summary",
            "format",
            "convert",
            "extract",
            "classify",
            "rewrite",
            "count",
            "spell",
            "correct",
            "say",
            "who",
            "when",
            "where",
        ],
    ),
    (
        Sign::Hard,
        &[
            "analyze",
            "analyse",
            "design",
            "implement",
            "optimize",
            "optimise",
            "evaluate",
            "compare",
            "determine",
            "compute",
            "calculate",
            "solve",
            "find",
            "debug",
            "refactor",
            "architect",
            "construct",
            "estimate",
            "plan",
            "deduce",
            "infer",
            "simplify",
            "integrate",
            "minimize",
            "maximize",
        ],
    ),
    (
        Sign::Proof,
        &[
            "prove",
            "proof",
            "theorem",
            "lemma",
            "derive",
            "derivation",
            "show",
            "suppose",
            "assume",
            "let",
            "iff",
            "satisfies",
        ],
    ),
    (
        Sign::Code,
        &[
            "def",
            "return",
            "import",
            "class",
            "function",
            "const",
            "var",
            "fn",
            "int",
            "void",
            "public",
            "static",
            "self",
            "assert",
            "print",
            "elif",
            "else",
            "python",
            "javascript",
            "java",
            "rust",
            "sql",
            "select",
            "html",
            "css",
            "api",
            "json",
            "append",
            "str",
            "len",
            "null",
            "async",
            "struct",
            "lambda",
        ],
    ),
];

const SLOTS: usize = 512;
/// The words by their hash, with open addressing, made by the compiler: one look-up is a few nanoseconds.
static TABLE: [Option<(u64, Sign)>; SLOTS] = table();

const fn table() -> [Option<(u64, Sign)>; SLOTS] {
    let mut table = [None; SLOTS];
    let mut list = 0;
    while list < LISTS.len() {
        let (sign, words) = LISTS[list];
        let mut at = 0;
        while at < words.len() {
            let hash = hash::of(words[at].as_bytes());
            let mut slot = hash as usize % SLOTS;
            while table[slot].is_some() {
                slot = (slot + 1) % SLOTS;
            }
            table[slot] = Some((hash, sign));
            at += 1;
        }
        list += 1;
    }
    table
}

/// The sign of the word with this hash.
pub(crate) fn sign(hash: u64) -> Option<Sign> {
    let mut slot = hash as usize % SLOTS;
    while let Some((known, sign)) = TABLE[slot] {
        if known == hash {
            return Some(sign);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_word_has_the_sign_of_its_list_and_no_word_is_in_two() {
        let mut listed = 0;
        for (expected, words) in LISTS {
            for word in words {
                assert_eq!(sign(hash::of(word.as_bytes())), Some(expected), "{word}");
                listed += 1;
            }
        }
        assert!(listed < SLOTS / 2, "{listed} words make long ways through the table");
        assert_eq!(sign(hash::of(b"ordinary")), None);
    }
}

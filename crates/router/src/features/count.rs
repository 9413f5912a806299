//! The counts that are made of a prompt, and how each is told.

/// How many counts there are.
pub(crate) const COUNTS: usize = 24;

/// One count by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Count {
    Chars,
    Words,
    Lines,
    WordLength,
    Variety,
    Digits,
    Numbers,
    LargestNumber,
    Maths,
    Code,
    Options,
    Questions,
    Upper,
    NonAscii,
    Punctuation,
    Depth,
    SentenceLength,
    LongWords,
    Commas,
    Negations,
    Quantifiers,
    EasyTasks,
    HardTasks,
    Proofs,
}

/// What is said of a count that stands out: high and harder, high and easier, low and harder, low and easier.
pub(crate) type Reasons = [&'static str; 4];

macro_rules! reasons {
    ($high:literal, $low:literal) => {
        [concat!("harder: ", $high), concat!("easier: ", $high), concat!("harder: ", $low), concat!("easier: ", $low)]
    };
}

/// In the order of [`Count`].
pub(crate) const REASONS: [Reasons; COUNTS] = [
    reasons!("long", "short"),
    reasons!("many words", "few words"),
    reasons!("many lines", "few lines"),
    reasons!("long words on average", "short words on average"),
    reasons!("words rarely repeat", "words often repeat"),
    reasons!("many digits", "few digits"),
    reasons!("many numbers", "few numbers"),
    reasons!("a large number", "no large number"),
    reasons!("much mathematical notation", "no mathematical notation"),
    reasons!("looks like code", "does not look like code"),
    reasons!("many options to choose from", "no options to choose from"),
    reasons!("several questions", "no question mark"),
    reasons!("words in capitals", "no word in capitals"),
    reasons!("many characters outside of ASCII", "plain ASCII"),
    reasons!("much punctuation", "little punctuation"),
    reasons!("deep brackets", "no brackets"),
    reasons!("long sentences", "short sentences"),
    reasons!("many long words", "few long words"),
    reasons!("many commas", "few commas"),
    reasons!("negations", "no negation"),
    reasons!("words such as all, each, exactly", "no words such as all, each, exactly"),
    reasons!("a list, a definition or the like is asked for", "no list or definition is asked for"),
    reasons!("a computation, an analysis or the like is asked for", "no computation or analysis is asked for"),
    reasons!("a proof or a derivation is asked for", "no proof is asked for"),
];

/// What is said of the n-grams: harder, easier.
pub(crate) const WORDS: [&str; 2] = ["harder: words seen in hard prompts", "easier: words seen in easy prompts"];

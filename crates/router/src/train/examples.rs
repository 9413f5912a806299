//! Rows of a folder as training sees them.

use super::sizes::{Size, size};
use crate::{
    Tier,
    data::{Folder, Row, Source},
    features::{Features, hash},
};

/// The models whose marks and answers give the levels of the tiers, by the beginning of their names.
///
/// Claude 3 is the one generation that the data has in all three tiers. Levels of two generations in one would say that the newer
/// sonnet is better than the older opus, and that no prompt is worth opus; the marks of Claude 3.5 help to rank prompts instead.
pub(crate) const CLAUDE: [&str; 3] = ["claude-3-haiku", "claude-3-sonnet", "claude-3-opus"];

/// A prompt that Claude has answered weighs as much as so many others, and its own mark is this part of the target, whatever the others
/// say: it alone is of the model that will answer. Both by cross-validation.
const CLAUDE_WEIGHT: f64 = 4.0;
const CLAUDE_SHARE: f64 = 0.6;

/// The share of some models that was right; weightless where none was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Target {
    pub(crate) share: f64,
    pub(crate) weight: f64,
}

/// One prompt.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) features: Features,
    /// The hash of its group, which folds are made of.
    pub(crate) group: u64,
    /// The hash of its id.
    pub(crate) id: u64,
    /// Of small models and of large ones.
    pub(crate) targets: [Target; 2],
    /// Whether each tier was right.
    pub(crate) right: [Option<bool>; 3],
    pub(crate) input_tokens: f64,
    /// Of each tier's answer.
    pub(crate) output_tokens: [Option<f64>; 3],
}

impl Example {
    /// In which of so many folds it is, with its whole group.
    pub(crate) fn fold(&self, folds: u64) -> u64 {
        (self.group >> 20) % folds
    }
}

/// The rows of a folder in its order. Opinions of authors are no outcomes, and left out.
pub(crate) fn examples(folder: &Folder) -> Vec<Vec<Example>> {
    folder.sources.iter().map(|source| source.rows.iter().map(|row| example(source, row)).collect()).collect()
}

fn example(source: &Source, row: &Row) -> Example {
    let hash = |text: &str| hash::of(text.as_bytes());
    let right = Tier::ALL.map(|tier| claude_mark(source, row, CLAUDE[tier as usize]));
    Example {
        features: Features::of(&row.prompt),
        group: hash(&row.group),
        id: hash(&row.id),
        targets: [target(source, row, Size::Small, right[0]), target(source, row, Size::Large, right[2])],
        right,
        input_tokens: row.input_tokens.unwrap_or_else(|| tokens(&row.prompt)),
        output_tokens: CLAUDE.map(|model| answer_tokens(row, model)),
    }
}

/// Tokens of a text, about.
pub(crate) fn tokens(text: &str) -> f64 {
    (text.len() as f64 / 4.0).max(1.0)
}

/// The share of models of this size that was right; `None` where none was asked.
pub(crate) fn share(source: &Source, row: &Row, of: Size) -> Option<f64> {
    let marks = source.models.iter().zip(&row.marks).filter(|(model, _)| size(model) == of);
    let marks: Vec<bool> = marks.filter_map(|(_, mark)| *mark).collect();
    let right = marks.iter().filter(|mark| **mark).count();
    (!marks.is_empty()).then(|| right as f64 / marks.len() as f64)
}

fn target(source: &Source, row: &Row, of: Size, claude: Option<bool>) -> Target {
    match (share(source, row, of), claude) {
        (None, _) => Target::default(),
        (Some(share), None) => Target { share, weight: 1.0 },
        (Some(share), Some(right)) => {
            let own = f64::from(u8::from(right));
            Target { share: CLAUDE_SHARE * own + (1.0 - CLAUDE_SHARE) * share, weight: CLAUDE_WEIGHT }
        }
    }
}

/// The mark of the newest model whose name begins so.
pub(crate) fn claude_mark(source: &Source, row: &Row, model: &str) -> Option<bool> {
    let of_model = source.models.iter().zip(&row.marks).filter(|(name, _)| name.starts_with(model));
    of_model.max_by(|(a, _), (b, _)| a.cmp(b)).and_then(|(_, mark)| *mark)
}

fn answer_tokens(row: &Row, model: &str) -> Option<f64> {
    let of_model = row.output_tokens.iter().rfind(|(name, _)| name.starts_with(model));
    of_model.map(|(_, tokens)| tokens.max(1.0))
}

//! Why a prompt is taken for hard or easy, in words of our own: the reasons go to logs, and no prompt does.

use crate::{
    features::{COUNTS, REASONS, WORDS},
    model::{Valued, Weight},
    trust::Doubt,
};

const REASONS_MAX: usize = 3;
/// A part that moves the logits by less than this says nothing.
const WEIGHT_MIN: f64 = 0.1;

/// The parts that have moved the logits of both heads most, and before them what makes the prediction doubtful.
pub(crate) fn strongest(weight: &Weight, valued: &Valued, doubt: &Doubt, kind: f64) -> Vec<&'static str> {
    let mut parts: Vec<(f64, &'static str)> = (0..COUNTS).map(|count| of_count(count, weight, valued)).collect();
    parts.push((weight.grams, WORDS[usize::from(weight.grams > 0.0)]));
    parts.retain(|(by, _)| by.abs() >= WEIGHT_MIN);
    parts.sort_by(|(a, _), (b, _)| b.abs().total_cmp(&a.abs()));
    let doubts = [
        (kind < 0.5).then_some("unsure: not of the kind of prompts that there are outcomes of"),
        (doubt.familiar < 0.5).then_some("unsure: few of its words were seen in training"),
        (doubt.trust < 0.5 * doubt.familiar).then_some("unsure: much of the request is not in the prompt's words"),
    ];
    doubts.into_iter().flatten().chain(parts.into_iter().map(|(_, reason)| reason)).take(REASONS_MAX).collect()
}

fn of_count(count: usize, weight: &Weight, valued: &Valued) -> (f64, &'static str) {
    let by = weight.counts[count];
    let low = usize::from(valued.0[count][0] < 0.0);
    (by, REASONS[count][2 * low + usize::from(by > 0.0)])
}

//! Training: a folder of prompts with outcomes in, a router out; the same folder makes the same file, on every platform.

mod boost;
pub(crate) mod calibration;
pub(crate) mod examples;
mod length;
mod linear;
pub(crate) mod sizes;

use calibration::Outcome;
pub(crate) use examples::{Example, examples};
use linear::Sample;

use crate::{
    Router, RouterError,
    data::Folder,
    features::COUNTS,
    model::{Head, KNOTS, KNOWN, Kind, Model, Reference, TERMS, TOKENS_MAX, Terms, Valued, Weight},
};

/// Into how many parts the prompts are cut so that the heads judge what they have not seen.
const FOLDS: u64 = 4;
/// How many of these prompts go into the file.
const REFERENCE_ROWS: usize = 300;
/// A word is known when so many prompts have it: fewer may be names, and mistakes.
const KNOWN_PROMPTS_MIN: u8 = 3;
const OUTCOMES_MIN: usize = 100;
const TREES: usize = 120;
const KIND_TREES: usize = 60;
/// Prompts without outcomes that tell the kind.
const OTHERS_MIN: usize = 100;
/// A logit beyond doubt.
const CERTAIN: f32 = 10.0;

/// Trains on everything that the folder has.
///
/// # Errors
/// [`RouterError::TooLittle`] where it has too few prompts that Claude's tiers have answered.
pub fn train(folder: &Folder) -> Result<Router, RouterError> {
    let examples = examples(folder);
    let examples: Vec<&Example> = examples.iter().flatten().collect();
    Ok(Router::of(fit(&examples)?))
}

pub(crate) fn fit(examples: &[&Example]) -> Result<Model, RouterError> {
    for (tier, models) in examples::CLAUDE.iter().enumerate() {
        let outcomes = examples.iter().filter(|example| example.right[tier].is_some()).count();
        if outcomes < OUTCOMES_MIN {
            return Err(RouterError::TooLittle(format!(
                "{outcomes} outcomes of {models}, and training takes {OUTCOMES_MIN}"
            )));
        }
    }
    let marked: Vec<&Example> = examples.iter().copied().filter(|example| is_marked(example)).collect();
    if (0..FOLDS).any(|fold| is_empty_without(&marked, fold)) {
        return Err(RouterError::TooLittle(
            "prompts of too few groups: what is learned from some is tried on others".to_owned(),
        ));
    }
    let terms = terms(&marked);
    let valued: Vec<Valued> = marked.iter().map(|example| terms.value(&example.features.counts)).collect();
    let unseen = unseen_logits(&marked, &valued);
    let length = length(examples, &terms);
    let calibration = std::array::from_fn(|tier| {
        let outcomes: Vec<Outcome> = unseen
            .iter()
            .filter_map(|(example, logits)| example.right[tier].map(|right| Outcome { logits: *logits, right }))
            .collect();
        calibration::fit(&outcomes, calibration::PRIOR[tier], 2.0)
    });
    let reference = reference(&unseen, &terms, &length);
    let [small, large] = heads(&marked, &valued, |_| true);
    Ok(Model {
        small,
        large,
        calibration,
        known: known(&marked),
        kind: kind(examples, &terms),
        reference,
        terms,
        length,
    })
}

fn is_marked(example: &Example) -> bool {
    example.targets.iter().any(|target| target.weight > 0.0)
}

/// Whether a head would have nothing to learn from, but for this fold.
fn is_empty_without(examples: &[&Example], fold: u64) -> bool {
    let learns =
        |size: usize| examples.iter().any(|example| example.fold(FOLDS) != fold && example.targets[size].weight > 0.0);
    !(learns(0) && learns(1))
}

/// Both heads, from the examples that are wanted.
fn heads(examples: &[&Example], valued: &[Valued], wanted: impl Fn(&Example) -> bool) -> [Head; 2] {
    [0, 1].map(|size| {
        let samples = examples.iter().zip(valued).filter(|(example, _)| wanted(example));
        let samples: Vec<Sample<'_>> = samples
            .map(|(example, valued)| {
                let examples::Target { share, weight } = example.targets[size];
                Sample { features: &example.features, valued, share, weight }
            })
            .filter(|sample| sample.weight > 0.0)
            .collect();
        head(&samples)
    })
}

fn head(samples: &[Sample<'_>]) -> Head {
    let linear::Linear { bias, weights, gram_scale, grams } = linear::fit(samples);
    let (tree_bias, trees) = boost::fit(samples, TREES);
    Head { bias, weights, gram_scale, grams, tree_bias, trees }
}

/// The logits of the prompts that Claude has answered, each by heads that have seen nothing of its group.
fn unseen_logits<'a>(examples: &[&'a Example], valued: &[Valued]) -> Vec<(&'a Example, [f64; 2])> {
    let mut unseen = Vec::new();
    for fold in 0..FOLDS {
        let heads = heads(examples, valued, |example| example.fold(FOLDS) != fold);
        for (example, valued) in examples.iter().zip(valued) {
            if example.fold(FOLDS) == fold && example.right.iter().any(Option::is_some) {
                let logits = heads.each_ref().map(|head| head.weigh(&example.features, valued, &mut Weight::default()));
                unseen.push((*example, logits));
            }
        }
    }
    unseen
}

fn terms(examples: &[&Example]) -> Terms {
    let mut terms =
        Terms { knots: [[0.0; KNOTS]; COUNTS], means: [[0.0; TERMS]; COUNTS], scales: [[0.0; TERMS]; COUNTS] };
    for count in 0..COUNTS {
        let mut values: Vec<f32> = examples.iter().map(|example| example.features.counts[count]).collect();
        values.sort_by(f32::total_cmp);
        terms.knots[count] = [values[values.len() / 3], values[values.len() * 4 / 5]];
        let raw: Vec<[f32; TERMS]> = values.iter().map(|value| terms.raw(count, *value)).collect();
        for term in 0..TERMS {
            let of_term = || raw.iter().map(|raw| f64::from(raw[term]));
            let mean = of_term().sum::<f64>() / raw.len() as f64;
            let spread =
                (of_term().map(|value| (value - mean) * (value - mean)).sum::<f64>() / raw.len() as f64).sqrt();
            terms.means[count][term] = mean as f32;
            terms.scales[count][term] = if spread > 1e-4 { (1.0 / spread) as f32 } else { 0.0 };
        }
    }
    terms
}

fn length(examples: &[&Example], terms: &Terms) -> crate::model::Length {
    let told = examples.iter().filter(|example| example.output_tokens.iter().any(Option::is_some));
    let told: Vec<_> = told.map(|example| (terms.value(&example.features.counts), example.output_tokens)).collect();
    let samples: Vec<_> = told.iter().map(|(valued, tokens)| (valued, *tokens)).collect();
    length::fit(&samples)
}

/// What tells prompts that have outcomes from those that have none: real users' prompts, and an author's. Each side weighs as much as the
/// other; without enough of the others all are of the kind.
fn kind(examples: &[&Example], terms: &Terms) -> Kind {
    let (marked, others): (Vec<&Example>, Vec<&Example>) = examples.iter().partition(|example| is_marked(example));
    if others.len() < OTHERS_MIN {
        return Kind { bias: CERTAIN, trees: Vec::new() };
    }
    let own = |example: &&Example| example.targets.iter().map(|target| target.weight).fold(0.0, f64::max);
    let own_sum: f64 = marked.iter().map(own).sum();
    let weighed = marked.iter().map(|example| (*example, 1.0, own(example) / own_sum));
    let weighed = weighed.chain(others.iter().map(|example| (*example, 0.0, 1.0 / others.len() as f64)));
    let valued = terms.value(&[0.0; COUNTS]);
    let samples: Vec<Sample<'_>> = weighed
        .map(|(example, share, weight)| Sample {
            features: &example.features,
            valued: &valued,
            share,
            weight: weight * marked.len() as f64,
        })
        .collect();
    let (bias, trees) = boost::fit(&samples, KIND_TREES);
    Kind { bias, trees }
}

/// The words that enough prompts have.
fn known(examples: &[&Example]) -> Box<[u64; KNOWN]> {
    let mut prompts = vec![0_u8; KNOWN * 64];
    for word in examples.iter().flat_map(|example| &example.features.words) {
        let prompts = &mut prompts[*word as usize];
        *prompts = prompts.saturating_add(1);
    }
    let mut known = Box::new([0; KNOWN]);
    for (word, _) in prompts.iter().enumerate().filter(|(_, prompts)| **prompts >= KNOWN_PROMPTS_MIN) {
        known[word >> 6] |= 1 << (word & 63);
    }
    known
}

/// Tokens, as the file holds them.
fn counted(tokens: f64) -> u32 {
    (tokens as u32).min(TOKENS_MAX)
}

/// Some of the prompts that Claude has answered: those whose ids have the lowest hashes.
fn reference(unseen: &[(&Example, [f64; 2])], terms: &Terms, length: &crate::model::Length) -> Vec<Reference> {
    let mut rows: Vec<_> = unseen.iter().collect();
    rows.sort_by_key(|(example, _)| example.id);
    rows.truncate(REFERENCE_ROWS);
    let row = |(example, logits): &&(&Example, [f64; 2])| {
        let tokens = length.tokens(&terms.value(&example.features.counts));
        Reference {
            logits: logits.map(|logit| logit as f32),
            input_tokens: counted(example.input_tokens),
            output_tokens: std::array::from_fn(|tier| counted(example.output_tokens[tier].unwrap_or(tokens[tier]))),
        }
    };
    rows.iter().map(row).collect()
}

//! The logistic regression: shares as targets, terms and n-grams as inputs, by L-BFGS on all prompts at once.

use std::collections::VecDeque;

use crate::{
    features::{BUCKET_BITS, COUNTS, Features},
    math::{chance, surprise},
    model::{TERMS, Valued},
};

const DENSE: usize = 1 + COUNTS * TERMS;
const SIZE: usize = DENSE + (1 << BUCKET_BITS);
/// How much weights of terms, and of n-grams, are held back. By cross-validation.
const RIDGE_TERMS: f64 = 1e-3;
const RIDGE_GRAMS: f64 = 3e-5;
const STEPS_MAX: usize = 30;
const MEMORY: usize = 8;

/// A prompt and what share of the models was right.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) features: &'a Features,
    pub(super) valued: &'a Valued,
    pub(super) share: f64,
    pub(super) weight: f64,
}

pub(super) struct Linear {
    pub(super) bias: f32,
    pub(super) weights: [[f32; TERMS]; COUNTS],
    pub(super) gram_scale: f32,
    pub(super) grams: Vec<i8>,
}

pub(super) fn fit(samples: &[Sample<'_>]) -> Linear {
    let weights = minimise(samples);
    let mut terms = [[0.0; TERMS]; COUNTS];
    for (term, weight) in terms.as_flattened_mut().iter_mut().zip(&weights[1..DENSE]) {
        *term = *weight as f32;
    }
    let largest = weights[DENSE..].iter().fold(0.0_f64, |largest, weight| largest.max(weight.abs()));
    let scale = (largest / 127.0) as f32;
    // Nothing was learned where the largest is 0.
    let weight = |weight: &f64| if scale > 0.0 { libm::round(weight / f64::from(scale)) as i8 } else { 0 };
    let grams = weights[DENSE..].iter().map(weight).collect();
    Linear { bias: weights[0] as f32, weights: terms, gram_scale: scale, grams }
}

fn minimise(samples: &[Sample<'_>]) -> Vec<f64> {
    let mut at = vec![0.0; SIZE];
    let mut gradient = vec![0.0; SIZE];
    let mut loss = loss(samples, &at, &mut gradient);
    let curves = curves(samples);
    let mut history: VecDeque<Past> = VecDeque::new();
    for _ in 0..STEPS_MAX {
        let direction = direction(&gradient, &curves, &history);
        let slope = dot(&gradient, &direction);
        let Some(step) = step(samples, &at, loss, &direction, slope) else { break };
        let moved: Vec<f64> = step.at.iter().zip(&at).map(|(new, old)| new - old).collect();
        let turned: Vec<f64> = step.gradient.iter().zip(&gradient).map(|(new, old)| new - old).collect();
        let curvature = dot(&moved, &turned);
        if curvature > 1e-14 {
            history.push_back(Past { moved, turned, curvature });
            if history.len() > MEMORY {
                history.pop_front();
            }
        }
        let gained = loss - step.loss;
        (at, gradient, loss) = (step.at, step.gradient, step.loss);
        if gained < 1e-7 {
            break;
        }
    }
    at
}

/// A step that was taken, and how the gradient has turned by it.
struct Past {
    moved: Vec<f64>,
    turned: Vec<f64>,
    curvature: f64,
}

struct Step {
    at: Vec<f64>,
    gradient: Vec<f64>,
    loss: f64,
}

/// The first of ever shorter steps that goes down well enough.
fn step(samples: &[Sample<'_>], from: &[f64], loss_before: f64, direction: &[f64], slope: f64) -> Option<Step> {
    let mut length = 1.0;
    for _ in 0..20 {
        let at: Vec<f64> = from.iter().zip(direction).map(|(from, by)| from + length * by).collect();
        let mut gradient = vec![0.0; SIZE];
        let loss = loss(samples, &at, &mut gradient);
        if loss <= loss_before + 1e-4 * length * slope {
            return Some(Step { at, gradient, loss });
        }
        length *= 0.5;
    }
    None
}

/// The two loops of L-BFGS.
fn direction(gradient: &[f64], curves: &[f64], history: &VecDeque<Past>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
    let mut shares = Vec::with_capacity(history.len());
    for past in history.iter().rev() {
        let share = dot(&past.moved, &direction) / past.curvature;
        add(&mut direction, -share, &past.turned);
        shares.push(share);
    }
    direction.iter_mut().zip(curves).for_each(|(by, curve)| *by /= curve);
    for (past, share) in history.iter().zip(shares.into_iter().rev()) {
        let back = dot(&past.turned, &direction) / past.curvature;
        add(&mut direction, share - back, &past.moved);
    }
    direction
}

/// How fast each slope changes, at most: what makes terms, which all prompts have, and rare words move at one pace.
fn curves(samples: &[Sample<'_>]) -> Vec<f64> {
    let mut curves = vec![RIDGE_GRAMS; SIZE];
    curves[..DENSE].fill(RIDGE_TERMS);
    let total: f64 = samples.iter().map(|sample| sample.weight).sum();
    for Sample { features, valued, weight, .. } in samples {
        let weight = 0.25 * weight / total;
        let gram = f64::from(features.gram());
        curves[0] += weight;
        curves[1..DENSE]
            .iter_mut()
            .zip(valued.0.as_flattened())
            .for_each(|(curve, value)| *curve += weight * value * value);
        features.buckets.iter().for_each(|bucket| curves[DENSE + usize::from(*bucket)] += weight * gram * gram);
    }
    curves
}

/// The mean surprise and the penalty; the gradient of both.
fn loss(samples: &[Sample<'_>], at: &[f64], gradient: &mut [f64]) -> f64 {
    let total: f64 = samples.iter().map(|sample| sample.weight).sum();
    let mut loss = 0.0;
    for Sample { features, valued, share, weight } in samples {
        let values = valued.0.as_flattened();
        let gram = f64::from(features.gram());
        let terms: f64 = values.iter().zip(&at[1..DENSE]).map(|(value, by)| value * by).sum();
        let grams: f64 = features.buckets.iter().map(|bucket| at[DENSE + usize::from(*bucket)]).sum();
        let chance = chance(at[0] + terms + gram * grams);
        let weight = weight / total;
        loss += weight * surprise(*share, chance);
        let slope = weight * (chance - share);
        gradient[0] += slope;
        gradient[1..DENSE].iter_mut().zip(values).for_each(|(by, value)| *by += slope * value);
        features.buckets.iter().for_each(|bucket| gradient[DENSE + usize::from(*bucket)] += slope * gram);
    }
    for (place, (by, at)) in gradient.iter_mut().zip(at).enumerate().skip(1) {
        let ridge = if place < DENSE { RIDGE_TERMS } else { RIDGE_GRAMS };
        loss += 0.5 * ridge * at * at;
        *by += ridge * at;
    }
    loss
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], times: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += times * what);
}

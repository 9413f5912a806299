//! How long answers are: the logarithm of their tokens, on the terms, by least squares.

use crate::{
    features::COUNTS,
    math::solve,
    model::{LOG_TOKENS_MAX, Length, TERMS, Valued},
};

const SIZE: usize = 3 + COUNTS * TERMS;
const RIDGE: f64 = 30.0;

/// From the terms of prompts and the tokens of each tier's answer. The offsets are not held back.
pub(super) fn fit(samples: &[(&Valued, [Option<f64>; 3])]) -> Length {
    let mut matrix = vec![vec![0.0; SIZE]; SIZE];
    let mut right = vec![0.0; SIZE];
    for (place, row) in matrix.iter_mut().enumerate() {
        row[place] = if place < 3 { 1e-3 } else { RIDGE };
    }
    for (valued, tokens) in samples {
        for (tier, tokens) in tokens.iter().enumerate() {
            if let Some(tokens) = tokens {
                add(&mut matrix, &mut right, &inputs(valued, tier), libm::log(*tokens));
            }
        }
    }
    let solution = solve(matrix, right);
    let mut weights = [[0.0; TERMS]; COUNTS];
    weights.as_flattened_mut().iter_mut().zip(&solution[3..]).for_each(|(weight, value)| *weight = *value as f32);
    let offsets = std::array::from_fn(|tier| solution[tier].clamp(0.0, LOG_TOKENS_MAX) as f32);
    Length { offsets, weights }
}

fn inputs(valued: &Valued, tier: usize) -> Vec<f64> {
    let mut inputs = vec![0.0; 3];
    inputs[tier] = 1.0;
    inputs.extend(valued.0.as_flattened());
    inputs
}

fn add(matrix: &mut [Vec<f64>], right: &mut [f64], inputs: &[f64], output: f64) {
    for ((row, right), input) in matrix.iter_mut().zip(right).zip(inputs) {
        row.iter_mut().zip(inputs).for_each(|(at, other)| *at += input * other);
        *right += input * output;
    }
}

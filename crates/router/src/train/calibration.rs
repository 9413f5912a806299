//! The three numbers of a tier, from logits of prompts that the heads had not seen and whether the tier was right.

use crate::{
    math::{chance, solve},
    model::Calibration,
};

/// What a tier is taken for before any outcome: haiku is as good as small models, opus as large ones.
pub(crate) const PRIOR: [Calibration; 3] = [
    Calibration { offset: 0.0, small: 0.8, large: 0.2 },
    Calibration { offset: 0.0, small: 0.5, large: 0.5 },
    Calibration { offset: 0.0, small: 0.2, large: 0.8 },
];

/// One outcome of a tier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) logits: [f64; 2],
    pub(crate) right: bool,
}

/// The numbers that make the outcomes likeliest, held to `prior` as if that had been seen `precision` times.
pub(crate) fn fit(outcomes: &[Outcome], prior: Calibration, precision: f64) -> Calibration {
    let prior = [prior.offset, prior.small, prior.large].map(f64::from);
    let mut at = prior;
    for _ in 0..25 {
        let mut slope: Vec<f64> = at.iter().zip(prior).map(|(at, prior)| precision * (at - prior)).collect();
        let mut curve = vec![vec![0.0; 3]; 3];
        (0..3).for_each(|place| curve[place][place] = precision);
        for Outcome { logits: [small, large], right } in outcomes {
            let inputs = [1.0, *small, *large];
            let chance = chance(at.iter().zip(inputs).map(|(at, input)| at * input).sum());
            for row in 0..3 {
                slope[row] += (chance - f64::from(u8::from(*right))) * inputs[row];
                (0..3).for_each(|column| curve[row][column] += chance * (1.0 - chance) * inputs[row] * inputs[column]);
            }
        }
        let step = solve(curve, slope);
        at.iter_mut().zip(step).for_each(|(at, step)| *at -= step.clamp(-1.0, 1.0));
    }
    let [offset, small, large] = at.map(|value| value as f32);
    Calibration { offset, small, large }
}

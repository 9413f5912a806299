//! Functions that are the same on every platform: `libm`'s, not the system's.

/// The chance that belongs to a logit. Finite for any finite one.
pub(crate) fn chance(logit: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-logit))
}

/// The logit of a chance, kept away from certainty.
pub(crate) fn logit(chance: f64) -> f64 {
    let chance = chance.clamp(1e-6, 1.0 - 1e-6);
    libm::log(chance / (1.0 - chance))
}

/// How much `chance` is surprised by the outcome `share`, in nats.
pub(crate) fn surprise(share: f64, chance: f64) -> f64 {
    let chance = chance.clamp(1e-12, 1.0 - 1e-12);
    -(share * libm::log(chance) + (1.0 - share) * libm::log(1.0 - chance))
}

/// The solution of `matrix · x = right`, for a symmetric positive definite matrix.
pub(crate) fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for pivot in 0..size {
        for row in pivot + 1..size {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            let (above, below) = matrix.split_at_mut(row);
            let columns = below[0].iter_mut().zip(&above[pivot]).skip(pivot);
            columns.for_each(|(below, above)| *below -= factor * above);
            right[row] -= factor * right[pivot];
        }
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|column| matrix[row][column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_and_logit_undo_each_other_and_nothing_is_infinite() {
        for share in [0.01, 0.5, 0.9] {
            assert!((chance(logit(share)) - share).abs() < 1e-12);
        }
        assert!(logit(0.0).is_finite() && surprise(1.0, 0.0).is_finite());
        assert_eq!((chance(-1e9), chance(1e9)), (0.0, 1.0));
    }

    #[test]
    fn a_small_system_is_solved() {
        let solution = solve(vec![vec![4.0, 1.0], vec![1.0, 3.0]], vec![1.0, 2.0]);
        assert!((solution[0] - 1.0 / 11.0).abs() < 1e-12 && (solution[1] - 7.0 / 11.0).abs() < 1e-12);
    }
}

//! How well a score ranks prompts, as `RouteLLM` defines it: the part of the gap between a weak and a strong model that is recovered when the
//! prompts with the highest scores go to the strong one.

use serde::Serialize;

/// One prompt: its score, and whether (or how often) each of the two models was right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) score: f64,
    pub(super) weak: f64,
    pub(super) strong: f64,
    pub(super) group: u64,
}

/// A ranking's figures; `None` where the strong model is not better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// The mean part of the gap recovered over all shares of strong calls. A coin flip has 0.5.
    pub apgr: f64,
    /// Of 95 in 100 resamples.
    pub interval: [f64; 2],
    /// The share of strong calls that recovers half of the gap.
    pub cpt50: f64,
    /// And four fifths of it.
    pub cpt80: f64,
}

const RESAMPLES: usize = 500;

pub(super) fn curve(trials: &[Trial]) -> Option<Curve> {
    let mut sorted = trials.to_vec();
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    let points = points(&sorted, |_| 1.0)?;
    Some(Curve {
        apgr: area(&points),
        interval: interval(&sorted),
        cpt50: share_at(&points, 0.5),
        cpt80: share_at(&points, 0.8),
    })
}

/// Share of strong calls, and part of the gap recovered. Prompts of one score come together, as if in random order.
fn points(sorted: &[Trial], weight: impl Fn(&Trial) -> f64) -> Option<Vec<[f64; 2]>> {
    let mut points = vec![[0.0, 0.0]];
    let (mut calls, mut gained) = (0.0, 0.0);
    for same in sorted.chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()) {
        for trial in same {
            let weight = weight(trial);
            calls += weight;
            gained += weight * (trial.strong - trial.weak);
        }
        points.push([calls, gained]);
    }
    let enough = calls > 0.0 && gained > 0.0;
    enough.then(|| points.iter().map(|[call, gain]| [call / calls, gain / gained]).collect())
}

fn area(points: &[[f64; 2]]) -> f64 {
    points.windows(2).map(|pair| (pair[1][0] - pair[0][0]) * 0.5 * (pair[0][1] + pair[1][1])).sum()
}

fn share_at(points: &[[f64; 2]], wanted: f64) -> f64 {
    points.iter().find(|[_, part]| *part >= wanted).map_or(1.0, |[share, _]| *share)
}

/// From resamples of whole groups.
fn interval(sorted: &[Trial]) -> [f64; 2] {
    let mut groups: Vec<u64> = sorted.iter().map(|trial| trial.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let of: Vec<usize> =
        sorted.iter().map(|trial| groups.binary_search(&trial.group).expect("it is one of them")).collect();
    let mut dice = Dice(1);
    let mut areas: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let mut drawn = vec![0.0; groups.len()];
            (0..groups.len()).for_each(|_| drawn[dice.below(groups.len())] += 1.0);
            let mut places = of.iter();
            let weights: Vec<f64> = places.by_ref().map(|group| drawn[*group]).collect();
            weighted_area(sorted, &weights)
        })
        .collect();
    areas.sort_by(f64::total_cmp);
    let at = |share: f64| areas.get((share * areas.len() as f64) as usize).copied().unwrap_or(f64::NAN);
    [at(0.025), at(0.975)]
}

fn weighted_area(sorted: &[Trial], weights: &[f64]) -> Option<f64> {
    let weights = std::cell::RefCell::new(weights.iter());
    let next = |_: &Trial| *weights.borrow_mut().next().expect("a weight for each");
    points(sorted, next).map(|points| area(&points))
}

/// Random numbers that are the same in every run: `SplitMix64`.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(scores: &[f64]) -> Vec<Trial> {
        // The strong model gains on the first half only.
        let at = |(at, score): (usize, &f64)| Trial {
            score: *score,
            weak: 0.0,
            strong: if at < scores.len() / 2 { 1.0 } else { 0.0 },
            group: at as u64,
        };
        scores.iter().enumerate().map(at).collect()
    }

    #[test]
    fn a_constant_score_is_a_coin_flip_and_a_perfect_one_has_three_quarters_here() {
        let flat = curve(&trials(&[1.0; 8])).expect("the strong one is better");
        assert!((flat.apgr - 0.5).abs() < 1e-12);
        let perfect = curve(&trials(&[8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])).expect("as above");
        assert!((perfect.apgr - 0.75).abs() < 1e-12 && perfect.cpt50 == 0.25);
        let wrong = curve(&trials(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])).expect("as above");
        assert!((wrong.apgr - 0.25).abs() < 1e-12 && wrong.interval[0] <= wrong.apgr);
    }

    #[test]
    fn no_gap_has_no_curve() {
        assert_eq!(curve(&[]), None);
        assert_eq!(curve(&[Trial { score: 1.0, weak: 1.0, strong: 1.0, group: 1 }]), None);
    }
}

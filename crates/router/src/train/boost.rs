//! Boosted trees on the counts: each goes on where those before it were wrong.

use super::linear::Sample;
use crate::{
    features::COUNTS,
    math::{chance, logit},
    model::{DEPTH, LEAVES, NODES, Tree},
};

const BINS: usize = 32;
/// What each tree adds of what it has found, and how much a leaf is held back. By cross-validation.
const RATE: f64 = 0.1;
const RIDGE: f64 = 5.0;
/// A threshold that no count reaches: the node asks nothing.
const NOTHING: f32 = 1e6;

/// Slopes and curvatures of the loss, added up.
#[derive(Clone, Copy, Default)]
struct Sum {
    slope: f64,
    curve: f64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.slope += other.slope;
        self.curve += other.curve;
    }

    fn without(self, other: Self) -> Self {
        Self { slope: self.slope - other.slope, curve: self.curve - other.curve }
    }

    fn value(self) -> f64 {
        -RATE * self.slope / (self.curve + RIDGE)
    }

    fn gain(self) -> f64 {
        self.slope * self.slope / (self.curve + RIDGE)
    }
}

/// The logit to begin with, and so many trees.
pub(super) fn fit(samples: &[Sample<'_>], count: usize) -> (f32, Vec<Tree>) {
    let edges: Vec<Vec<f32>> = (0..COUNTS).map(|count| edges(samples, count)).collect();
    let binned: Vec<[u8; COUNTS]> = samples.iter().map(|sample| bins(&edges, &sample.features.counts)).collect();
    let weight: f64 = samples.iter().map(|sample| sample.weight).sum();
    let mean: f64 = samples.iter().map(|sample| sample.weight * sample.share).sum::<f64>() / weight.max(1e-9);
    let bias = logit(mean) as f32;
    let mut logits = vec![f64::from(bias); samples.len()];
    let mut trees = Vec::with_capacity(count);
    for _ in 0..count {
        let sums: Vec<Sum> = samples.iter().zip(&logits).map(|(sample, logit)| slope(sample, *logit)).collect();
        let tree = grow(&edges, &binned, &sums);
        for (logit, sample) in logits.iter_mut().zip(samples) {
            *logit += tree.walk(&sample.features.counts, |_, _| {});
        }
        trees.push(tree);
    }
    (bias, trees)
}

fn slope(sample: &Sample<'_>, logit: f64) -> Sum {
    let chance = chance(logit);
    Sum { slope: sample.weight * (chance - sample.share), curve: sample.weight * chance * (1.0 - chance) }
}

/// Where a count may be cut: at most 31 of its values, spread evenly over the prompts.
fn edges(samples: &[Sample<'_>], count: usize) -> Vec<f32> {
    let mut values: Vec<f32> = samples.iter().map(|sample| sample.features.counts[count]).collect();
    values.sort_by(f32::total_cmp);
    let mut edges: Vec<f32> = (1..BINS).map(|bin| values[bin * values.len() / BINS]).collect();
    edges.dedup();
    edges
}

fn bins(edges: &[Vec<f32>], counts: &[f32; COUNTS]) -> [u8; COUNTS] {
    std::array::from_fn(|count| edges[count].partition_point(|edge| counts[count] > *edge) as u8)
}

fn grow(edges: &[Vec<f32>], binned: &[[u8; COUNTS]], sums: &[Sum]) -> Tree {
    let mut tree = Tree { counts: [0; NODES], thresholds: [NOTHING; NODES], values: [0.0; NODES + LEAVES] };
    let mut nodes = vec![0; binned.len()];
    for level in 0..DEPTH {
        let (first, width) = ((1 << level) - 1, 1 << level);
        let histogram = histogram(binned, sums, &nodes, first, width);
        for node in 0..width {
            split(&mut tree, first + node, &histogram[node * COUNTS..][..COUNTS], edges);
        }
        for (node, bins) in nodes.iter_mut().zip(binned) {
            let count = usize::from(tree.counts[*node]);
            let above = edges[count].get(usize::from(bins[count])).is_none_or(|edge| *edge > tree.thresholds[*node]);
            *node = 2 * *node + 1 + usize::from(above && tree.thresholds[*node] < NOTHING);
        }
    }
    tree
}

/// What the prompts of each node come to, by count and bin.
fn histogram(binned: &[[u8; COUNTS]], sums: &[Sum], nodes: &[usize], first: usize, width: usize) -> Vec<[Sum; BINS]> {
    let mut histogram = vec![[Sum::default(); BINS]; width * COUNTS];
    for ((bins, sum), node) in binned.iter().zip(sums).zip(nodes) {
        let of_node = &mut histogram[(node - first) * COUNTS..][..COUNTS];
        of_node.iter_mut().zip(bins).for_each(|(of_count, bin)| of_count[usize::from(*bin)].add(*sum));
    }
    histogram
}

/// Asks the question that gains most, and gives both answers their values.
fn split(tree: &mut Tree, node: usize, histogram: &[[Sum; BINS]], edges: &[Vec<f32>]) {
    let whole = total(&histogram[0]);
    if node == 0 {
        tree.values[0] = whole.value() as f32;
    }
    let mut best = (1e-9, whole);
    for (count, bins) in histogram.iter().enumerate() {
        let mut low = Sum::default();
        for (edge, sum) in edges[count].iter().zip(bins) {
            low.add(*sum);
            let high = whole.without(low);
            let gain = low.gain() + high.gain() - whole.gain();
            if gain > best.0 {
                best = (gain, low);
                tree.counts[node] = count as u8;
                tree.thresholds[node] = *edge;
            }
        }
    }
    let (_, low) = best;
    let asks = tree.thresholds[node] < NOTHING;
    tree.values[2 * node + 1] = low.value() as f32;
    tree.values[2 * node + 2] = if asks { whole.without(low) } else { whole }.value() as f32;
}

fn total(bins: &[Sum; BINS]) -> Sum {
    bins.iter().fold(Sum::default(), |mut total, sum| {
        total.add(*sum);
        total
    })
}

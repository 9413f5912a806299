//! A small tree over the counts.

use crate::features::COUNTS;

pub(crate) const DEPTH: usize = 3;
pub(crate) const LEAVES: usize = 1 << DEPTH;
/// Questions, level by level; those of node `n` are followed by `2n + 1` (no) and `2n + 2` (yes).
pub(crate) const NODES: usize = LEAVES - 1;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree {
    /// Each node asks whether this count is above this threshold.
    pub(crate) counts: [u8; NODES],
    pub(crate) thresholds: [f32; NODES],
    /// Of nodes and leaves. A node's own value tells how much its question has changed.
    pub(crate) values: [f32; NODES + LEAVES],
}

impl Tree {
    /// The value of the leaf, and what each count on the way has added to the root's.
    #[inline]
    pub(crate) fn walk(&self, counts: &[f32; COUNTS], mut added: impl FnMut(usize, f64)) -> f64 {
        let mut node = 0;
        let mut value = f64::from(self.values[0]);
        for _ in 0..DEPTH {
            let count = usize::from(self.counts[node]);
            node = 2 * node + 1 + usize::from(counts[count] > self.thresholds[node]);
            let next = f64::from(self.values[node]);
            added(count, next - value);
            value = next;
        }
        value
    }
}

//! FNV-1a: how words, and pairs of them, become numbers that are the same everywhere.

pub(crate) const START: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of what was hashed to `hash`, followed by `byte`.
#[inline]
pub(crate) const fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3)
}

pub(crate) const fn of(bytes: &[u8]) -> u64 {
    let mut hash = START;
    let mut at = 0;
    while at < bytes.len() {
        hash = step(hash, bytes[at]);
        at += 1;
    }
    hash
}

/// The low `bits` bits of a hash, all its bits folded in.
#[inline]
pub(crate) const fn fold(hash: u64, bits: u32) -> u32 {
    let half = (hash >> 32) as u32 ^ hash as u32;
    (half ^ (half >> bits)) & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_values_come_out() {
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(super::of(text.as_bytes()), hash, "{text}");
        }
    }
}

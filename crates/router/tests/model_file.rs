//! A model file is believed as a whole or not at all.

use claude_code_api_router::{Facts, Router, RouterError};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// Where the hash is, and what it is of.
const HASH: std::ops::Range<usize> = 10..42;

fn shipped() -> Vec<u8> {
    Router::shipped().to_bytes()
}

/// As somebody would write it who means harm, or has another program.
fn rehashed(mut file: Vec<u8>) -> Vec<u8> {
    let hash = Sha256::digest(&file[HASH.end..]);
    file[HASH].copy_from_slice(&hash);
    file
}

fn error(file: &[u8]) -> String {
    match Router::parse(file) {
        Err(error @ RouterError::File(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_file_is_small_and_reads_as_it_was_written() {
    let file = shipped();
    assert!(file.len() < 200_000, "{} bytes", file.len());
    assert_eq!(Router::parse(&file).expect("it is ours").to_bytes(), file);
}

#[test]
fn each_broken_byte_and_each_cut_is_an_error() {
    let file = shipped();
    for at in (0..HASH.end).chain((HASH.end..file.len()).step_by(1_009)) {
        let mut broken = file.clone();
        broken[at] ^= 0x10;
        error(&broken);
        error(&file[..at]);
        error(&rehashed_or_short(&file[..at]));
    }
}

fn rehashed_or_short(file: &[u8]) -> Vec<u8> {
    if file.len() < HASH.end { file.to_vec() } else { rehashed(file.to_vec()) }
}

#[test]
fn an_error_says_what_is_wrong() {
    let file = shipped();
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        rehashed(file)
    };
    for (file, says) in [
        (Vec::new(), "ends in the middle of the magic bytes"),
        (with(0, b"somewhat"), "does not begin with the magic bytes"),
        (with(8, &[9, 0]), "has version 9, and this program reads version 2"),
        (file[..HASH.end].to_vec(), "its content has another hash"),
        (with(HASH.end, &f32::NAN.to_le_bytes()), "holds NaN in the knots"),
        (with(HASH.end, &f32::INFINITY.to_le_bytes()), "holds inf in the knots"),
        (rehashed([file.as_slice(), b"more"].concat()), "has 4 bytes too many at its end"),
    ] {
        let error = error(&file);
        assert!(error.contains(says), "{error}, not {says}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_can_be_read_predicts_within_its_bounds(
        at in any::<prop::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut file = shipped();
        let at = HASH.end + at.index(file.len() - HASH.end - bytes.len());
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        if let Ok(router) = Router::parse(&rehashed(file)) {
            let reading = router.read("Prove that 2 + 2 = 4 (all of it).", &Facts::default());
            prop_assert!(reading.right.iter().all(|right| (0.0..=1.0).contains(right)), "{reading:?}");
            prop_assert!(reading.output_tokens.iter().all(|tokens| *tokens >= 1.0 && tokens.is_finite()), "{reading:?}");
        }
    }

    #[test]
    fn any_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(Router::parse(&bytes).is_err());
    }
}

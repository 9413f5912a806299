//! Reading a prompt: bounded in time and in what it says, whatever the prompt is.
#![allow(clippy::float_cmp, reason = "what is compared is exact")]

use std::time::{Duration, Instant};

use claude_code_api_router::{Facts, Reading, Router};
use proptest::prelude::*;

fn read(prompt: &str) -> Reading {
    Router::shipped().read(prompt, &Facts::default())
}

fn check(reading: &Reading) -> Result<(), TestCaseError> {
    let [haiku, sonnet, opus] = reading.right;
    prop_assert!(0.0 <= haiku && haiku <= sonnet && sonnet <= opus && opus <= 1.0, "{reading:?}");
    prop_assert!(reading.output_tokens.iter().all(|tokens| (1.0..=30_000.0).contains(tokens)), "{reading:?}");
    prop_assert!((0.0..=1.0).contains(&reading.familiarity), "{reading:?}");
    prop_assert!(reading.reasons.len() <= 3, "{reading:?}");
    Ok(())
}

#[test]
fn a_megabyte_of_anything_is_read_as_soon_as_a_page() {
    for piece in ["a", "(", "\n", "🙂", "word ", "9", "9,", ".", "\0", "é", "中", "A.\n", "'", " "] {
        let prompt = piece.repeat((1 << 20) / piece.len());
        let begun = Instant::now();
        let reading = read(&prompt);
        let took = begun.elapsed();
        check(&reading).unwrap_or_else(|error| panic!("{piece:?}: {error}"));
        println!("a megabyte of {piece:?}: {took:?}");
        assert!(took < Duration::from_secs(1), "a megabyte of {piece:?} took {took:?}");
    }
}

#[test]
fn the_middle_of_a_long_prompt_is_not_read() {
    let with = |middle: &str| format!("{}{middle}{}", "begin ".repeat(500), "end. ".repeat(200));
    assert_eq!(read(&with(&"easy ".repeat(1_000))), read(&with(&"∑(prove) ".repeat(2_000))));
}

#[test]
fn harder_prompts_are_read_as_harder() {
    let hard = "Let $p$ be an odd prime. Prove that the number of solutions of $x^2 + y^2 \\equiv 1 \\pmod p$ is $p - (-1)^{(p-1)/2}$, \
                and find the largest $n$ such that $2^n$ divides it for all such $p < 1000$.";
    let easy = "Tom has 3 apples and buys 4 more. How many apples does Tom have?";
    let (hard, easy) = (read(hard), read(easy));
    assert!(hard.right[0] + 0.2 < easy.right[0] && hard.right[2] < easy.right[2], "{hard:?} {easy:?}");
}

#[test]
fn what_training_has_not_seen_is_answered_with_the_mean() {
    let strange = read("Zxqv wlkjh pqowie mznxbv qpwoei lskdjf zmxncb");
    let other = read("Æøå þðþ ŋŧŋ ħħĸ ßẞß łøþ ðđð");
    assert!(strange.familiarity < 0.4 && strange.reasons[0].starts_with("unsure"), "{strange:?}");
    let apart = strange.right.iter().zip(other.right).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < 0.15, "{strange:?} {other:?}");
}

#[test]
fn facts_cap_the_answer_and_move_the_chances_to_the_mean_only() {
    let prompt = "Tom has 3 apples and buys 4 more. How many apples does Tom have?";
    let capped = Router::shipped().read(prompt, &Facts { output_max: Some(10), ..Facts::default() });
    assert_eq!(capped.output_tokens, [10.0; 3]);
    let (alone, with) = (read(prompt), Router::shipped().read(prompt, &Facts { has_tools: true, ..Facts::default() }));
    assert!(with.right[0] < alone.right[0], "an easy prompt with tools is less sure to be easy: {alone:?} {with:?}");
}

#[test]
fn reasons_hold_no_word_of_the_prompt() {
    let reading = read("Prove Xylophonium: for all zyzzyva > 17, list 100 quuxes?");
    assert!(!reading.reasons.is_empty());
    for word in ["xylophonium", "zyzzyva", "quuxes", "17"] {
        assert!(!reading.reasons.iter().any(|reason| reason.to_lowercase().contains(word)), "{reading:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_within_bounds_and_twice_the_same(
        prompt in prop_oneof![any::<String>(), "[ -~\\n]{0,2000}", "[(\\[{]{0,500}", "[0-9.,]{0,500}", "\\PC{0,300}"],
        input_tokens in any::<u64>(),
        turn in any::<u32>(),
        flags in any::<[bool; 3]>(),
        output_max in any::<Option<u64>>(),
    ) {
        let [has_tools, has_images, thinking] = flags;
        let facts = Facts { input_tokens, turn, has_tools, has_images, output_max, thinking };
        let reading = Router::shipped().read(&prompt, &facts);
        check(&reading)?;
        prop_assert_eq!(reading, Router::shipped().read(&prompt, &facts));
    }
}

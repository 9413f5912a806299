//! What is read of a prompt: its beginning and its end, where the task usually stands.

/// Characters read from the beginning, and from the end.
const HEAD_CHARS_MAX: usize = 3_000;
const TAIL_CHARS_MAX: usize = 1_000;

/// The first 3,000 and the last 1,000 characters; a prompt of at most 4,000 is one part. No more than that is walked, however long the
/// prompt is.
pub(crate) fn parts(prompt: &str) -> [&str; 2] {
    let Some((head_end, _)) = prompt.char_indices().nth(HEAD_CHARS_MAX) else { return [prompt, ""] };
    match prompt.char_indices().rev().nth(TAIL_CHARS_MAX - 1) {
        Some((tail_start, _)) if tail_start > head_end => [&prompt[..head_end], &prompt[tail_start..]],
        _ => [prompt, ""],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_fits_is_read_whole_and_a_longer_one_at_both_ends() {
        for (chars, expected) in [(0, [0, 0]), (3_000, [3_000, 0]), (4_000, [4_000, 0]), (4_001, [3_000, 1_000])] {
            for character in ["a", "é", "🙂"] {
                let prompt = character.repeat(chars);
                assert_eq!(parts(&prompt).map(|part| part.chars().count()), expected, "{chars} of {character}");
            }
        }
    }
}

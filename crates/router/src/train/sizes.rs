//! Which models stand for a small tier, and which for a large one.
//!
//! The rule: of the generation of Claude 3, which the levels are learned from: what was there by the summer of 2024. Small is what its vendor
//! offered as the cheap one, or a model of at most 15 billion active parameters that follows instructions; large is its vendor's best, or an
//! open model of 70 billion parameters and more. What is in between, smaller than 4 billion but for Phi-3, newer, or reasons at length
//! before it answers, stands for neither. (With newer models among them, which solve much more of competition mathematics, haiku was
//! taken for better there than it is, and a third less was saved.)

/// What a model stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Large,
    Neither,
}

use Size::{Large, Neither, Small};

/// The beginning of a model's name, in lower case, without its owner. The first that fits counts.
const SIZES: &[(&str, Size)] = &[
    ("athene-70b", Large),
    ("c4ai-command-r-plus", Neither),
    ("c4ai-command-r", Small),
    ("claude-3-haiku", Small),
    ("claude-3-opus", Large),
    ("claude-instant", Small),
    ("claude-v1", Large),
    ("claude-v2", Large),
    ("claude-2", Large),
    ("command-r-plus", Neither),
    ("command-r", Small),
    ("deepseek-v2.5", Neither),
    ("deepseek", Large),
    ("gemini-1.5-flash-exp", Neither),
    ("gemini-1.5-flash", Small),
    ("gemini-1.5-pro-exp", Neither),
    ("gemini-1.5-pro", Large),
    ("gemma-2-9b", Small),
    ("gpt-3.5", Small),
    ("gpt-4o", Neither),
    ("gpt-4", Large),
    ("jamba-1.5-large", Large),
    ("llama-3-instruct-8b", Small),
    ("meta-llama-3-70b", Large),
    ("meta-llama-3-8b-instruct", Small),
    ("mistral-7b-instruct", Small),
    ("mixtral-8x7b", Small),
    ("phi-3.5", Neither),
    ("phi-3", Small),
    ("qwen1.5-110b", Large),
    ("qwen1.5-72b", Large),
    ("qwen1.5-7b-chat", Small),
    ("qwen2-72b", Large),
    ("qwen2-7b", Small),
    ("reka-core", Large),
    ("reka-flash", Small),
    ("wizardlm-13b", Small),
    ("yi-1.5-9b", Small),
    ("yi-6b-chat", Small),
    ("yi-large", Large),
];

pub(crate) fn size(model: &str) -> Size {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase().replace('_', ".");
    SIZES.iter().find(|(start, _)| name.starts_with(start)).map_or(Neither, |(_, size)| *size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_the_beginning_of_its_name_whoever_hosts_it() {
        for (model, expected) in [
            ("mistralai/Mixtral-8x7B-Instruct-v0.1", Small),
            ("gpt-4o-mini-2024-07-18", Neither),
            ("gpt-4-1106-preview", Large),
            ("Meta-Llama-3-70B-Instruct", Large),
            ("Meta-Llama-3_1-70B-Instruct", Neither),
            ("claude-3-sonnet-20240229", Neither),
            ("o1-mini-2024-09-12", Neither),
            ("unheard-of", Neither),
        ] {
            assert_eq!(size(model), expected, "{model}");
        }
    }

    #[test]
    fn every_line_of_the_table_can_be_reached() {
        for (at, (start, _)) in SIZES.iter().enumerate() {
            assert!(!SIZES[..at].iter().any(|(earlier, _)| start.starts_with(earlier)), "{start}");
        }
    }
}

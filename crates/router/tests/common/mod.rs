//! A small world: prompts that are easy or hard by their words, and models that mostly find them so.

use claude_code_api_router::data::{Folder, Row, Source};

const MODELS: [&str; 5] =
    ["claude-3-haiku-20240307", "claude-3-sonnet-20240229", "claude-3-opus-20240229", "gpt-4o-mini", "gpt-4o"];

/// So many rows, in groups of two.
pub(crate) fn folder(rows: usize) -> Folder {
    let rows = (0..rows).map(row).collect();
    let models = MODELS.map(str::to_owned).to_vec();
    Folder { sources: vec![Source { name: "world".to_owned(), models, rows }], notes: Vec::new() }
}

fn row(number: usize) -> Row {
    let hard = number.is_multiple_of(3);
    let prompt = if hard {
        format!("Prove that every prime above {number} satisfies the lemma about residues modulo {}.", number * 37)
    } else {
        format!("List the colours of flag {number}, and name the animal on it.")
    };
    // One in seventeen comes out the other way.
    let luck = number.is_multiple_of(17);
    let small = hard == luck;
    let marks = [small, small || number.is_multiple_of(2), !(hard && number.is_multiple_of(4)), small, true];
    Row {
        id: format!("row-{number}"),
        group: format!("group-{}", number / 2),
        prompt,
        marks: marks.map(Some).to_vec(),
        output_tokens: MODELS.iter().map(|model| ((*model).to_owned(), if hard { 360.0 } else { 90.0 })).collect(),
        input_tokens: None,
        tier: None,
    }
}

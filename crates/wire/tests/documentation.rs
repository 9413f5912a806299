//! docs/errors.md against the codes.

use claude_code_api_wire::ErrorCode;

#[test]
fn every_code_stands_in_the_documentation_with_its_status_and_nothing_else_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    let text = std::fs::read_to_string(path).expect("docs/errors.md is there");
    let table = text.split("## In the clients").next().expect("a first part");
    let documented: Vec<(String, String)> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            Some((cells.next()?, cells.next()?))
        })
        .collect();
    let defined: Vec<_> =
        ErrorCode::ALL.iter().map(|code| (code.as_str().to_owned(), code.status().to_string())).collect();
    assert_eq!(documented, defined);
}

//! A folder of training data is read, or the error says where it is wrong.
#![allow(clippy::float_cmp, reason = "what is compared is exact")]

use std::fs;

use claude_code_api_router::data::Folder;

const MANIFEST: &str = r#"{"one": {"kind": "marks", "train": 2, "models": ["a", "b", "c"]}, "gone": {"models": []}}"#;

fn read(manifest: &str, rows: &str) -> Result<Folder, String> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("manifest.json"), manifest).expect("it can be written");
    fs::write(folder.path().join("one.jsonl"), rows).expect("as above");
    fs::write(folder.path().join("extra.jsonl"), "{}").expect("as above");
    Folder::read(folder.path()).map_err(|error| error.to_string())
}

#[test]
fn rows_come_with_their_marks_and_tokens_and_what_is_left_out_is_told() {
    let rows = concat!(
        r#"{"id":"1","group":"g","prompt":"p","domain":"d","marks":"10-","out_chars":{"a":330},"out_tokens":{"b":7}}"#,
        "\n",
        r#"{"id":"2","group":"g","prompt":"q","marks":"111","tok":{"c":[12,34]}}"#,
        "\n\n",
        r#"{"id":"3","group":"h","prompt":"r","tier":"SIMPLE","tok":[5,6]}"#,
    );
    let folder = read(MANIFEST, rows).expect("it is well-formed");
    let [one] = folder.sources.as_slice() else { panic!("{folder:?}") };
    assert_eq!(one.rows[0].marks, [Some(true), Some(false), None]);
    assert_eq!((one.rows[0].output_tokens["a"].round(), one.rows[0].output_tokens["b"]), (100.0, 7.0));
    assert_eq!((one.rows[1].input_tokens, one.rows[1].output_tokens["c"]), (Some(12.0), 34.0));
    assert_eq!((one.rows[2].input_tokens, one.rows[2].tier.as_deref()), (Some(5.0), Some("SIMPLE")));
    assert_eq!(
        folder.notes,
        ["extra.jsonl is not in the manifest", "gone is in the manifest, and there is no gone.jsonl"]
    );
}

#[test]
fn an_error_names_the_file_the_line_and_what_is_wrong() {
    let row = |marks: &str| format!(r#"{{"id":"1","group":"g","prompt":"p","marks":"{marks}"}}"#);
    for (manifest, rows, says) in [
        ("{", String::new(), "manifest.json:1: EOF"),
        (MANIFEST, format!("{}\n{}", row("111"), row("11")), "one.jsonl:2: 2 marks, and the manifest names 3 models"),
        (MANIFEST, row("1x1"), "one.jsonl:1: a mark is 1, 0 or -; there is 'x'"),
        (MANIFEST, r#"{"id":"1"}"#.to_owned(), "one.jsonl:1: missing field `group`"),
    ] {
        let error = read(manifest, &rows).expect_err(says);
        assert!(error.contains(says), "{error}, not {says}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Folder::read("/nowhere/at/all".as_ref()).expect_err("there is none").to_string();
    assert!(error.starts_with("/nowhere/at/all"), "{error}");
}

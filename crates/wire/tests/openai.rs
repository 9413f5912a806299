//! The OpenAI dialect against golden files.
//!
//! `tests/golden/openai/requests/*.json` hold a `body` and what decoding it `gives`; `responses/*.json` an Anthropic
//! `message` and the completion that it `gives`; `streams/*.sse` a stream of Anthropic events, and the `.txt` beside each
//! its chunks, one a line. `UPDATE_GOLDEN=1 cargo test` writes what is given now into the files: read the difference.

use std::{
    fs,
    path::{Path, PathBuf},
};

use claude_code_api_wire::{
    Cache, Usage,
    openai::{Bill, ChunkWriter, completion, decode},
    sse::{Decoder, Frame},
};
use serde_json::{Value, json};

#[test]
fn requests_are_translated_or_refused_as_the_golden_files_say() {
    assert_golden("requests", 25, |file| {
        let body = file["body"].as_object().expect("body: an object").clone();
        match decode(body) {
            Err(invalid) => json!({"invalid": {"field": invalid.field, "message": invalid.message}}),
            Ok(decoded) => {
                let parts = json!({
                    "model": decoded.model, "max_tokens": decoded.max_tokens, "seed": decoded.seed,
                    "stream": decoded.stream.then_some(true), "include_usage": decoded.include_usage.then_some(true),
                    "project_id": decoded.project_id, "timeout": decoded.timeout, "body": decoded.body,
                });
                // What is absent is left out, for whoever reads the files.
                parts.as_object().expect("an object").clone().into_iter().filter(|(_, part)| !part.is_null()).collect()
            }
        }
    });
}

#[test]
fn messages_become_completions_as_the_golden_files_say() {
    assert_golden("responses", 8, |file| {
        let message = &file["message"];
        completion("chatcmpl-1", "claude-sonnet-5-5", 1_700_000_000, message, &bill(&message["usage"]))
    });
}

fn assert_golden(folder: &str, least: usize, gives: impl Fn(&Value) -> Value) {
    let paths = files(folder, "json");
    assert!(paths.len() >= least, "{folder} holds {} files and is to hold {least}", paths.len());
    for path in paths {
        let text = fs::read_to_string(&path).expect("a file that was listed");
        let mut file: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file["gives"] = gives(&file);
        let expected: Value = serde_json::from_str(&text).expect("parsed above");
        if file != expected {
            assert_same(&path, &pretty(&expected), &pretty(&file));
        }
    }
}

#[test]
fn streams_become_chunks_as_the_golden_files_say() {
    let paths = files("streams", "sse");
    assert!(paths.len() >= 8, "streams holds {} files", paths.len());
    for path in &paths {
        let chunks = chunks(&fs::read(path).expect("a file that was listed"));
        let path = path.with_extension("txt");
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let parse =
            |text: &str| text.lines().map(|line| serde_json::from_str(line).ok()).collect::<Vec<Option<Value>>>();
        if parse(&expected) != parse(&chunks) {
            assert_same(&path, &expected, &chunks);
        }
    }
    assert_eq!(paths.len(), files("streams", "txt").len(), "as many .txt as .sse");
}

/// The chunks of a stream, one a line. A comment `include_usage` stands for that option of the request.
fn chunks(body: &[u8]) -> String {
    let mut decoder = Decoder::default();
    decoder.push(body);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("no event here is long") {
        frames.push(frame);
    }
    let include_usage = frames.contains(&Frame::Comment("include_usage".into()));
    let mut writer = ChunkWriter::new("chatcmpl-1", "claude-sonnet-5-5", 1_700_000_000, include_usage);
    let (mut chunks, mut stop_reason, mut usage) = (Vec::new(), "end_turn".to_owned(), Value::Null);
    for frame in frames {
        let Frame::Event { name, data } = frame else { continue };
        chunks.extend(writer.event(&name, &data));
        if name == "message_delta" {
            let data: Value = serde_json::from_str(&data).expect("well-formed");
            data["delta"]["stop_reason"].as_str().expect("a reason").clone_into(&mut stop_reason);
            usage = data["usage"].clone();
        }
    }
    chunks.extend(writer.finish(&stop_reason, &bill(&usage)));
    chunks.into_iter().map(|chunk| chunk + "\n").collect()
}

/// What the service would settle for this Anthropic usage; the price is the same for all.
fn bill(usage: &Value) -> Bill {
    let count = |name: &str| usage[name].as_u64().unwrap_or_default();
    let cache = Cache {
        creation_input_tokens: count("cache_creation_input_tokens"),
        read_input_tokens: count("cache_read_input_tokens"),
    };
    let input_tokens = count("input_tokens") + cache.creation_input_tokens + cache.read_input_tokens;
    let output_tokens = count("output_tokens");
    let usage = Usage { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens };
    Bill { usage, cache, cost: 0.0125, cost_nanos: 12_500_000, clamped_max_tokens: None }
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openai").join(folder);
    let entries = fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a value serializes") + "\n"
}

/// `given` stands in the file; or is written into it, when that is wanted.
#[expect(clippy::disallowed_methods, reason = "a switch of this test, not of the service")]
fn assert_same(path: &Path, expected: &str, given: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(path, given).expect("the folder can be written");
    }
    panic!(
        "{} differs (- stands in the file, + is given; UPDATE_GOLDEN=1 rewrites it):\n{}",
        path.display(),
        difference(expected, given)
    );
}

/// The lines between those that are the same at the beginning and at the end.
fn difference(expected: &str, given: &str) -> String {
    let (expected, given): (Vec<_>, Vec<_>) = (expected.lines().collect(), given.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let before = expected.iter().zip(&given).take_while(same).count();
    let rest = (&expected[before..], &given[before..]);
    let after = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(same).count();
    let context = expected[before.saturating_sub(3)..before].iter().map(|line| format!("  {line}\n"));
    let removed = rest.0[..rest.0.len() - after].iter().map(|line| format!("- {line}\n"));
    let added = rest.1[..rest.1.len() - after].iter().map(|line| format!("+ {line}\n"));
    context.chain(removed).chain(added).collect()
}

#[test]
fn a_difference_shows_what_changed_and_where() {
    let shown = difference("a\nb\nc\nd\ne\n", "a\nb\nx\ny\ne\n");
    assert_eq!(shown, "  a\n  b\n- c\n- d\n+ x\n+ y\n");
}

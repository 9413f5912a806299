//! The OpenAI dialect against JSON that nobody thought of.

use claude_code_api_wire::openai::{Bill, ChunkWriter, completion, decode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Words of both dialects, so that made-up JSON gets past the first check now and then.
const WORDS: &str = "messages role content type text user assistant system tool tool_calls tool_call_id id function name \
    arguments {} call_1 image_url url https://example.com/a.png data:image/png;base64,AAAA detail auto refusal stop stream \
    stream_options include_usage tools tool_choice required none parameters strict response_format json_schema schema \
    temperature top_p max_tokens seed n usage stop_reason tool_use input index content_block delta text_delta \
    input_json_delta partial_json thinking thinking_delta output_tokens_details";

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(WORDS.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word(), inner, 0..5).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// Messages that are mostly right; `[ \t]` stands for texts that are blank.
fn message() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![Just(" \t".to_owned()), "[a-z]{1,4}"];
    let part = || text().prop_map(|text| json!({"type": "text", "text": text}));
    let content =
        || prop_oneof![text().prop_map(Value::from), prop::collection::vec(part(), 0..3).prop_map(Value::from)];
    let call = (0..2_u8).prop_map(|id| {
        json!({"id": format!("call_{id}"), "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}})
    });
    prop_oneof![
        content().prop_map(|content| json!({"role": "system", "content": content})),
        content().prop_map(|content| json!({"role": "user", "content": content})),
        content().prop_map(|content| json!({"role": "assistant", "content": content})),
        prop::collection::vec(call, 1..3).prop_map(|calls| json!({"role": "assistant", "tool_calls": calls})),
        (content(), 0..2_u8).prop_map(
            |(content, id)| json!({"role": "tool", "tool_call_id": format!("call_{id}"), "content": content})
        ),
    ]
}

/// What Claude takes: turns that alternate and end with the user's, no blank text, and every call with its result after it.
fn assert_takeable(body: &Map<String, Value>) {
    let turns = body["messages"].as_array().expect("a list");
    assert_eq!(turns.last().expect("not empty")["role"], "user");
    let mut calls: Vec<&Value> = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        assert!(index == 0 || turn["role"] != turns[index - 1]["role"], "turns alternate");
        let blocks = turn["content"].as_array().expect("blocks");
        assert!(!blocks.is_empty());
        let of = |kind: &str, field: &str| -> Vec<_> {
            blocks.iter().filter(|block| block["type"] == kind).map(|block| block[field].clone()).collect()
        };
        assert!(of("text", "text").iter().all(|text| !text.as_str().expect("a text").trim().is_empty()));
        let mut results = of("tool_result", "tool_use_id");
        let first = blocks.iter().take_while(|block| block["type"] == "tool_result").count();
        assert_eq!(first, results.len(), "results come first");
        results.sort_by_key(Value::to_string);
        calls.sort_by_key(ToString::to_string);
        assert!(results.iter().eq(calls.drain(..)), "every call has its result");
        calls = blocks.iter().filter(|block| block["type"] == "tool_use").map(|block| &block["id"]).collect();
    }
}

proptest! {
    #[test]
    fn any_object_is_decoded_or_refused_by_a_message_that_names_its_place(
        body in prop::collection::btree_map(word(), any_json(), 0..6),
        messages in any_json(),
    ) {
        for body in [body.clone(), body.into_iter().chain([("messages".to_owned(), messages)]).collect()] {
            if let Err(invalid) = decode(body.into_iter().collect()) {
                prop_assert!(!invalid.field.is_empty());
                let rest = invalid.message.strip_prefix(&invalid.field);
                prop_assert!(rest.is_some_and(|rest| rest.starts_with(": ")), "{}", invalid.message);
            }
        }
    }

    #[test]
    fn a_conversation_that_is_decoded_is_one_that_claude_takes(messages in prop::collection::vec(message(), 0..8)) {
        let body = Map::from_iter([("messages".to_owned(), Value::from(messages))]);
        if let Ok(decoded) = decode(body) {
            assert_takeable(&decoded.body);
        }
    }

    #[test]
    fn any_message_has_a_completion(message in any_json()) {
        let completion = completion("id", "model", 0, &message, &Bill::default());
        prop_assert_eq!(&completion["choices"][0]["message"]["role"], "assistant");
    }

    #[test]
    fn any_events_give_chunks_that_begin_with_the_role_and_end_with_the_reason(
        events in prop::collection::vec((
            prop::sample::select(vec!["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "x"]),
            prop_oneof![any_json().prop_map(|data| data.to_string()), "\\PC{0,8}"],
        ), 0..6),
    ) {
        let mut writer = ChunkWriter::new("id", "model", 0, false);
        let mut chunks: Vec<String> = events.iter().flat_map(|(name, data)| writer.event(name, data)).collect();
        chunks.extend(writer.finish("end_turn", &Bill::default()));
        let chunks: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_str(chunk).expect("JSON")).collect();
        let roles = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["role"]);
        prop_assert!(roles.enumerate().all(|(index, role)| role.is_null() == (index > 0)));
        let reasons = chunks.iter().rev().map(|chunk| &chunk["choices"][0]["finish_reason"]);
        prop_assert!(reasons.enumerate().all(|(index, reason)| reason.is_null() == (index > 0)));
    }

    #[test]
    fn a_text_is_the_same_streamed_and_whole(pieces in prop::collection::vec("\\PC{0,6}", 0..6)) {
        let mut writer = ChunkWriter::new("id", "model", 0, false);
        let mut chunks = Vec::new();
        for piece in &pieces {
            let data = json!({"index": 0, "delta": {"type": "text_delta", "text": piece}});
            chunks.extend(writer.event("content_block_delta", &data.to_string()));
        }
        let text = |chunk: &String| {
            let chunk: Value = serde_json::from_str(chunk).expect("JSON");
            chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
        };
        let message = json!({"content": [{"type": "text", "text": pieces.concat()}]});
        let whole = completion("id", "model", 0, &message, &Bill::default());
        prop_assert_eq!(&whole["choices"][0]["message"]["content"], &chunks.iter().map(text).collect::<String>());
    }
}

//! What must hold of any bytes. The fuzz targets call this with new ones, and `tests/corpus.rs` with those that are kept.

use claude_code_api_wire::{
    CompleteRequest, Fields,
    anthropic::{Collector, Event, say},
    openai,
    sse::{Decoder, Frame, TooLong},
};
use serde_json::{Map, Value};

const EVENT_BYTES_MAX: usize = 64;

/// A body of server-sent events, however it is cut, gives the same frames, none of them longer than allowed.
pub fn sse(bytes: &[u8]) {
    let Some((cut, body)) = bytes.split_first() else { return };
    let whole = frames([body]);
    let pieces = frames(body.chunks(usize::from(*cut).max(1)));
    assert_eq!(whole, pieces, "cut into pieces of {cut}");
    for frame in whole.iter().flatten() {
        let (Frame::Event { data: text, .. } | Frame::Comment(text)) = frame;
        // What is no UTF-8 is replaced, by at most three bytes for one.
        assert!(text.len() <= 3 * EVENT_BYTES_MAX);
    }
}

/// The frames, and at the end the error that nothing can be read after, if there is one.
fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Frame, TooLong>> {
    let mut decoder = Decoder::with_bytes_max(EVENT_BYTES_MAX);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(Ok(frame)),
                Ok(None) => break,
                Err(error) => {
                    frames.push(Err(error));
                    return frames;
                }
            }
        }
    }
    frames
}

/// No body of any dialect, and no event of an answer, is more than refused.
pub fn bodies(bytes: &[u8]) {
    let _ = serde_json::from_slice::<CompleteRequest>(bytes);
    if let Ok(fields) = serde_json::from_slice::<Fields>(bytes) {
        let written = serde_json::to_vec(&fields).expect("what was read is written");
        let again: Fields = serde_json::from_slice(&written).expect("what was written is read");
        assert!(
            fields
                .iter()
                .map(|(name, value)| (name, value.get()))
                .eq(again.iter().map(|(name, value)| (name, value.get())))
        );
    }
    if let Ok(body) = serde_json::from_slice::<Map<String, Value>>(bytes) {
        let _ = openai::is_older_dialect(&body, false);
        let _ = openai::decode(body);
    }
    if let Ok(text) = str::from_utf8(bytes) {
        answer(text);
    }
}

/// Every line is an event of an answer.
fn answer(text: &str) {
    let mut collector = Collector::default();
    let mut writer = openai::ChunkWriter::new("id", "model", 0, true);
    for line in text.lines() {
        let _ = serde_json::from_str::<Event>(line);
        collector.event(line);
        let _ = writer.event("event", line);
    }
    let message = collector.message();
    let _ = openai::completion("id", "model", 0, &Value::Object(message.clone()), &openai::Bill::default());
    let _ = say::whole(&message);
}

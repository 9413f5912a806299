//! The decoder against every way a body can be cut.

use claude_code_api_wire::sse::{Decoder, Frame, TooLong, comment, event};
use proptest::prelude::*;

fn frames_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame().expect("no frame here is long") {
            frames.push(frame);
        }
    }
    frames
}

fn named(name: &str, data: &str) -> Frame {
    Frame::Event { name: name.into(), data: data.into() }
}

#[test]
fn the_format_is_read_as_the_standard_defines_it() {
    let cases: &[(&str, &[u8], Vec<Frame>)] = &[
        ("a name and data", b"event: delta\ndata: x\n\n", vec![named("delta", "x")]),
        ("no name is `message`", b"data: x\n\n", vec![named("message", "x")]),
        ("carriage returns end lines", b"event: a\rdata: x\r\r", vec![named("a", "x")]),
        ("so do both together", b"event: a\r\ndata: x\r\n\r\n", vec![named("a", "x")]),
        ("and a mixture", b"event: a\rdata: x\r\n\n", vec![named("a", "x")]),
        ("lines of data are joined", b"data: x\ndata:\ndata: y\n\n", vec![named("message", "x\n\ny")]),
        ("one space is taken off", b"data:  x\n\ndata:y\n\n", vec![named("message", " x"), named("message", "y")]),
        ("a field without colon has no value", b"data\n\n", vec![named("message", "")]),
        ("an event without data is dropped, its name with it", b"event: a\n\ndata: x\n\n", vec![named("message", "x")]),
        ("unknown fields are skipped", b"id: 7\nretry: 1\nfoo: bar\ndata: x\n\n", vec![named("message", "x")]),
        (
            "comments are frames",
            b": queued\n\n:\n",
            vec![Frame::Comment("queued".into()), Frame::Comment(String::new())],
        ),
        ("a byte-order mark is skipped", b"\xEF\xBB\xBFdata: x\n\n", vec![named("message", "x")]),
        ("only at the beginning", b"data: x\n\n\xEF\xBB\xBFdata: y\n\n", vec![named("message", "x")]),
        ("an event that is cut off is dropped", b"data: x\n\ndata: y\n", vec![named("message", "x")]),
        ("broken UTF-8 is replaced", b"data: \xFF\n\n", vec![named("message", "\u{FFFD}")]),
    ];
    for (claim, bytes, expected) in cases {
        assert_eq!(&frames_of([*bytes]), expected, "{claim}");
        for cut in 0..=bytes.len() {
            assert_eq!(&frames_of([&bytes[..cut], &bytes[cut..]]), expected, "{claim}, cut at {cut}");
        }
        assert_eq!(&frames_of(bytes.chunks(1)), expected, "{claim}, byte by byte");
    }
}

#[test]
fn a_line_or_an_event_above_the_limit_is_an_error_and_not_memory() {
    for body in ["data: 0123456789abcdef", "data: 01234567\ndata: 01234567\ndata: 01234567\n"] {
        let mut decoder = Decoder::with_bytes_max(16);
        decoder.push(body.as_bytes());
        assert_eq!(decoder.next_frame(), Err(TooLong { bytes_max: 16 }), "{body}");
    }
}

#[test]
fn a_long_line_in_small_pieces_is_not_scanned_again_at_each_piece() {
    // 8 MiB in pieces of 64 bytes: a decoder that rescans would look at half a tera-byte.
    let begun = std::time::Instant::now();
    let mut decoder = Decoder::default();
    decoder.push(b"data: ");
    for _ in 0..(8 << 20) / 64 {
        decoder.push(&[b'x'; 64]);
        assert_eq!(decoder.next_frame(), Ok(None));
    }
    decoder.push(b"\n\n");
    assert!(matches!(decoder.next_frame(), Ok(Some(Frame::Event { data, .. })) if data.len() == 8 << 20));
    println!("8 MiB in pieces of 64 bytes: {:?}", begun.elapsed());
    assert!(begun.elapsed().as_secs() < 5);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_however_it_is_cut(
        texts in prop::collection::vec(("[a-z]{1,8}", "\\PC*|[\\r\\n\u{1F600}é]*"), 0..8),
        size in 1_usize..9,
    ) {
        let mut body = String::new();
        let mut expected = Vec::new();
        for (name, text) in &texts {
            body += &event(name, text);
            body += &comment(name);
            expected.push(named(name, &serde_json::to_string(text).expect("text serializes")));
            expected.push(Frame::Comment(name.clone()));
        }
        prop_assert_eq!(frames_of(body.as_bytes().chunks(size)), expected);
    }

    #[test]
    fn any_bytes_give_the_same_frames_whole_or_cut_at_every_byte(bytes in prop::collection::vec(
        prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), Just(0xEF), Just(0xBB), Just(0xBF), any::<u8>()], 0..200)) {
        prop_assert_eq!(frames_of([&bytes[..]]), frames_of(bytes.chunks(1)));
    }
}

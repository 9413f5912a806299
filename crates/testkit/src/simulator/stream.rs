//! An answer as a stream: what would be said in which order, and what the script makes of it.

use std::{
    iter::{once, repeat},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    Billed, Script,
    bill::{Books, Meter, OpenStream},
    event::frame,
    http::{Connection, Over},
    message::{self, Block, Piece},
    refuse,
};

const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";
/// As good as for ever.
const FOREVER_MS: u64 = 86_400_000;
const GARBAGE: &[u8] = b"eve\x00nt \xff\xfe: <html>\ndata: {\"type\": \"content_blo\n\n";

/// One step of an answer: tokens that are generated, and the event that tells of it, if any does.
struct Step {
    tokens: u64,
    event: Option<Value>,
}

impl Step {
    fn saying(event: Value) -> Self {
        Self { tokens: 0, event: Some(event) }
    }
}

/// Writes the stream of an answer that costs `billed`.
pub(super) async fn send(
    connection: &mut Connection,
    books: &Arc<Books>,
    (script, billed, body): (&Script, &Billed, &Value),
    meter: &mut Meter,
) -> Result<(), Over> {
    let _open = OpenStream::of(books);
    connection.begin(script.content_type.as_deref().unwrap_or(EVENT_STREAM)).await?;
    connection.rest(script.first_ms).await?;
    meter.begin();
    let steps = steps(script, billed, body, &books.id("msg"));
    let mut stream = Stream { connection, script, meter, events: 0, deltas: 0, stalled: false };
    for step in steps {
        stream.take(step).await?;
    }
    stream.end().await
}

fn steps(script: &Script, billed: &Billed, body: &Value, id: &str) -> impl Iterator<Item = Step> + use<> {
    let start = json!({"type": "message_start", "message": message::begun(script, billed, id)});
    let blocks = message::blocks(script, billed, id);
    let last = blocks.len().saturating_sub(1);
    let endless = script.endless;
    let blocks =
        blocks.into_iter().enumerate().flat_map(move |(index, block)| of_block(index, block, endless && index == last));
    let mut usage = message::final_usage(script, billed);
    // What a start says of these, an end does not repeat.
    for field in ["cache_creation", "service_tier"] {
        usage.as_object_mut().expect("an object").remove(field);
    }
    let delta = json!({"stop_reason": message::stop_reason(script, billed, body), "stop_sequence": null});
    let mut end = json!({"type": "message_delta", "delta": delta});
    if !script.no_usage {
        end["usage"] = usage;
    }
    let end = (!script.no_delta).then_some(end);
    let stop = (!script.no_stop).then(|| json!({"type": "message_stop"}));
    once(Step::saying(start)).chain(blocks).chain(end.into_iter().chain(stop).map(Step::saying))
}

fn of_block(index: usize, block: Block, endless: bool) -> impl Iterator<Item = Step> {
    let start = json!({"type": "content_block_start", "index": index, "content_block": block.start});
    let ping = (index == 0).then(|| json!({"type": "ping"}));
    let stop = json!({"type": "content_block_stop", "index": index});
    let again = block.pieces.first().filter(|_| endless).cloned();
    let of_piece = move |piece: Piece| Step {
        tokens: piece.tokens,
        event: piece.delta.map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})),
    };
    let pieces = block.pieces.into_iter().chain(again.into_iter().flat_map(repeat)).map(of_piece);
    once(start).chain(ping).map(Step::saying).chain(pieces).chain(once(Step::saying(stop)))
}

/// A stream that is being written.
struct Stream<'a> {
    connection: &'a mut Connection,
    script: &'a Script,
    meter: &'a mut Meter,
    events: u64,
    deltas: u64,
    stalled: bool,
}

impl Stream<'_> {
    async fn take(&mut self, step: Step) -> Result<(), Over> {
        if let Some(event) = &step.event {
            self.break_off().await?;
            self.stall(event["type"] == "content_block_delta").await?;
        }
        self.connection.rest(step.tokens.saturating_mul(self.script.token_ms)).await?;
        // Charged before it is sent: the bill is never below what has arrived.
        self.meter.generate(step.tokens);
        match step.event {
            Some(event) => self.say(&event).await,
            None => Ok(()),
        }
    }

    async fn end(mut self) -> Result<(), Over> {
        self.break_off().await?;
        self.connection.send_chunk(b"").await
    }

    /// Breaks the stream off where this is the place for it.
    async fn break_off(&mut self) -> Result<(), Over> {
        let is_due = |after: Option<u64>| after == Some(self.events);
        if is_due(self.script.reset_after_events) {
            return Err(self.connection.reset());
        }
        if is_due(self.script.close_after_events) {
            return Err(Over::Broken);
        }
        if is_due(self.script.end_after_events) {
            self.connection.send_chunk(b"").await?;
            return Err(Over::Ended);
        }
        let script = self.script;
        let Some(error) = script.error_event.as_ref().filter(|error| error.after == self.events) else { return Ok(()) };
        let error = refuse::error(&error.kind, "failed on request", &self.connection.request_id);
        self.write(frame(&error, script, 0).as_bytes()).await?;
        self.connection.send_chunk(b"").await?;
        Err(Over::Ended)
    }

    /// Is silent where this is the place for it.
    async fn stall(&mut self, is_delta: bool) -> Result<(), Over> {
        let is_due = self.script.stall_after == Some(self.deltas) && (self.deltas > 0 || is_delta);
        if !is_due || self.stalled {
            return Ok(());
        }
        self.stalled = true;
        let mut left_ms = self.script.stall_ms.unwrap_or(FOREVER_MS);
        while left_ms > 0 {
            let silent_ms = self.script.stall_ping_ms.unwrap_or(left_ms).clamp(1, left_ms);
            self.connection.rest(silent_ms).await?;
            left_ms -= silent_ms;
            if left_ms > 0 {
                self.say(&json!({"type": "ping"})).await?;
            }
        }
        Ok(())
    }

    async fn say(&mut self, event: &Value) -> Result<(), Over> {
        let frame = frame(event, self.script, self.events);
        if self.script.half_event_after == Some(self.events) {
            let middle = usize::midpoint(frame.rfind("data: ").unwrap_or(0), frame.len());
            self.write(&frame.as_bytes()[..middle]).await?;
            return Err(Over::Broken);
        }
        let is_garbage = self.script.garbage_after == Some(self.events);
        self.events += 1;
        self.deltas += u64::from(event["type"] == "content_block_delta");
        self.write(if is_garbage { GARBAGE } else { frame.as_bytes() }).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        for chunk in bytes.chunks(self.script.chunk_bytes.unwrap_or(usize::MAX).max(1)) {
            self.connection.send_chunk(chunk).await?;
        }
        Ok(())
    }
}

//! `POST /v1/messages` and counting: one request, its script, its answer, its line of the bill.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Billed, Script,
    bill::{Books, Meter, locked},
    fault::Fault,
    http::{Connection, Over, Reply, Request},
    message, refuse, stream,
};

const FILLER: [u8; 5_000] = [b'x'; 5_000];

/// Answers a request for a message.
pub(super) async fn message(
    request: &Request,
    body: &Value,
    connection: &mut Connection,
    books: &Arc<Books>,
) -> Result<(), Over> {
    if let Some(why) = invalid(body) {
        let refusal = refuse::refusal(connection, 400, why);
        return connection.send(refusal).await;
    }
    let script = books.script(body);
    locked(&books.headers).push(request.headers.clone());
    locked(&books.requests).push(body.clone());
    connection.rest(script.delay_ms).await?;
    if let Some(status) = script.status {
        let refusal = refuse::scripted(connection, status, &script);
        return connection.send(refusal).await;
    }
    if script.fault == Some(Fault::ResetBefore) {
        return Err(connection.reset());
    }
    let billed = script.billed(body);
    // A text without an end has no last token either.
    let output_tokens = if script.endless { u64::MAX } else { billed.output_tokens };
    let mut meter = Meter::open(books, &Billed { output_tokens, ..billed.clone() });
    let outcome = perform(connection, books, (&script, &billed, body), &mut meter).await;
    if outcome == Err(Over::ClientLeft) {
        lag(&script, &mut meter).await;
    }
    outcome
}

/// What the API does not take: what it says of it.
pub(super) fn invalid(body: &Value) -> Option<&'static str> {
    let has_messages = body["messages"].as_array().is_some_and(|messages| !messages.is_empty());
    match body {
        body if !body["model"].is_string() => Some("model: Field required"),
        body if body["max_tokens"].as_u64().is_none_or(|tokens| tokens == 0) => Some("max_tokens: Field required"),
        _ if !has_messages => Some("messages: at least one message is required"),
        _ => None,
    }
}

async fn perform(
    connection: &mut Connection,
    books: &Arc<Books>,
    work: (&Script, &Billed, &Value),
    meter: &mut Meter,
) -> Result<(), Over> {
    let (script, billed, body) = work;
    match script.fault {
        None if body["stream"] == true => return stream::send(connection, books, work, meter).await,
        None if script.endless => return send_endless(connection, meter).await,
        None | Some(_) => generate(connection, script, billed, meter).await?,
    }
    let whole = || Reply::json(200, &message::whole(script, billed, body, &books.id("msg")));
    match script.fault {
        Some(Fault::ResetBefore | Fault::ResetAfter) => Err(connection.reset()),
        Some(Fault::Garbage) => connection.send(Reply::new(200, "application/json", "<html>not JSON</html>")).await,
        Some(Fault::Html) => connection.send(refuse::page(200)).await,
        Some(Fault::Empty) => connection.send(Reply::new(200, "application/json", "")).await,
        Some(Fault::HalfBody) => connection.send_half(whole()).await,
        Some(Fault::Whole) | None => connection.send(whole()).await,
    }
}

/// Generates an answer that is sent when it is whole.
async fn generate(
    connection: &mut Connection,
    script: &Script,
    billed: &Billed,
    meter: &mut Meter,
) -> Result<(), Over> {
    connection.rest(script.first_ms).await?;
    if script.token_ms > 0 {
        for _ in 0..billed.output_tokens {
            connection.rest(script.token_ms).await?;
            meter.generate(1);
        }
    }
    meter.finish();
    Ok(())
}

/// A whole message whose text does not end.
async fn send_endless(connection: &mut Connection, meter: &mut Meter) -> Result<(), Over> {
    connection.begin("application/json").await?;
    connection.send_chunk(br#"{"type":"message","content":[{"type":"text","text":""#).await?;
    loop {
        connection.rest(0).await?;
        meter.generate(FILLER.len() as u64 / 5);
        connection.send_chunk(&FILLER).await?;
    }
}

/// What is still generated when nobody listens any more.
async fn lag(script: &Script, meter: &mut Meter) {
    for _ in 0..script.lag_tokens {
        if script.token_ms > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(script.token_ms)).await;
        }
        meter.generate(1);
    }
}

/// Answers a request for a count.
pub(super) async fn count(body: &Value, connection: &mut Connection, books: &Books) -> Result<(), Over> {
    locked(&books.counted).push(body.clone());
    let script = super::written::written(body).map(Script::read).unwrap_or_default();
    let reply = match script.counted(body) {
        0 => refuse::refusal(connection, 500, "refused on request"),
        tokens => Reply::json(200, &json!({"input_tokens": tokens})),
    };
    connection.send(reply).await
}

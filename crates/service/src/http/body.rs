//! Bodies in: bounded in bytes and in time, and errors that name the place.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::error::ApiError;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// How much of a body that is too large is read and thrown away, so that its sender comes to read the answer.
const DISCARD_BYTES_MAX: usize = 256 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// How deep objects and arrays may be nested: no request of any dialect comes near.
const DEPTH_MAX: usize = 100;

/// The body of `request` as JSON.
pub(super) async fn json<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIMEOUT, read(&parts.headers, body, bytes_max));
    let bytes = read.await.map_err(|_| {
        ApiError::invalid("body", format!("body: did not arrive within {} s; send it faster", BODY_TIMEOUT.as_secs()))
    })??;
    parse(&bytes)
}

async fn read(headers: &HeaderMap, mut body: Body, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > bytes_max) {
        // A client that waits for our word has sent nothing yet.
        if !headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return Err(ApiError::too_large(bytes_max));
    }
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0));
    while let Some(data) = next_data(&mut body).await? {
        if bytes.len() + data.len() > bytes_max {
            discard(body).await;
            return Err(ApiError::too_large(bytes_max));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

async fn next_data(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    let Some(frame) = body.frame().await else { return Ok(None) };
    let frame = frame.map_err(|_| ApiError::invalid("body", "body: it broke off before its end; send it again"))?;
    // Trailers mean nothing here.
    Ok(Some(frame.into_data().unwrap_or_default()))
}

async fn discard(mut body: Body) {
    let all = async {
        let mut discarded = 0;
        while let Ok(Some(data)) = next_data(&mut body).await {
            discarded += data.len();
            if discarded > DISCARD_BYTES_MAX {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::invalid(
            "body",
            "body: is empty; it takes a JSON object such as {\"prompt\": \"Hello\"}",
        ));
    }
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        // Derived types would take an array for their fields in order.
        return Err(ApiError::invalid("body", "body: is a JSON array; it takes an object"));
    }
    if depth(bytes) > DEPTH_MAX {
        return Err(ApiError::invalid("body", format!("body: is nested deeper than {DEPTH_MAX} levels")));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        described(&path, &error.into_inner())
    })?;
    json.end().map_err(|error| described(".", &error))?;
    Ok(value)
}

/// How deep objects and arrays are nested in each other, at most. What passes through unread is not to be a trap for whoever
/// reads it.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_text(&mut bytes),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn skip_text(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

fn described(path: &str, error: &serde_json::Error) -> ApiError {
    match error.classify() {
        Category::Data => {
            let place =
                if path == "." { unknown_field(error).unwrap_or_else(|| "body".to_owned()) } else { path.to_owned() };
            let message = format!("{place}: {error}");
            ApiError::invalid(place, message)
        }
        Category::Syntax | Category::Eof | Category::Io => {
            ApiError::invalid("body", format!("body: broken JSON: {error}"))
        }
    }
}

/// The name in serde's message about a field that it does not know; the path ends one level above it.
fn unknown_field(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let (name, _) = text.strip_prefix("unknown field `")?.split_once('`')?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_texts_nests_nothing() {
        let cases = [
            ("", 0),
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[[],{"b":[]}],"c":"[[[["}"#, 4),
            (r#"["\"[[", "\\", []]"#, 2),
            (r#"["[[[["#, 1),
            ("]]][", 1),
        ];
        for (json, expected) in cases {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }
}

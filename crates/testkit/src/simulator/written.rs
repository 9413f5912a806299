//! Where a script stands in a request: in the user's own words, or in what a tool has answered.

use serde_json::Value;

/// The JSON after `sim:` in the user's last message.
pub(super) fn written(body: &Value) -> Option<&str> {
    let messages = body["messages"].as_array()?;
    let last = messages.iter().rfind(|message| message["role"] == "user")?;
    texts(&last["content"]).into_iter().rev().find_map(in_text)
}

/// The texts of a message, or of a tool's result.
fn texts<'a>(content: &'a Value) -> Vec<&'a str> {
    let Some(blocks) = content.as_array() else { return content.as_str().into_iter().collect() };
    let of_block = |block: &'a Value| match block["text"].as_str() {
        Some(text) => vec![text],
        None => texts(&block["content"]),
    };
    blocks.iter().flat_map(of_block).collect()
}

fn in_text(text: &str) -> Option<&str> {
    let begins =
        |(at, mark): (usize, &str)| Some(text[at + mark.len()..].trim_start()).filter(|json| json.starts_with('{'));
    let json = text.match_indices("sim:").find_map(begins)?;
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
    match values.next()? {
        Ok(_) => Some(&json[..values.byte_offset()]),
        Err(error) => panic!("the script {json:?}: {error}"),
    }
}

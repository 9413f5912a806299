//! What messages say: texts and parts become blocks.
//!
//! Claude refuses blocks whose text is blank, so that blank texts are left out.

use serde_json::{Value, json};

use super::{
    Invalid,
    field::{Field, Object},
};

const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Who says it: each may send parts of other types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    User,
    Assistant,
    /// System, developer and tool messages.
    Other,
}

impl Speaker {
    fn takes(self) -> &'static str {
        match self {
            Self::User => "takes text or image_url: Claude hears no audio, and files go to /v1/messages",
            Self::Assistant => "takes text or refusal",
            Self::Other => "takes text",
        }
    }
}

/// The blocks of a `content`.
pub(super) fn blocks(content: Field, speaker: Speaker) -> Result<Vec<Value>, Invalid> {
    if let Value::String(text) = content.value {
        return Ok(text_block(text).into_iter().collect());
    }
    let parts = content.items("takes a text or a list of parts")?;
    let blocks = parts.into_iter().map(|part| block(part, speaker));
    Ok(blocks.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// The texts of a `content` that takes nothing else.
pub(super) fn texts(content: Field) -> Result<Vec<String>, Invalid> {
    let text = |mut block: Value| match block["text"].take() {
        Value::String(text) => text,
        _ => unreachable!("a speaker of texts alone has no other blocks"),
    };
    Ok(blocks(content, Speaker::Other)?.into_iter().map(text).collect())
}

/// A block, unless its text is blank.
pub(super) fn text_block(text: String) -> Option<Value> {
    let mut block = json!({"type": "text"});
    let is_blank = text.trim().is_empty();
    // Put in, not written into `json!`, which would copy it; here and at the other long texts.
    block["text"] = text.into();
    (!is_blank).then_some(block)
}

fn block(part: Field, speaker: Speaker) -> Result<Option<Value>, Invalid> {
    let mut part = part.object("takes an object with type")?;
    let kind = part.need("type", speaker.takes())?;
    let block = match (kind.value.as_str(), speaker) {
        (Some("text"), _) => text_block(part.need_text("text", "takes a text")?),
        (Some("refusal"), Speaker::Assistant) => text_block(part.need_text("refusal", "takes a text")?),
        (Some("image_url"), Speaker::User) => Some(image(&mut part)?),
        _ => return Err(kind.refuse(speaker.takes())),
    };
    part.finish()?;
    Ok(block)
}

/// `detail` is checked and has no effect: Claude scales images by itself.
fn image(part: &mut Object) -> Result<Value, Invalid> {
    let mut image = part.need("image_url", "takes an object with url")?.object("takes an object with url")?;
    if let Some(detail) = image
        .take("detail")
        .filter(|detail| !matches!(detail.value.as_str(), Some("auto" | "low" | "high" | "original")))
    {
        return Err(detail.refuse("takes auto, low, high or original"));
    }
    let source = source(&image.need("url", "takes a URL")?)?;
    image.finish()?;
    Ok(json!({"type": "image", "source": source}))
}

fn source(url: &Field) -> Result<Value, Invalid> {
    let text = url.value.as_str().ok_or_else(|| url.refuse("takes a URL"))?;
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(json!({"type": "url", "url": text}));
    }
    let data = text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    let Some((media_type, data)) = data.filter(|(_, data)| !data.is_empty()) else {
        return Err(url.refuse("takes an http or https URL, or data:image/…;base64, and the image"));
    };
    if !IMAGES.contains(&media_type) {
        return Err(url.refuse(format_args!("takes images of the types {}", IMAGES.join(", "))));
    }
    Ok(json!({"type": "base64", "media_type": media_type, "data": data}))
}

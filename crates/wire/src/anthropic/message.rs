//! A message, collected from its stream.

use serde_json::{Map, Value};

/// A whole message, as the API gives it to who does not ask for a stream.
pub type Message = Map<String, Value>;

/// Puts a message together again. It knows no kinds of blocks: what a delta brings is added to the field of its name, so that
/// what is new upstream is whole here.
#[derive(Debug, Default)]
pub struct Collector {
    message: Message,
    blocks: Vec<Map<String, Value>>,
    /// The input of the tool call that is being read, as text.
    input: String,
}

/// The most blocks of a message.
const BLOCKS_MAX: usize = 100_000;

impl Collector {
    /// Takes the data of the next event. What is no event of a message is left out.
    pub fn event(&mut self, data: &str) {
        let Ok(Value::Object(mut event)) = serde_json::from_str(data) else { return };
        let kind = event.remove("type");
        match kind.as_ref().and_then(Value::as_str) {
            Some("message_start") => self.start(event),
            Some("content_block_start") => self.begin_block(&mut event),
            Some("content_block_delta") => self.add(&mut event),
            Some("content_block_stop") => self.end_inputs(),
            Some("message_delta") => self.end(event),
            _ => {}
        }
    }

    /// The message.
    pub fn message(mut self) -> Message {
        self.end_inputs();
        let blocks = self.blocks.into_iter().map(Value::Object).collect();
        self.message.insert("content".to_owned(), Value::Array(blocks));
        self.message
    }

    fn start(&mut self, mut event: Map<String, Value>) {
        if let Some(Value::Object(message)) = event.remove("message") {
            self.message = message;
        }
    }

    fn begin_block(&mut self, event: &mut Map<String, Value>) {
        let Some(Value::Object(block)) = event.remove("content_block") else { return };
        self.end_inputs();
        if self.blocks.len() < BLOCKS_MAX {
            self.blocks.push(block);
        }
    }

    fn block(&mut self, event: &Map<String, Value>) -> Option<&mut Map<String, Value>> {
        let index = usize::try_from(event.get("index")?.as_u64()?).ok()?;
        self.blocks.get_mut(index)
    }

    fn add(&mut self, event: &mut Map<String, Value>) {
        let Some(Value::Object(delta)) = event.remove("delta") else { return };
        for (name, value) in delta {
            match (name.as_str(), value) {
                ("type", _) => {}
                ("partial_json", Value::String(piece)) => self.input += &piece,
                ("citation", citation) => self.add_field(event, "citations", Value::Array(vec![citation])),
                (name, value) => self.add_field(event, name, value),
            }
        }
    }

    fn add_field(&mut self, event: &Map<String, Value>, name: &str, value: Value) {
        let Some(block) = self.block(event) else { return };
        match (block.get_mut(name), value) {
            (Some(Value::String(known)), Value::String(more)) => *known += &more,
            (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
            (_, value) => drop(block.insert(name.to_owned(), value)),
        }
    }

    /// The input of a tool call that was cut off is left as the text that it is.
    fn end_inputs(&mut self) {
        let input = std::mem::take(&mut self.input);
        if let Some(block) = self.blocks.last_mut().filter(|_| !input.is_empty()) {
            let value = serde_json::from_str(&input).unwrap_or(Value::String(input));
            block.insert("input".to_owned(), value);
        }
    }

    fn end(&mut self, event: Map<String, Value>) {
        for (name, value) in event {
            match (name.as_str(), value) {
                ("delta", Value::Object(delta)) => self.message.extend(delta),
                ("usage", Value::Object(usage)) => self.update_usage(usage),
                (_, value) => drop(self.message.insert(name, value)),
            }
        }
    }

    fn update_usage(&mut self, later: Map<String, Value>) {
        let usage = self.message.entry("usage").or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(usage) = usage else { return };
        for (name, value) in later {
            if !value.is_null() || !usage.contains_key(&name) {
                usage.insert(name, value);
            }
        }
    }
}

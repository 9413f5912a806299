//! The conversation. Chat Completions has a message for everything; Claude has turns of user and assistant, and results of
//! tools are in the user's.
//!
//! Guarantees of what comes out: turns alternate, none is empty, the last is the user's, and every call of a tool has its
//! result in the turn after it.

use serde_json::{Map, Value, json};

use super::{
    Invalid,
    content::{self, Speaker},
    field::{Field, Object},
};

/// Between system messages: what Anthropic's own compatibility layer puts there.
const SYSTEM_SEPARATOR: &str = "\n";
const ROLES: &str = "takes system, developer, user, assistant or tool";

/// A conversation in the inner language.
#[derive(Debug)]
pub(super) struct Conversation {
    /// All system and developer messages, wherever they stood: not every model takes them in the midst of a conversation.
    pub(super) system: Option<String>,
    pub(super) messages: Vec<Value>,
}

pub(super) fn read(messages: Field) -> Result<Conversation, Invalid> {
    let mut turns = Turns::default();
    for message in messages.items("takes a list of messages")? {
        turns.take(message)?;
    }
    turns.finish()
}

#[derive(Debug, Default)]
struct Turns {
    system: Vec<String>,
    /// Role and blocks.
    spoken: Vec<(&'static str, Vec<Value>)>,
    /// Ids of the calls that have no result yet, and where they stand.
    open: Vec<Field>,
}

impl Turns {
    fn take(&mut self, message: Field) -> Result<(), Invalid> {
        let mut message = message.object("takes an object with role and content")?;
        let role = message.need("role", ROLES)?;
        match role.value.as_str() {
            Some("system" | "developer") => self.instruct(&mut message)?,
            Some("user") => self.ask(&mut message)?,
            Some("assistant") => self.answer(&mut message)?,
            Some("tool") => self.result(&mut message)?,
            Some("function") => return Err(role.refuse("takes tool for the results of functions, with tool_call_id")),
            _ => return Err(role.refuse(ROLES)),
        }
        message.finish()
    }

    fn instruct(&mut self, message: &mut Object) -> Result<(), Invalid> {
        refuse_name(message)?;
        self.system.extend(content::texts(message.need("content", "takes a text")?)?);
        Ok(())
    }

    fn ask(&mut self, message: &mut Object) -> Result<(), Invalid> {
        refuse_name(message)?;
        self.all_answered()?;
        let content = message.need("content", "takes a text or a list of parts")?;
        let place = content.path.clone();
        let blocks = content::blocks(content, Speaker::User)?;
        if blocks.is_empty() {
            return Err(Invalid::new(
                place,
                "says nothing; it takes at least one character that is not blank, or an image",
            ));
        }
        self.push("user", blocks);
        Ok(())
    }

    /// What the model once answered. An answer of nothing is left out: models give such, and Claude takes none back.
    fn answer(&mut self, message: &mut Object) -> Result<(), Invalid> {
        refuse_name(message)?;
        self.all_answered()?;
        leave_out(message)?;
        let content =
            message.take("content").map(|content| content::blocks(content, Speaker::Assistant)).transpose()?;
        let refusal = message.take("refusal").map(|refusal| refusal.text("takes a text")).transpose()?;
        let calls = message.take("tool_calls").map(|calls| calls.items("takes a list of calls")).transpose()?;
        let mut blocks = content.unwrap_or_default();
        blocks.extend(refusal.and_then(content::text_block));
        for call in calls.unwrap_or_default() {
            blocks.push(self.call(call)?);
        }
        self.push("assistant", blocks);
        Ok(())
    }

    fn call(&mut self, call: Field) -> Result<Value, Invalid> {
        let mut call = call.object("takes an object with id, type and function")?;
        let id = call.need("id", "takes a text")?;
        let kind = call.need("type", "takes function")?;
        if kind.value != "function" {
            return Err(kind.refuse("takes function: Claude has no tools of free text"));
        }
        let mut function = call
            .need("function", "takes an object with name and arguments")?
            .object("takes an object with name and arguments")?;
        // OpenAI's SDK leaves these two in what it has put together from a stream.
        call.take("index");
        function.take("parsed_arguments");
        call.finish()?;
        let name = function.need_text("name", "takes a text")?;
        let input = arguments(&function.need("arguments", "takes a JSON object as text")?)?;
        function.finish()?;
        let mut block = json!({"type": "tool_use", "id": text_of(&id)?, "name": name});
        block["input"] = input.into();
        self.open.push(id);
        Ok(block)
    }

    /// `name` may be there: it is the function's, which the call has told.
    fn result(&mut self, message: &mut Object) -> Result<(), Invalid> {
        message.take("name").map(|name| name.text("takes a text")).transpose()?;
        let id = message.need("tool_call_id", "takes the id of a call")?;
        let Some(index) = self.open.iter().position(|call| call.value == id.value) else {
            return Err(id.refuse("takes the id of a call in the assistant's message before it, each once"));
        };
        self.open.remove(index);
        let mut block = json!({"type": "tool_result", "tool_use_id": text_of(&id)?});
        let content = content::blocks(message.need("content", "takes a text")?, Speaker::Other)?;
        if !content.is_empty() {
            block["content"] = content.into();
        }
        self.push("user", vec![block]);
        Ok(())
    }

    fn push(&mut self, role: &'static str, mut blocks: Vec<Value>) {
        match self.spoken.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last, turn)) if *last == role => turn.append(&mut blocks),
            _ => self.spoken.push((role, blocks)),
        }
    }

    fn all_answered(&self) -> Result<(), Invalid> {
        self.open.first().map_or(Ok(()), |call| {
            Err(call.refuse("has no result; after a message with tool_calls comes a tool message for each"))
        })
    }

    fn finish(self) -> Result<Conversation, Invalid> {
        self.all_answered()?;
        if self.spoken.last().is_none_or(|(role, _)| *role != "user") {
            // To Claude a last message of the assistant is the beginning of its answer, which OpenAI does not have.
            return Err(Invalid::new("messages", "must end with a message of the role user or tool"));
        }
        let turn = |(role, blocks): (&str, Vec<Value>)| {
            let mut message = json!({"role": role});
            message["content"] = blocks.into();
            message
        };
        Ok(Conversation {
            system: (!self.system.is_empty()).then(|| self.system.join(SYSTEM_SEPARATOR)),
            messages: self.spoken.into_iter().map(turn).collect(),
        })
    }
}

/// Claude tells no participants of one role apart, and a name that is dropped may be what the conversation turns on.
fn refuse_name(message: &mut Object) -> Result<(), Invalid> {
    message.refuse("name", "is not taken: Claude has no names of participants; write it into the content")
}

/// What an answer of the model may have beside what it says.
fn leave_out(message: &mut Object) -> Result<(), Invalid> {
    message.refuse("audio", "is not taken: Claude hears no audio")?;
    message.refuse("function_call", "is not taken; use tool_calls")?;
    // What clients send back as it came: annotations and `parsed` repeat what the text says, and thinking Claude takes back
    // only with its signature, which this dialect has no place for.
    for field in ["annotations", "parsed", "reasoning_content"] {
        message.take(field);
    }
    Ok(())
}

fn text_of(field: &Field) -> Result<&str, Invalid> {
    field.value.as_str().ok_or_else(|| field.refuse("takes a text"))
}

/// Nothing stands for no arguments, as models that call a function without any write it.
fn arguments(arguments: &Field) -> Result<Map<String, Value>, Invalid> {
    let text = text_of(arguments)?;
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(input)) => Ok(input),
        Ok(_) => Err(arguments.refuse("takes a JSON object as text; it is other JSON")),
        Err(error) => Err(arguments.refuse(format_args!("takes a JSON object as text; {error}"))),
    }
}

//! Functions become tools, and the choice among them Claude's.

use serde_json::{Value, json};

use super::{Invalid, field::Field, request::field};

const CHOICES: &str = "takes auto, none, required or {\"type\": \"function\", \"function\": {\"name\": …}}";

/// What a Messages request says of tools.
#[derive(Debug, Default)]
pub(super) struct Tools {
    pub(super) tools: Option<Value>,
    pub(super) choice: Option<Value>,
}

pub(super) fn read(tools: Option<Value>, choice: Option<Value>, parallel: Option<Value>) -> Result<Tools, Invalid> {
    let items = field("tools", tools).map(|tools| tools.items("takes a list of functions")).transpose()?;
    let tools = items.unwrap_or_default().into_iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    let one_at_a_time = !field("parallel_tool_calls", parallel).map_or(Ok(true), |parallel| parallel.flag())?;
    let choice = field("tool_choice", choice).map(|choice| self::choice(choice, &tools)).transpose()?;
    if tools.is_empty() {
        return Ok(Tools::default());
    }
    let choice = if one_at_a_time { Some(one_call(choice)) } else { choice };
    Ok(Tools { tools: Some(tools.into()), choice })
}

fn tool(item: Field) -> Result<Value, Invalid> {
    let mut item = item.object("takes an object with type and function")?;
    let kind = item.need("type", "takes function")?;
    if kind.value != "function" {
        return Err(kind.refuse("takes function: Claude has no tools of free text"));
    }
    let mut function = item.need("function", "takes an object with name")?.object("takes an object with name")?;
    item.finish()?;
    let mut tool = json!({"name": function.need_text("name", "takes a text")?});
    if let Some(description) = function.take("description") {
        tool["description"] = description.text("takes a text")?.into();
    }
    tool["input_schema"] = input_schema(function.take("parameters"))?;
    if function.take("strict").map_or(Ok(false), |strict| strict.flag())? {
        tool["strict"] = true.into();
    }
    function.finish()?;
    Ok(tool)
}

/// Claude takes objects only, and wants that said.
fn input_schema(parameters: Option<Field>) -> Result<Value, Invalid> {
    let Some(parameters) = parameters else { return Ok(json!({"type": "object", "properties": {}})) };
    match parameters.value {
        Value::Object(mut schema) => {
            schema.entry("type").or_insert("object".into());
            Ok(Value::Object(schema))
        }
        _ => Err(parameters.refuse("takes a JSON schema, which is an object")),
    }
}

fn choice(choice: Field, tools: &[Value]) -> Result<Value, Invalid> {
    let choice = match choice.value.as_str() {
        Some("auto") => return Ok(json!({"type": "auto"})),
        Some("none") => return Ok(json!({"type": "none"})),
        Some("required") if tools.is_empty() => return Err(choice.refuse("takes required only beside tools")),
        Some("required") => return Ok(json!({"type": "any"})),
        _ => choice,
    };
    let mut choice = choice.object(CHOICES)?;
    let kind = choice.need("type", "takes function")?;
    if kind.value != "function" {
        return Err(kind.refuse("takes function; leave the tools that are not allowed out of tools"));
    }
    let mut function = choice.need("function", "takes an object with name")?.object("takes an object with name")?;
    choice.finish()?;
    let name = function.need("name", "takes the name of a tool")?;
    function.finish()?;
    if !tools.iter().any(|tool| tool["name"] == name.value) {
        return Err(name.refuse("takes the name of one of the tools"));
    }
    Ok(json!({"type": "tool", "name": name.value}))
}

fn one_call(choice: Option<Value>) -> Value {
    let mut choice = choice.unwrap_or_else(|| json!({"type": "auto"}));
    // Where no call may be made there is none to make beside it, and Claude takes no more with `none`.
    if choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    choice
}

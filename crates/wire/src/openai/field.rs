//! JSON read with its place at hand, so that an error names the place as a path from the body's root.
//!
//! An [`Object`] is emptied field by field; what is left at [`Object::finish`] is unknown, and an error. `null` counts as
//! absent, as OpenAI's API takes it.

use serde_json::{Map, Value};

use super::Invalid;

/// A value, and its place.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) path: String,
    pub(super) value: Value,
}

impl Field {
    pub(super) fn refuse(&self, takes: impl std::fmt::Display) -> Invalid {
        Invalid::new(&self.path, takes)
    }

    pub(super) fn text(self, takes: &str) -> Result<String, Invalid> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => Err(self.refuse(takes)),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, Invalid> {
        self.value.as_bool().ok_or_else(|| self.refuse("takes true or false"))
    }

    pub(super) fn items(self, takes: &str) -> Result<Vec<Self>, Invalid> {
        let Value::Array(values) = self.value else { return Err(self.refuse(takes)) };
        let place = |index| format!("{}[{index}]", self.path);
        Ok(values.into_iter().enumerate().map(|(index, value)| Self { path: place(index), value }).collect())
    }

    pub(super) fn object(self, takes: &str) -> Result<Object, Invalid> {
        match self.value {
            Value::Object(fields) => Ok(Object { path: self.path, fields }),
            _ => Err(self.refuse(takes)),
        }
    }
}

/// An object, and its place.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) path: String,
    fields: Map<String, Value>,
}

impl Object {
    /// Takes the field out, when it is there and not null.
    pub(super) fn take(&mut self, name: &str) -> Option<Field> {
        let value = self.fields.remove(name).filter(|value| !value.is_null())?;
        Some(Field { path: self.place(name), value })
    }

    pub(super) fn need(&mut self, name: &str, takes: &str) -> Result<Field, Invalid> {
        self.take(name).ok_or_else(|| Invalid::new(self.place(name), format!("missing; {takes}")))
    }

    pub(super) fn need_text(&mut self, name: &str, takes: &str) -> Result<String, Invalid> {
        self.need(name, takes)?.text(takes)
    }

    /// Refuses the field, when it is there and not null.
    pub(super) fn refuse(&mut self, name: &str, takes: &str) -> Result<(), Invalid> {
        self.take(name).map_or(Ok(()), |field| Err(field.refuse(takes)))
    }

    /// Every field has been taken out, or is null.
    pub(super) fn finish(self) -> Result<(), Invalid> {
        match self.fields.iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => Err(Invalid::new(self.place(name), "is not known here; leave it out")),
        }
    }

    fn place(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

//! Fields: a JSON object whose values stay as they were written, so that what passes through is the caller's, byte for byte.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{Map, Value, value::RawValue};

/// The most fields that an object may have here: requests have a few dozen.
const FIELDS_MAX: usize = 256;

/// A JSON object, its values unread. No name is there twice: readers differ in which of two they believe.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// The value of this name, as it was written.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Puts a value in its place, or at the end.
    ///
    /// # Panics
    /// When `value` does not serialize; texts, numbers and the types of this crate do.
    pub fn set(&mut self, name: &str, value: &impl Serialize) {
        let value = serde_json::value::to_raw_value(value).expect("what is set serializes");
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Puts a value in its place, where there is one.
    pub fn set_some(&mut self, name: &str, value: Option<&impl Serialize>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Takes a value out.
    pub fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// The object in JSON, with these values in their places or at the end, and without those names.
    ///
    /// # Panics
    /// Never: what was read is written.
    pub fn written(&self, set: &[(&str, Value)], without: &[&str]) -> Vec<u8> {
        let new = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        let kept = self.iter().filter(|(name, _)| !without.contains(name));
        let mut bytes = Vec::with_capacity(self.iter().map(|(name, value)| name.len() + value.get().len() + 8).sum());
        let mut writer = serde_json::Serializer::new(&mut bytes);
        let mut map = Serializer::serialize_map(&mut writer, None).expect("a vector takes anything");
        for (name, value) in kept {
            match new(name) {
                Some(value) => map.serialize_entry(name, value).expect("JSON serializes"),
                None => map.serialize_entry(name, value).expect("JSON serializes"),
            }
        }
        for (name, value) in set.iter().filter(|(name, _)| self.get(name).is_none()) {
            map.serialize_entry(name, value).expect("JSON serializes");
        }
        SerializeMap::end(map).expect("a vector takes anything");
        bytes
    }

    /// The fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }
}

impl From<Map<String, Value>> for Fields {
    fn from(map: Map<String, Value>) -> Self {
        let mut fields = Self::default();
        for (name, value) in &map {
            fields.set(name, value);
        }
        fields
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<String>()? {
                    if fields.get(&name).is_some() {
                        return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    if fields.0.len() == FIELDS_MAX {
                        return Err(A::Error::custom(format_args!("more than {FIELDS_MAX} fields")));
                    }
                    fields.0.push((name, map.next_value()?));
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_passes_through_is_what_was_written() {
        let text = r#"{"b":1.0,"a":{"x":  [1e3,"\u00e9"],"x":2},"big":123456789012345678901234567890}"#;
        let fields: Fields = serde_json::from_str(text).expect("an object");
        assert_eq!(serde_json::to_string(&fields).expect("serializes"), text);
        let written = fields.written(&[("b", json!("two")), ("c", json!(3))], &["big"]);
        let changed = r#"{"b":"two","a":{"x":  [1e3,"\u00e9"],"x":2},"c":3}"#;
        assert_eq!(String::from_utf8(written).expect("text"), changed);
        let mut fields = fields;
        fields.set("b", &"two");
        fields.set("c", &3);
        assert_eq!(fields.take("big").expect("there").get(), "123456789012345678901234567890");
        assert_eq!(serde_json::to_string(&fields).expect("serializes"), changed);
    }

    #[test]
    fn a_name_that_is_there_twice_is_refused_however_it_is_written() {
        for text in [r#"{"model":1,"model":2}"#, r#"{"model":1,"\u006dodel":2}"#] {
            let error = serde_json::from_str::<Fields>(text).expect_err("twice").to_string();
            assert!(error.starts_with("duplicate field `model`"), "{error}");
        }
        let many: Vec<String> = (0..300).map(|number| format!("\"{number}\":0")).collect();
        assert!(serde_json::from_str::<Fields>(&format!("{{{}}}", many.join(","))).is_err());
    }
}

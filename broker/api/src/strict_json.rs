//! The strict reading of payloads: unique and known fields, whole numbers, bounded depth. It knows
//! no payload; callers take the fields they know and close the object.

use crate::keys;
use crate::reason::{Reason, Rejected};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

const MAX_DEPTH: usize = 8;
const MAX_INTEGER: u64 = (1 << 53) - 1;
const MAX_EXTENSIONS: usize = 16;

/// A value of the JSON that payloads may hold: no floating point, no negative number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`; only unknown extensions may hold it.
    Null,
    /// `true` or `false`; only unknown extensions may hold it.
    Bool(bool),
    /// 0 to 2^53 - 1.
    Integer(u64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object with unique names.
    Object(Object),
}

/// Parses a payload that must be one object, and takes `v`, `ext` and `crit` from it.
///
/// # Errors
/// `Malformed`, `UnsupportedVersion` when `v` is not 1, `UnknownCritical` when the object needs an
/// extension understood: this version knows none.
pub fn payload(bytes: &[u8]) -> Result<Object, Rejected> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Depth(1).deserialize(&mut reader).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    let Value::Object(mut object) = value else {
        return Err(Reason::Malformed.about("the payload is not an object"));
    };
    if object.integer("v")? != 1 {
        return Err(Reason::UnsupportedVersion.into());
    }
    if let Some(extensions) = object.optional_object("ext")?
        && extensions.0.len() > MAX_EXTENSIONS
    {
        return Err(Reason::Malformed.about("more than 16 extensions"));
    }
    if object.optional_list("crit")?.is_some_and(|names| !names.is_empty()) {
        return Err(Reason::UnknownCritical.into());
    }
    Ok(object)
}

fn malformed(cause: serde_json::Error) -> Rejected {
    Reason::Malformed.about(cause.to_string())
}

/// An object whose fields are taken one by one; what is left at [`Object::close`] is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object(BTreeMap<String, Value>);

impl Object {
    /// Says whether the field is there and not taken yet.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn take(&mut self, name: &str) -> Result<Value, Rejected> {
        self.0.remove(name).ok_or_else(|| Reason::Malformed.about(format!("no field {name}")))
    }

    /// Takes a string.
    ///
    /// # Errors
    /// `Malformed` when it is missing or of another type.
    pub fn text(&mut self, name: &str) -> Result<String, Rejected> {
        self.take(name)?.text().ok_or_else(|| wrong(name, "a string"))
    }

    /// Takes a string that may be missing.
    ///
    /// # Errors
    /// `Malformed` when it is of another type.
    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>, Rejected> {
        if self.has(name) { self.text(name).map(Some) } else { Ok(None) }
    }

    /// Takes an integer.
    ///
    /// # Errors
    /// `Malformed` when it is missing or of another type.
    pub fn integer(&mut self, name: &str) -> Result<u64, Rejected> {
        match self.take(name)? {
            Value::Integer(integer) => Ok(integer),
            _ => Err(wrong(name, "an integer")),
        }
    }

    /// Takes an integer that may be missing.
    ///
    /// # Errors
    /// `Malformed` when it is of another type.
    pub fn optional_integer(&mut self, name: &str) -> Result<Option<u64>, Rejected> {
        if self.has(name) { self.integer(name).map(Some) } else { Ok(None) }
    }

    /// Takes a key's 32 bytes, not judging the key.
    ///
    /// # Errors
    /// `Malformed` when it is missing or not 43 characters of base64url.
    pub fn key(&mut self, name: &str) -> Result<[u8; 32], Rejected> {
        keys::key_bytes(&self.text(name)?).map_err(|_| wrong(name, "a key in base64url"))
    }

    /// Takes a list.
    ///
    /// # Errors
    /// `Malformed` when it is missing or of another type.
    pub fn list(&mut self, name: &str) -> Result<Vec<Value>, Rejected> {
        match self.take(name)? {
            Value::List(list) => Ok(list),
            _ => Err(wrong(name, "a list")),
        }
    }

    /// Takes a list that may be missing.
    ///
    /// # Errors
    /// `Malformed` when it is of another type.
    pub fn optional_list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Rejected> {
        if self.has(name) { self.list(name).map(Some) } else { Ok(None) }
    }

    /// Takes a list of strings that may be missing, which is the same as empty.
    ///
    /// # Errors
    /// `Malformed` when it is of another type.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Rejected> {
        let list = self.optional_list(name)?.unwrap_or_default();
        list.into_iter()
            .map(|value| value.text().ok_or_else(|| wrong(name, "a list of strings")))
            .collect()
    }

    /// Takes a list of objects that may be missing, which is the same as empty.
    ///
    /// # Errors
    /// `Malformed` when it is of another type.
    pub fn objects(&mut self, name: &str) -> Result<Vec<Object>, Rejected> {
        let list = self.optional_list(name)?.unwrap_or_default();
        list.into_iter()
            .map(|value| match value {
                Value::Object(object) => Ok(object),
                _ => Err(wrong(name, "a list of objects")),
            })
            .collect()
    }

    /// Takes an object.
    ///
    /// # Errors
    /// `Malformed` when it is missing or of another type.
    pub fn object(&mut self, name: &str) -> Result<Object, Rejected> {
        match self.take(name)? {
            Value::Object(object) => Ok(object),
            _ => Err(wrong(name, "an object")),
        }
    }

    /// Takes an object that may be missing.
    ///
    /// # Errors
    /// `Malformed` when it is of another type.
    pub fn optional_object(&mut self, name: &str) -> Result<Option<Object>, Rejected> {
        if self.has(name) { self.object(name).map(Some) } else { Ok(None) }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `Malformed` when a field is left that nobody took.
    pub fn close(self) -> Result<(), Rejected> {
        match self.0.into_keys().next() {
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(Reason::Malformed.about(format!("unknown field {name:?}")))
            }
            None => Ok(()),
        }
    }
}

fn wrong(name: &str, expected: &str) -> Rejected {
    Reason::Malformed.about(format!("{name} is not {expected}"))
}

impl Value {
    fn text(self) -> Option<String> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Reads a value at this depth; the outermost object has depth 1.
struct Depth(usize);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl Depth {
    fn deeper<E: de::Error>(&self) -> Result<usize, E> {
        if self.0 > MAX_DEPTH { Err(E::custom("nested deeper than 8")) } else { Ok(self.0 + 1) }
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without fractions or negative numbers")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        if value > MAX_INTEGER {
            return Err(E::custom("an integer above 2^53 - 1"));
        }
        Ok(Value::Integer(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Depth(inner))? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Depth(inner))?;
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("a field stands twice"));
            }
        }
        Ok(Value::Object(Object(object)))
    }
}

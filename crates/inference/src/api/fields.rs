//! Reading JSON fields so that every error names the field and what it should have been.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::engine::EngineError;

/// A JSON object with the path by which a client knows it. `null` counts as absent.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    pub(crate) fn top(value: &'a Value) -> Result<Self, EngineError> {
        match value {
            Value::Object(map) => Ok(Self { map, path: String::new() }),
            other => Err(EngineError::BadRequest {
                message: format!("the body must be a JSON object, got {}", kind(other)),
                param: None,
            }),
        }
    }

    pub(crate) fn nested(value: &'a Value, path: String) -> Result<Self, EngineError> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(wrong(&path, "an object", other)),
        }
    }

    /// How the client writes the path to `key`.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.map.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key.as_str())
    }

    pub(crate) fn required(&self, key: &str) -> Result<&'a Value, EngineError> {
        let path = self.path(key);
        self.get(key).ok_or_else(|| EngineError::bad(&path, format!("`{path}` is missing")))
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&'a str>, EngineError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.path(key), "a string", other)),
        }
    }

    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, EngineError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(&self.path(key), "a boolean", other)),
        }
    }

    pub(crate) fn number(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, EngineError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let path = self.path(key);
        let Some(number) = value.as_f64() else { return Err(wrong(&path, "a number", value)) };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let (low, high) = (range.start(), range.end());
        Err(EngineError::bad(&path, format!("`{path}` must be between {low} and {high}, got {number}")))
    }

    pub(crate) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, EngineError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let path = self.path(key);
        let (low, high) = (range.start(), range.end());
        match value {
            Value::Number(number) if number.is_u64() || number.is_i64() => {
                let got = number.as_u64().filter(|number| range.contains(number));
                let bounds = if *high == u64::MAX {
                    format!("at least {low}")
                } else {
                    format!("between {low} and {high}")
                };
                let error = || EngineError::bad(&path, format!("`{path}` must be {bounds}, got {number}"));
                got.map(Some).ok_or_else(error)
            }
            other => Err(wrong(&path, "an integer", other)),
        }
    }
}

pub(crate) fn wrong(path: &str, expected: &str, got: &Value) -> EngineError {
    EngineError::bad(path, format!("`{path}` must be {expected}, got {}", kind(got)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fractional number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

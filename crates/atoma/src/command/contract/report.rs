//! What a command says: lines as they come, or with `--json` one object at the end.

use crate::output::say;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt::Display;

#[derive(Debug)]
pub(super) struct Report {
    is_json: bool,
    object: Map<String, Value>,
}

impl Report {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, object: Map::new() }
    }

    /// A line for people.
    pub(super) fn line(&self, name: &str, text: impl Display) {
        if !self.is_json {
            say!("{name:<12}{text}");
        }
    }

    /// A field for programs.
    pub(super) fn set(&mut self, name: &str, value: impl Serialize) {
        self.object.insert(name.to_owned(), json!(value));
    }

    /// The same under the same name for both.
    pub(super) fn field(&mut self, name: &str, value: impl Serialize + Display) {
        self.line(name, &value);
        self.set(name, value);
    }

    /// One more of a list for programs.
    pub(super) fn push(&mut self, list: &str, value: Value) {
        let list = self.object.entry(list).or_insert_with(|| json!([]));
        if let Value::Array(values) = list {
            values.push(value);
        }
    }

    pub(super) fn finish(self) {
        if self.is_json {
            say!("{}", Value::Object(self.object));
        }
    }
}

/// MIST as SUI, rounded up to four places.
pub(super) fn sui(mist: u64) -> String {
    let parts = mist.div_ceil(100_000);
    format!("{}.{:04} SUI", parts / 10_000, parts % 10_000)
}

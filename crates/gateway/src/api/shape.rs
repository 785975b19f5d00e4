//! Shapes of JSON, read off the types that are sent and taken, so that the document cannot say anything else.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A type whose JSON schema is known.
pub(super) trait Shape {
    fn schema() -> Value;
    /// Whether the field may be missing.
    const OPTIONAL: bool = false;
}

macro_rules! simple {
    ($($kind:ty => $schema:tt),* $(,)?) => {
        $(impl Shape for $kind {
            fn schema() -> Value {
                json!($schema)
            }
        })*
    };
}

simple! {
    String => {"type": "string"},
    &'static str => {"type": "string"},
    bool => {"type": "boolean"},
    u64 => {"type": "integer", "minimum": 0},
    usize => {"type": "integer", "minimum": 0},
    u8 => {"type": "integer", "minimum": 0},
    i64 => {"type": "integer"},
    atoma_types::Address => {"type": "string", "description": "An address of Sui, 0x and 64 hex digits."},
    atoma_types::Amount => {"type": "integer", "minimum": 0},
}

impl<T: Shape> Shape for Option<T> {
    const OPTIONAL: bool = true;

    fn schema() -> Value {
        let mut schema = T::schema();
        if let Some(kind) = schema.get("type").cloned() {
            schema["type"] = json!([kind, "null"]);
        }
        schema
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn schema() -> Value {
        json!({"type": "array", "items": T::schema()})
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

/// Of an object with these fields: name, schema, whether it may be missing, description.
pub(super) fn object(description: &str, fields: Vec<(&str, Value, bool, String)>) -> Value {
    let required: Vec<_> = fields.iter().filter(|field| !field.2).map(|field| field.0).collect();
    let mut properties = serde_json::Map::new();
    for (name, mut schema, _, description) in fields {
        if !description.is_empty() {
            schema["description"] = json!(description);
        }
        properties.insert(name.to_owned(), schema);
    }
    let mut schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    if !description.trim().is_empty() {
        schema["description"] = json!(description.trim());
    }
    schema
}

/// Declares types that are sent or taken, and their schemas.
macro_rules! shapes {
    ($($(#[doc = $doc:literal])* $how:ident struct $name:ident {
        $($(#[doc = $about:literal])* $field:ident: $kind:ty),* $(,)?
    })*) => {
        $(
            $crate::api::shape::derived! { $how
                $(#[doc = $doc])*
                pub(super) struct $name { $($(#[doc = $about])* pub(super) $field: $kind,)* }
            }

            impl $crate::api::shape::Shape for $name {
                fn schema() -> serde_json::Value {
                    use $crate::api::shape::Shape;
                    $crate::api::shape::object(concat!($($doc),*), vec![$((
                        stringify!($field),
                        <$kind as Shape>::schema(),
                        <$kind as Shape>::OPTIONAL,
                        concat!($($about),*).trim().to_owned(),
                    )),*])
                }
            }
        )*
    };
}

macro_rules! derived {
    (sent $item:item) => {
        #[derive(Clone, Debug, serde::Serialize)]
        $item
    };
    (taken $item:item) => {
        #[derive(Clone, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        $item
    };
}

/// Schemas of what the store tells, by field.
macro_rules! shape_of {
    ($($name:ident: $about:literal { $($field:ident: $kind:ty),* $(,)? })*) => {
        $(impl $crate::api::shape::Shape for $name {
            fn schema() -> serde_json::Value {
                // Fails to compile for a field that is not there.
                let _ = |one: &$name| { $(let _ = &one.$field;)* };
                $crate::api::shape::object($about, vec![$((
                    stringify!($field),
                    <$kind as $crate::api::shape::Shape>::schema(),
                    <$kind as $crate::api::shape::Shape>::OPTIONAL,
                    String::new(),
                )),*])
            }
        })*
    };
}

pub(super) use {derived, shape_of, shapes};

//! Changing single members of a JSON object in place: every other byte stays what it was.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Why bytes are no object that can be spliced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ObjectError {
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    /// Readers differ in which of the two they take.
    #[error("`{0}` is there twice")]
    Twice(&'static str),
}

/// Some members of a JSON object, found by name in the text that holds it.
#[derive(Debug)]
pub(super) struct Object<'a> {
    text: &'a str,
    /// Right behind the opening brace.
    inside: usize,
    is_empty: bool,
    members: Vec<(&'static str, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Finds the members called `names` of the object that is all of `text`, however their names are escaped.
    pub(super) fn read(text: &'a str, names: &'static [&'static str]) -> Result<Self, ObjectError> {
        Self::read_at(text, text, names)
    }

    /// The same of the object that is the value of a member, which may have been found in the same text.
    pub(super) fn nested(
        &self,
        member: &'a RawValue,
        names: &'static [&'static str],
    ) -> Result<Self, ObjectError> {
        Self::read_at(self.text, member.get(), names)
    }

    fn read_at(text: &'a str, object: &'a str, names: &'static [&'static str]) -> Result<Self, ObjectError> {
        let mut reader = serde_json::Deserializer::from_str(object);
        let found = Members(names).deserialize(&mut reader).map_err(json)?;
        reader.end().map_err(json)?;
        let found = found?;
        let brace = object.find('{').unwrap_or(0) + 1;
        let inside = span_in(text, object).start + brace;
        Ok(Self { text, inside, is_empty: found.is_empty, members: found.members })
    }

    /// The value of a member, `null` too.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// The value of a member; `null` counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.raw(name).filter(|value| value.get() != "null")
    }

    /// Where to write a member's value, and what to write before and after it.
    pub(super) fn place(&self, name: &'static str) -> Place {
        match self.raw(name) {
            Some(value) => Place { span: span_in(self.text, value.get()), name: None, comma: false },
            None => Place { span: self.inside..self.inside, name: Some(name), comma: !self.is_empty },
        }
    }
}

fn json(error: serde_json::Error) -> ObjectError {
    ObjectError::Json(error.to_string())
}

/// Where `part`, which was borrowed from `whole`, lies in it.
fn span_in(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    start..start + part.len()
}

/// Where a member's value goes: in place of the one that is there, or as the object's first member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    span: Range<usize>,
    name: Option<&'static str>,
    comma: bool,
}

impl Place {
    /// `value` is JSON.
    pub(super) fn write(self, value: &str) -> Edit {
        let text = match self.name {
            None => value.to_owned(),
            Some(name) => format!("\"{name}\":{value}{}", if self.comma { "," } else { "" }),
        };
        Edit { span: self.span, text }
    }
}

/// One replacement. Those of one text must not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    span: Range<usize>,
    text: String,
}

/// The text with its replacements; without any it is not copied.
pub(super) fn splice(text: &Bytes, mut edits: Vec<Edit>) -> Bytes {
    if edits.is_empty() {
        return text.clone();
    }
    edits.sort_by_key(|edit| edit.span.start);
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = Vec::with_capacity(text.len() + added);
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(text.get(at..edit.span.start).unwrap_or_default());
        out.extend_from_slice(edit.text.as_bytes());
        at = edit.span.end;
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    out.into()
}

struct Found<'a> {
    is_empty: bool,
    members: Vec<(&'static str, &'a RawValue)>,
}

/// Reads an object and keeps the members with these names.
struct Members(&'static [&'static str]);

/// A member's name with its escapes resolved.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Result<Found<'de>, ObjectError>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Result<Found<'de>, ObjectError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found { is_empty: true, members: Vec::new() };
        let mut twice = None;
        while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            found.is_empty = false;
            let Some(name) = self.0.iter().find(|wanted| **wanted == name.0) else { continue };
            if found.members.iter().any(|(other, _)| other == name) {
                twice = Some(*name);
            }
            if found.members.len() > self.0.len() {
                return Err(A::Error::custom("members are repeated"));
            }
            found.members.push((name, value));
        }
        Ok(twice.map_or(Ok(found), |name| Err(ObjectError::Twice(name))))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    const NAMES: &[&str] = &["model", "n", "options"];
    const INNER: &[&str] = &["usage"];

    fn set(text: &str, name: &'static str, value: &str) -> String {
        let edit = Object::read(text, NAMES).unwrap().place(name).write(value);
        String::from_utf8(splice(&Bytes::from(text.to_owned()), vec![edit]).to_vec()).unwrap()
    }

    #[test]
    fn replaces_a_value_and_nothing_else() {
        assert_eq!(
            set(r#" { "a":[1, 2] , "model" : "x" } "#, "model", "7"),
            r#" { "a":[1, 2] , "model" : 7 } "#
        );
        assert_eq!(
            set(r#"{"mod\u0065l":{"model":1},"n":1}"#, "model", "\"y\""),
            r#"{"mod\u0065l":"y","n":1}"#
        );
        assert_eq!(
            set(r#"{"a":"\"model\":1","model":null}"#, "model", "2"),
            r#"{"a":"\"model\":1","model":2}"#
        );
    }

    #[test]
    fn adds_what_is_not_there() {
        assert_eq!(set("\n{}", "n", "1"), "\n{\"n\":1}");
        assert_eq!(set(r#"{ "a":{"n":2}}"#, "n", "1"), r#"{"n":1, "a":{"n":2}}"#);
    }

    #[test]
    fn several_changes_and_nested_ones() {
        let text = Bytes::from_static(br#"{"model":"m","options": {"usage" : false, "x":1},"n":3}"#);
        let object = Object::read(std::str::from_utf8(&text).unwrap(), NAMES).unwrap();
        let inner = object.nested(object.get("options").unwrap(), INNER).unwrap();
        let edits = vec![
            object.place("n").write("4"),
            inner.place("usage").write("true"),
            object.place("model").write("\"long name\""),
        ];
        let expected = br#"{"model":"long name","options": {"usage" : true, "x":1},"n":4}"#;
        assert_eq!(&splice(&text, edits)[..], expected);
    }

    #[test]
    fn refuses_what_readers_could_read_in_two_ways() {
        let read = |text| Object::read(text, NAMES).err();
        assert_eq!(read(r#"{"n":1,"\u006e":2}"#), Some(ObjectError::Twice("n")));
        assert_eq!(read(r#"{"x":1,"x":2,"y":{"n":1,"n":2}}"#), None);
        for bad in ["[]", "7", "", "{", r#"{"n":}"#, r#"{"n":1} {"#, r#"{"n":1,}"#] {
            assert!(matches!(read(bad), Some(ObjectError::Json(_))), "{bad}");
        }
        let many = format!("{{{}\"n\":0}}", "\"n\":1,".repeat(1_000));
        assert!(Object::read(&many, NAMES).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\"\\\\{}:,n🦀 \n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[nmo\"\\\\ ]{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        /// Whatever the object and however it is laid out, a member is set as a parser would set it, and taking the
        /// change back gives the same bytes.
        #[test]
        fn sets_a_member_as_a_parser_would(
            members in prop::collection::btree_map("[nmo\"\\\\ ]{0,3}|model|n|options", value(), 0..6),
            pretty in any::<bool>(),
            new in value(),
        ) {
            let object = Value::Object(members.into_iter().collect::<Map<_, _>>());
            let text = if pretty { serde_json::to_string_pretty(&object).unwrap() } else { object.to_string() };
            let changed = set(&text, "n", &new.to_string());
            let mut expected = object.clone();
            expected["n"] = new;
            prop_assert_eq!(serde_json::from_str::<Value>(&changed).unwrap(), expected);
            if let Some(old) = object.get("n") {
                let old = Object::read(&text, NAMES).unwrap().raw("n").map(|raw| raw.get().to_owned()).unwrap_or_else(|| old.to_string());
                prop_assert_eq!(set(&changed, "n", &old), text);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,60}") {
            let _ = Object::read(&text, NAMES);
        }
    }

    #[test]
    fn null_counts_as_absent_but_is_replaced() {
        let text = r#"{"n":null}"#;
        assert!(Object::read(text, NAMES).unwrap().get("n").is_none());
        assert_eq!(set(text, "n", "5"), r#"{"n":5}"#);
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), json!({"n": null}));
    }
}

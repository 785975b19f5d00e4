//! What is said, whatever the endpoint.

use super::{Wrong, image};
use serde_json::{Map, Value, json};

/// Longest token in bytes.
const TOKEN_BYTES: usize = 8;
/// Most that it counts to.
const COUNT_MAX: usize = 100_000;
/// Levels of a schema that are filled in.
const DEPTH_MAX: usize = 16;

/// A conversation, as far as it matters here.
pub(crate) struct Heard {
    /// What was said last.
    pub(crate) last: String,
    /// Whether that is what a tool gave.
    pub(crate) from_tool: bool,
    pub(crate) tokens: usize,
    /// Sizes of the images in it.
    images: Vec<(u32, u32)>,
}

impl Heard {
    /// Of one text.
    pub(crate) fn text(text: &str) -> Self {
        Self { last: text.to_owned(), from_tool: false, tokens: tokens(text).len(), images: Vec::new() }
    }

    /// Of messages, or of the items of `/v1/responses`.
    pub(crate) fn messages(messages: &Value, name: &'static str) -> Result<Self, Wrong> {
        let mut heard = Self::text("");
        let list = messages.as_array().filter(|list| !list.is_empty());
        for message in list.ok_or_else(|| Wrong(name, "there are no messages".to_owned()))? {
            let is_output = message["type"] == "function_call_output";
            heard.from_tool = is_output || message["role"] == "tool";
            let content = if is_output { &message["output"] } else { &message["content"] };
            heard.content(content, name)?;
        }
        Ok(heard)
    }

    fn content(&mut self, content: &Value, name: &'static str) -> Result<(), Wrong> {
        if let Some(text) = content.as_str() {
            self.hear(text);
        }
        for part in content.as_array().into_iter().flatten() {
            if let Some(text) = part["text"].as_str() {
                self.hear(text);
            }
            let url = part["image_url"]["url"].as_str().or(part["image_url"].as_str());
            if let Some(url) = url {
                let size = image::size(url).ok_or_else(|| Wrong(name, "an image is no PNG".to_owned()))?;
                self.tokens += 64;
                self.images.push(size);
            }
        }
        Ok(())
    }

    fn hear(&mut self, text: &str) {
        self.tokens += tokens(text).len();
        text.clone_into(&mut self.last);
    }

    /// The answer, of so many choices the one with this index.
    pub(crate) fn reply(&self, choice: usize) -> String {
        let count = self.last.strip_prefix("Count to ").and_then(|number| number.parse::<usize>().ok());
        let reply = match (&self.images[..], count) {
            _ if self.from_tool => format!("The tool says: {}", self.last),
            ([], Some(count)) => {
                let numbers: Vec<String> =
                    (1..=count.min(COUNT_MAX)).map(|number| number.to_string()).collect();
                numbers.join(" ")
            }
            ([], None) => format!("You said: {}", self.last),
            (images, _) => {
                let sizes: Vec<String> =
                    images.iter().map(|(width, height)| format!("{width} by {height}")).collect();
                format!("You show me {}.", sizes.join(" and "))
            }
        };
        if choice == 0 { reply } else { format!("{reply} ({choice})") }
    }

    /// JSON that fits the schema; texts in it are what was said.
    pub(crate) fn fill_in(&self, schema: &Value) -> Value {
        self.filled(schema, schema, 0)
    }

    fn filled(&self, root: &Value, schema: &Value, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        let deeper = |schema| self.filled(root, schema, depth + 1);
        if let Some(path) = schema["$ref"].as_str() {
            return root.pointer(path.trim_start_matches('#')).map_or(Value::Null, deeper);
        }
        if let Some(only) = schema.get("const").or_else(|| schema["enum"].get(0)) {
            return only.clone();
        }
        if let Some(first) = schema["anyOf"].get(0) {
            return deeper(first);
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
        match kind.unwrap_or_default() {
            "object" => {
                let members = schema["properties"].as_object().into_iter().flatten();
                Value::Object(
                    members.map(|(name, schema)| (name.clone(), deeper(schema))).collect::<Map<_, _>>(),
                )
            }
            "array" => {
                let least = schema["minItems"].as_u64().and_then(|least| usize::try_from(least).ok());
                Value::Array(vec![deeper(&schema["items"]); least.unwrap_or(1)])
            }
            "string" => json!(self.last),
            "integer" => schema.get("minimum").cloned().unwrap_or(json!(7)),
            "number" => schema.get("minimum").cloned().unwrap_or(json!(1.5)),
            "boolean" => json!(true),
            _ => Value::Null,
        }
    }

    /// The name and the arguments of the tool to call, if any: one that must be, or one whose name was said. The tools
    /// are given by name and schema.
    pub(crate) fn tool(&self, tools: &[(&str, &Value)], choice: &Value) -> Option<(String, Value)> {
        let named = choice["function"]["name"].as_str().or(choice["name"].as_str());
        let found = match (choice.as_str(), named) {
            (_, Some(named)) => tools.iter().find(|tool| tool.0 == named),
            (Some("none"), _) => None,
            (Some("required"), _) => tools.first(),
            _ if self.from_tool => None,
            _ => tools.iter().find(|tool| self.last.contains(tool.0)),
        };
        found.map(|(name, schema)| ((*name).to_owned(), self.fill_in(schema)))
    }
}

/// Words, or pieces of long ones, with the space behind them.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let (mut found, mut start) = (Vec::new(), 0);
    for (at, letter) in text.char_indices() {
        let end = at + letter.len_utf8();
        if letter == ' ' || end - start >= TOKEN_BYTES {
            found.push(&text[start..end]);
            start = end;
        }
    }
    if start < text.len() {
        found.push(&text[start..]);
    }
    found
}

/// So much of the text as limit and stop strings allow, and whether the limit was reached.
pub(crate) fn within(text: &str, most: Option<usize>, stops: &Value) -> (Vec<String>, bool) {
    let one = stops.as_str().into_iter();
    let all = one.chain(stops.as_array().into_iter().flatten().filter_map(Value::as_str));
    let end = all.filter_map(|stop| text.find(stop)).min().unwrap_or(text.len());
    let found = tokens(&text[..end]);
    let most = most.unwrap_or(found.len());
    (found.iter().take(most).map(|token| (*token).to_owned()).collect(), found.len() > most)
}

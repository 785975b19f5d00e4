//! `/v1/chat/completions` and `/v1/completions`.

use super::say::{Heard, within};
use super::{Answer, Answered, Wrong, integer};
use serde_json::{Value, json};

/// One answer of several.
struct Choice {
    index: usize,
    tokens: Vec<String>,
    /// Name of the tool that the tokens are the arguments of.
    tool: Option<String>,
    finish: &'static str,
}

impl Choice {
    fn text(&self) -> String {
        self.tokens.concat()
    }

    fn call(&self, name: &str, arguments: &str) -> Value {
        let id = format!("call_{}", self.index);
        json!({"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }
}

/// What both endpoints ask for beside their texts.
struct Asked<'a> {
    body: &'a Value,
    chat: bool,
    choices: Vec<Choice>,
    prompt_tokens: usize,
    /// Alternatives per token, if log probabilities are wanted.
    top: Option<usize>,
}

pub(crate) fn chat(body: &Value) -> Answered {
    let heard = Heard::messages(&body["messages"], "messages")?;
    let most = integer(body, "max_completion_tokens")?.or(integer(body, "max_tokens")?);
    let tools = body["tools"].as_array().into_iter().flatten();
    let tools: Vec<(&str, &Value)> = tools
        .filter_map(|tool| Some((tool["function"]["name"].as_str()?, &tool["function"]["parameters"])))
        .collect();
    let tool = heard.tool(&tools, &body["tool_choice"]);
    let format = &body["response_format"];
    let choice = |index| {
        let text = match (&tool, format["type"].as_str()) {
            (Some((_, arguments)), _) => arguments.to_string(),
            (None, Some("json_schema")) => heard.fill_in(&format["json_schema"]["schema"]).to_string(),
            (None, Some("json_object")) => json!({"reply": heard.reply(index)}).to_string(),
            _ => heard.reply(index),
        };
        let tool = tool.as_ref().map(|(name, _)| name.clone());
        let (tokens, is_cut) = within(&text, most, &body["stop"]);
        let finish = match (&tool, is_cut) {
            (_, true) => "length",
            (Some(_), false) => "tool_calls",
            (None, false) => "stop",
        };
        Choice { index, tokens, tool, finish }
    };
    let top = match body["logprobs"].as_bool() {
        Some(true) => Some(integer(body, "top_logprobs")?.unwrap_or(0)),
        _ => None,
    };
    let choices = (0..count(body)?).map(choice).collect();
    Asked { body, chat: true, choices, prompt_tokens: heard.tokens, top }.answer()
}

pub(crate) fn complete(body: &Value) -> Answered {
    let prompt = &body["prompt"];
    let text = prompt.as_str().or(prompt[0].as_str());
    let heard = Heard::text(text.ok_or_else(|| Wrong("prompt", "there is no text".to_owned()))?);
    let most = Some(integer(body, "max_tokens")?.unwrap_or(16));
    let choice = |index| {
        let (tokens, is_cut) = within(&heard.reply(index), most, &body["stop"]);
        Choice { index, tokens, tool: None, finish: if is_cut { "length" } else { "stop" } }
    };
    let choices = (0..count(body)?).map(choice).collect();
    let top = integer(body, "logprobs")?;
    Asked { body, chat: false, choices, prompt_tokens: heard.tokens, top }.answer()
}

fn count(body: &Value) -> Result<usize, Wrong> {
    if body["temperature"].as_f64().is_some_and(|heat| !(0.0..=2.0).contains(&heat)) {
        return Err(Wrong("temperature", "temperature must be between 0 and 2".to_owned()));
    }
    Ok(integer(body, "n")?.unwrap_or(1))
}

impl Asked<'_> {
    fn answer(self) -> Answered {
        let completion: usize = self.choices.iter().map(|choice| choice.tokens.len()).sum();
        let usage = json!({
            "prompt_tokens": self.prompt_tokens, "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        });
        if self.body["stream"] == true {
            return Ok(Answer::Stream(self.events(&usage)));
        }
        let choices: Vec<Value> = self.choices.iter().map(|choice| self.whole(choice)).collect();
        let mut whole = self.head(if self.chat { "chat.completion" } else { "text_completion" });
        whole["choices"] = json!(choices);
        whole["usage"] = usage;
        Ok(Answer::Whole(whole))
    }

    fn head(&self, object: &str) -> Value {
        let id = if self.chat { "chatcmpl-1" } else { "cmpl-1" };
        json!({"id": id, "object": object, "created": 1_700_000_000, "model": self.body["model"]})
    }

    fn whole(&self, choice: &Choice) -> Value {
        let text = choice.text();
        let tokens: Vec<&str> = choice.tokens.iter().map(String::as_str).collect();
        let log_probs = self.log_probs(&tokens, 0);
        let mut whole = json!({"index": choice.index, "finish_reason": choice.finish, "logprobs": log_probs});
        match (&choice.tool, self.chat) {
            (Some(name), _) => {
                let calls = [choice.call(name, &text)];
                whole["message"] =
                    json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": calls});
            }
            (None, true) => {
                whole["message"] = json!({"role": "assistant", "content": text, "refusal": null});
            }
            (None, false) => whole["text"] = json!(text),
        }
        whole
    }

    fn events(&self, usage: &Value) -> Vec<String> {
        let mut events = Vec::new();
        for choice in &self.choices {
            if self.chat {
                let mut delta = json!({"role": "assistant", "content": ""});
                if let Some(name) = &choice.tool {
                    delta["content"] = Value::Null;
                    delta["tool_calls"] = json!([choice.call(name, "")]);
                }
                events.push(self.chunk(choice, &delta, Value::Null, Value::Null));
            }
            let mut offset = 0;
            for token in &choice.tokens {
                let part = match (&choice.tool, self.chat) {
                    (Some(_), _) => {
                        json!({"tool_calls": [{"index": 0, "function": {"arguments": token}}]})
                    }
                    (None, true) => json!({"content": token}),
                    (None, false) => json!(token),
                };
                events.push(self.chunk(choice, &part, self.log_probs(&[token], offset), Value::Null));
                offset += token.len();
            }
            let nothing = if self.chat { json!({}) } else { json!("") };
            events.push(self.chunk(choice, &nothing, Value::Null, json!(choice.finish)));
        }
        if self.body["stream_options"]["include_usage"] == true {
            let mut last = self.head(self.chunk_object());
            last["choices"] = json!([]);
            last["usage"] = usage.clone();
            events.push(format!("data: {last}\n\n"));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn chunk_object(&self) -> &'static str {
        if self.chat { "chat.completion.chunk" } else { "text_completion" }
    }

    fn chunk(&self, choice: &Choice, part: &Value, log_probs: Value, finish: Value) -> String {
        let mut chunk = self.head(self.chunk_object());
        let name = if self.chat { "delta" } else { "text" };
        chunk["choices"] = json!([{
            "index": choice.index, name: part, "logprobs": log_probs, "finish_reason": finish,
        }]);
        format!("data: {chunk}\n\n")
    }

    /// Log probabilities of tokens that begin at this byte of their text.
    fn log_probs(&self, tokens: &[&str], offset: usize) -> Value {
        let Some(top) = self.top else { return Value::Null };
        if self.chat {
            let one = |token: &&str| {
                let top = alternatives(token, top).into_iter().map(|(token, log_prob)| {
                    json!({"token": token, "logprob": log_prob, "bytes": token.as_bytes()})
                });
                let top: Vec<Value> = top.collect();
                json!({"token": token, "logprob": -0.5, "bytes": token.as_bytes(), "top_logprobs": top})
            };
            return json!({"content": tokens.iter().map(one).collect::<Vec<_>>(), "refusal": null});
        }
        let offsets = tokens.iter().scan(offset, |at, token| {
            let here = *at;
            *at += token.len();
            Some(here)
        });
        let top = |token: &&str| Value::Object(alternatives(token, top).into_iter().collect());
        json!({
            "tokens": tokens, "token_logprobs": vec![-0.5; tokens.len()],
            "top_logprobs": tokens.iter().map(top).collect::<Vec<Value>>(),
            "text_offset": offsets.collect::<Vec<_>>(),
        })
    }
}

/// The likeliest tokens at a place, with their log probabilities.
fn alternatives(token: &str, count: usize) -> Vec<(String, Value)> {
    (0..count).map(|rank| (format!("{token}{}", "'".repeat(rank)), json!(-0.5 * (1 + rank) as f64))).collect()
}

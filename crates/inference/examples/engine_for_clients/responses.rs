//! `/v1/responses`.

use super::say::{Heard, within};
use super::{Answer, Answered, integer};
use serde_json::{Value, json};

pub(crate) fn respond(body: &Value) -> Answered {
    let mut heard = match body["input"].as_str() {
        Some(text) => Heard::text(text),
        None => Heard::messages(&body["input"], "input")?,
    };
    heard.tokens += body["instructions"].as_str().map_or(0, |text| Heard::text(text).tokens);
    let tools = body["tools"].as_array().into_iter().flatten();
    let tools: Vec<(&str, &Value)> =
        tools.filter_map(|tool| Some((tool["name"].as_str()?, &tool["parameters"]))).collect();
    let tool = heard.tool(&tools, &body["tool_choice"]);
    let format = &body["text"]["format"];
    let text = match (&tool, format["type"].as_str()) {
        (Some((_, arguments)), _) => arguments.to_string(),
        (None, Some("json_schema")) => heard.fill_in(&format["schema"]).to_string(),
        _ => heard.reply(0),
    };
    let (tokens, is_cut) = within(&text, integer(body, "max_output_tokens")?, &Value::Null);
    let output = Output { tool: tool.map(|(name, _)| name), tokens, is_cut };
    if body["stream"] == true {
        return Ok(Answer::Stream(output.events(body, heard.tokens)));
    }
    Ok(Answer::Whole(output.response(body, heard.tokens, true)))
}

/// What is answered: a message, or a call of a tool.
struct Output {
    tool: Option<String>,
    tokens: Vec<String>,
    is_cut: bool,
}

impl Output {
    fn status(&self) -> &'static str {
        if self.is_cut { "incomplete" } else { "completed" }
    }

    fn item(&self, text: &str, status: &str) -> Value {
        if let Some(name) = &self.tool {
            return json!({
                "type": "function_call", "id": "fc_1", "call_id": "call_0", "name": name, "arguments": text,
                "status": status,
            });
        }
        let content = if status == "in_progress" { json!([]) } else { json!([part(text)]) };
        json!({"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content})
    }

    fn response(&self, body: &Value, input: usize, is_over: bool) -> Value {
        let output =
            if is_over { json!([self.item(&self.tokens.concat(), self.status())]) } else { json!([]) };
        let reason = if self.is_cut { json!({"reason": "max_output_tokens"}) } else { Value::Null };
        let mut response = json!({
            "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": body["model"],
            "status": if is_over { self.status() } else { "in_progress" },
            "error": null, "incomplete_details": reason, "instructions": body["instructions"],
            "metadata": {}, "output": output, "parallel_tool_calls": true, "temperature": 1.0, "top_p": 1.0,
            "tool_choice": body.get("tool_choice").cloned().unwrap_or(json!("auto")),
            "tools": body.get("tools").cloned().unwrap_or(json!([])), "usage": null,
        });
        if let Some(text) = body.get("text") {
            response["text"] = text.clone();
        }
        if is_over {
            let made = self.tokens.len();
            response["usage"] = json!({
                "input_tokens": input, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": made,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + made,
            });
        }
        response
    }

    fn events(&self, body: &Value, input: usize) -> Vec<String> {
        let begun = self.response(body, input, false);
        let mut events = vec![
            json!({"type": "response.created", "response": begun}),
            json!({"type": "response.in_progress", "response": begun}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": self.item("", "in_progress")}),
        ];
        let text = self.tokens.concat();
        let at = |kind: &str, id: &str| json!({"type": kind, "item_id": id, "output_index": 0});
        if self.tool.is_some() {
            events.extend(self.tokens.iter().map(|token| {
                let mut event = at("response.function_call_arguments.delta", "fc_1");
                event["delta"] = json!(token);
                event
            }));
            let mut event = at("response.function_call_arguments.done", "fc_1");
            event["arguments"] = json!(text);
            event["name"] = json!(self.tool);
            events.push(event);
        } else {
            let at = |kind: &str, name: &str, value: Value| {
                let mut event = at(kind, "msg_1");
                event["content_index"] = json!(0);
                event[name] = value;
                event
            };
            let delta = |token: &String| {
                let mut event = at("response.output_text.delta", "delta", json!(token));
                event["logprobs"] = json!([]);
                event
            };
            events.push(at("response.content_part.added", "part", part("")));
            events.extend(self.tokens.iter().map(delta));
            let mut done = at("response.output_text.done", "text", json!(text));
            done["logprobs"] = json!([]);
            events.push(done);
            events.push(at("response.content_part.done", "part", part(&text)));
        }
        let item = self.item(&text, self.status());
        events.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
        let last = if self.is_cut { "response.incomplete" } else { "response.completed" };
        events.push(json!({"type": last, "response": self.response(body, input, true)}));
        let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
            event["sequence_number"] = json!(number);
            format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
        });
        numbered.collect()
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

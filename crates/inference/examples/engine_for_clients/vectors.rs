//! `/v1/embeddings`: texts become vectors of length 1, equal ones the same.

use super::say::tokens;
use super::{Answer, Answered, Wrong, integer, number_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Numbers of a vector, unless the request says how many.
const WIDTH: usize = 64;

pub(crate) fn embed(body: &Value) -> Answered {
    let texts: Vec<&str> = match &body["input"] {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let asked = body["input"].as_array().map_or(1, Vec::len);
    if texts.is_empty() || texts.len() != asked {
        return Err(Wrong("input", "input must be texts".to_owned()));
    }
    let width = integer(body, "dimensions")?.unwrap_or(WIDTH);
    let one = |(index, text): (usize, &&str)| {
        let vector = vector(text, width);
        let written = match body["encoding_format"].as_str() {
            Some("base64") => {
                json!(
                    STANDARD
                        .encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
                )
            }
            _ => json!(vector),
        };
        json!({"object": "embedding", "index": index, "embedding": written})
    };
    let data: Vec<Value> = texts.iter().enumerate().map(one).collect();
    let count: usize = texts.iter().map(|text| tokens(text).len()).sum();
    let usage = json!({"prompt_tokens": count, "total_tokens": count});
    Ok(Answer::Whole(json!({"object": "list", "model": body["model"], "data": data, "usage": usage})))
}

fn vector(text: &str, width: usize) -> Vec<f32> {
    let number = |at: usize| {
        let hash = number_of(&format!("{at} {text}"));
        f32::from(u16::try_from(hash >> 48).unwrap_or_default()) / 65_536.0 - 0.5
    };
    let vector: Vec<f32> = (0..width).map(number).collect();
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    vector.iter().map(|number| number / length).collect()
}

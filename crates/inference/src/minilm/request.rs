//! Bodies of `/v1/embeddings`, and its answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::network::{VOCABULARY, WIDTH};
use crate::api::{Fields, wrong};
use crate::engine::EngineError;

/// Inputs of one request.
const INPUTS_MAX: usize = 2_048;
/// Tokens of one input, its two marks included: what the model was made for.
pub(super) const TOKENS_MAX: usize = 256;
/// Tokens of all inputs.
const TOTAL_MAX: usize = 65_536;
/// Bytes of text for each token that an input may have; more is refused without tokenizing it.
const BYTES_PER_TOKEN_MAX: usize = 16;
/// Fields that bear on bookkeeping only.
const INERT: &[&str] = &["user"];

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Floats,
    /// Little-endian floats of 32 bits in base64.
    Base64,
}

/// A checked body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) inputs: Vec<Vec<u32>>,
    pub(super) format: Format,
}

impl Request {
    pub(super) fn parse(body: &[u8], model: &str, tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| EngineError::BadRequest {
            message: format!("the body is not valid JSON: {error}"),
            param: None,
        })?;
        let fields = Fields::top(&value)?;
        let asked = fields.required("model")?;
        let asked = asked.as_str().ok_or_else(|| wrong("model", "a string", asked))?;
        if asked != model {
            return Err(EngineError::UnknownModel { asked: asked.to_owned(), serves: model.to_owned() });
        }
        let known = |key: &&str| ["model", "input", "encoding_format", "dimensions"].contains(key);
        if let Some(key) = fields.keys().find(|key| !known(key) && !INERT.contains(key)) {
            return Err(EngineError::bad(key, format!("`{key}` is not supported by this model")));
        }
        let width = u64::try_from(WIDTH).unwrap_or(u64::MAX);
        if fields.integer("dimensions", 1..=u64::MAX)?.is_some_and(|dimensions| dimensions != width) {
            return Err(EngineError::bad(
                "dimensions",
                format!("this model has {WIDTH} dimensions and no fewer"),
            ));
        }
        let format = match fields.string("encoding_format")? {
            None | Some("float") => Format::Floats,
            Some("base64") => Format::Base64,
            Some(other) => {
                let text = format!("`encoding_format` must be float or base64, got `{other}`");
                return Err(EngineError::bad("encoding_format", text));
            }
        };
        let inputs = inputs(fields.required("input")?, tokenizer)?;
        let total: usize = inputs.iter().map(Vec::len).sum();
        if total > TOTAL_MAX {
            let text = format!("`input` has {total} tokens in all, a request may have {TOTAL_MAX}");
            return Err(EngineError::bad("input", text));
        }
        Ok(Self { inputs, format })
    }

    pub(super) fn tokens(&self) -> u64 {
        self.inputs.iter().map(|input| u64::try_from(input.len()).unwrap_or(u64::MAX)).sum()
    }
}

/// Reads one input, whose place in the body is named.
type ReadInput<'a> = &'a dyn Fn(&Value, String) -> Result<Vec<u32>, EngineError>;

/// One text, several, the tokens of one, or of several.
fn inputs(value: &Value, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, EngineError> {
    let one = || "input".to_owned();
    let several = |items: &[Value], read: ReadInput<'_>| {
        if items.len() > INPUTS_MAX {
            let text = format!("`input` may have at most {INPUTS_MAX} inputs, got {}", items.len());
            return Err(EngineError::bad("input", text));
        }
        items.iter().enumerate().map(|(i, item)| read(item, format!("input[{i}]"))).collect()
    };
    match value {
        Value::String(text) => Ok(vec![words(text, &one(), tokenizer)?]),
        Value::Array(items) => match items.first() {
            Some(Value::String(_)) => {
                // Bounds the work before any is done.
                let bytes: usize = items.iter().filter_map(Value::as_str).map(str::len).sum();
                if bytes > TOTAL_MAX * BYTES_PER_TOKEN_MAX {
                    let text = format!(
                        "`input` has {bytes} bytes, a request may have {}",
                        TOTAL_MAX * BYTES_PER_TOKEN_MAX
                    );
                    return Err(EngineError::bad("input", text));
                }
                several(items, &|item, path| {
                    let text = item.as_str().ok_or_else(|| wrong(&path, "a string", item))?;
                    words(text, &path, tokenizer)
                })
            }
            Some(Value::Number(_)) => Ok(vec![ids(value, &one())?]),
            Some(Value::Array(_)) => several(items, &|item, path| ids(item, &path)),
            _ => Err(EngineError::bad("input", "`input` must have at least one text or token")),
        },
        other => Err(wrong("input", "a string, an array of strings, or token ids", other)),
    }
}

fn words(text: &str, path: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>, EngineError> {
    if text.is_empty() {
        return Err(EngineError::bad(path, format!("`{path}` is empty")));
    }
    let bytes_max = TOKENS_MAX * BYTES_PER_TOKEN_MAX;
    if text.len() > bytes_max {
        let text = format!("`{path}` has {} bytes, this model reads at most {bytes_max}", text.len());
        return Err(EngineError::bad(path, text));
    }
    let encoded =
        tokenizer.encode_fast(text, true).map_err(|error| EngineError::bad(path, error.to_string()))?;
    check_length(encoded.len(), path)?;
    Ok(encoded.get_ids().to_vec())
}

/// Tokens are taken as they come, with whatever marks they have.
fn ids(value: &Value, path: &str) -> Result<Vec<u32>, EngineError> {
    let Value::Array(items) = value else { return Err(wrong(path, "an array of token ids", value)) };
    if items.is_empty() {
        return Err(EngineError::bad(path, format!("`{path}` is empty")));
    }
    check_length(items.len(), path)?;
    let id = |item: &Value| {
        let id = item.as_u64().and_then(|id| u32::try_from(id).ok());
        id.filter(|id| usize::try_from(*id).is_ok_and(|id| id < VOCABULARY)).ok_or_else(|| {
            EngineError::bad(path, format!("`{path}` holds {item}, which is not a token of this model"))
        })
    };
    items.iter().map(id).collect()
}

fn check_length(tokens: usize, path: &str) -> Result<(), EngineError> {
    if tokens <= TOKENS_MAX {
        return Ok(());
    }
    let text = format!("`{path}` has {tokens} tokens, this model reads at most {TOKENS_MAX}");
    Err(EngineError::bad(path, text))
}

#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Embedding<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Floats(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// The body of an answer.
pub(super) fn answer(
    model: &str,
    vectors: &[Vec<f32>],
    format: Format,
    tokens: u64,
) -> Result<Vec<u8>, EngineError> {
    let vector = |vector| match format {
        Format::Floats => Vector::Floats(vector),
        Format::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        }
    };
    let data = vectors.iter().enumerate();
    let data = data.map(|(index, v)| Embedding { object: "embedding", index, embedding: vector(v) });
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    let answer = Answer { object: "list", data: data.collect(), model, usage };
    serde_json::to_vec(&answer).map_err(|error| EngineError::Internal(error.to_string()))
}

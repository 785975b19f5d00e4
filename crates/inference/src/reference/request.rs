//! From a body to a job: render, tokenize, check that it fits.

use bytes::Bytes;

use super::Loaded;
use crate::api::{self, Input, Request};
use crate::engine::{Endpoint, EngineError, Prepared};

/// Most bytes of text for each token of the context. Only runs of one character have as many, and they cost as much
/// as other text.
const BYTES_PER_TOKEN_MAX: usize = 16;

/// A request that can be queued.
#[derive(Debug)]
pub(super) struct Job {
    /// Its sampling seed is set, drawn if the body had none.
    pub(super) request: Request,
    pub(super) prompt: Vec<u32>,
}

pub(super) fn prepare(loaded: &Loaded, endpoint: Endpoint, body: &Bytes) -> Result<Prepared, EngineError> {
    let mut request = api::parse(endpoint, body, &loaded.id, &loaded.defaults)?;
    let prompt = tokens(loaded, &request)?;
    check_fit(loaded, &request, &prompt)?;
    request.sampling.seed = match request.seed {
        Some(seed) => seed,
        None => draw_seed()?,
    };
    let input_tokens = u64::try_from(prompt.len()).unwrap_or(u64::MAX);
    let max_output = request.max_tokens.map(|max| max.saturating_mul(request.choices.into()));
    Ok(Prepared::new(input_tokens, max_output, request.stream, Job { request, prompt }))
}

fn tokens(loaded: &Loaded, request: &Request) -> Result<Vec<u32>, EngineError> {
    let (text, param) = match &request.input {
        Input::Tokens(tokens) => return checked_ids(loaded, tokens),
        Input::Prompt(text) => (text.clone(), "prompt"),
        Input::Chat(chat) => {
            let rendered = loaded.template.render(&chat.messages);
            (rendered.map_err(|error| EngineError::bad("messages", error.to_string()))?, "messages")
        }
    };
    check_length(loaded, &text, param)?;
    let tokens =
        loaded.tokenizer.encode(&text).map_err(|error| EngineError::bad(param, error.to_string()))?;
    if tokens.is_empty() {
        return Err(EngineError::bad(param, format!("`{param}` is empty")));
    }
    Ok(tokens)
}

/// Refuses what cannot fit without tokenizing it, which would take a second for a megabyte. What passes costs no more
/// than a small multiple of the context's length.
fn check_length(loaded: &Loaded, text: &str, param: &'static str) -> Result<(), EngineError> {
    if text.len() <= loaded.context {
        return Ok(());
    }
    let at_least = loaded.tokenizer.at_least(text, loaded.context);
    if at_least > loaded.context {
        return Err(too_long(loaded, at_least, 1, param));
    }
    let (bytes, limit) = (text.len(), loaded.context.saturating_mul(BYTES_PER_TOKEN_MAX));
    if bytes > limit {
        let text = format!("`{param}` makes a text of {bytes} bytes, this model reads at most {limit}");
        return Err(EngineError::bad(param, text));
    }
    Ok(())
}

fn checked_ids(loaded: &Loaded, tokens: &[u32]) -> Result<Vec<u32>, EngineError> {
    if tokens.is_empty() {
        return Err(EngineError::bad("prompt", "`prompt` is empty"));
    }
    let known = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < loaded.tokenizer.len());
    match tokens.iter().find(|id| !known(id)) {
        Some(id) => Err(EngineError::bad(
            "prompt",
            format!("`prompt` holds {id}, which is not a token of this model"),
        )),
        None => Ok(tokens.to_vec()),
    }
}

/// The prompt and what the body asks for must fit the context; without a limit, at least one token must.
fn check_fit(loaded: &Loaded, request: &Request, prompt: &[u32]) -> Result<(), EngineError> {
    let asked = request.max_tokens.unwrap_or(1);
    let left = u64::try_from(loaded.context.saturating_sub(prompt.len())).unwrap_or(0);
    if asked <= left {
        return Ok(());
    }
    let chat = request.endpoint == Endpoint::ChatCompletions;
    let param = match (left, chat) {
        (0, true) => "messages",
        (0, false) => "prompt",
        _ => "max_tokens",
    };
    Err(too_long(loaded, prompt.len(), asked, param))
}

fn too_long(loaded: &Loaded, input: usize, output: u64, param: &'static str) -> EngineError {
    EngineError::ContextLength {
        input_tokens: u64::try_from(input).unwrap_or(u64::MAX),
        output_tokens: output,
        limit: u64::try_from(loaded.context).unwrap_or(u64::MAX),
        param,
    }
}

/// 53 random bits: every JSON reader can hold such a number exactly.
fn draw_seed() -> Result<u64, EngineError> {
    let seed = getrandom::u64().map_err(|error| EngineError::Internal(error.to_string()))?;
    Ok(seed >> 11)
}

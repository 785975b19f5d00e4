//! Response bodies: server-sent chunks for a stream, one JSON object otherwise.

use bytes::Bytes;
use serde::Serialize;

use super::request::Request;
use crate::engine::{Endpoint, EngineError};

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Finish {
    Stop,
    Length,
}

/// One token with its log probability and the alternatives asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct TokenLogProb {
    pub(crate) token: String,
    pub(crate) logprob: f64,
    pub(crate) bytes: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_logprobs: Option<Vec<TokenLogProb>>,
}

/// What one step added to one choice.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) choice: u32,
    pub(crate) text: String,
    pub(crate) log_probs: Vec<TokenLogProb>,
    pub(crate) finish: Option<Finish>,
}

#[derive(Debug, Clone, Serialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

/// The fields around the choices, equal in every chunk of an answer.
#[derive(Debug, Clone, Serialize)]
struct Envelope<'a, C> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    /// Not OpenAI's: the seed in use, so that an answer without a given seed can be repeated.
    seed: u64,
    choices: Vec<C>,
    /// Absent, `null` in a chunk before the last, or the numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct ChatChunk<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<ChatLogProbs<'a>>,
    finish_reason: Option<Finish>,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
struct ChatChoice<'a> {
    index: u32,
    message: ChatMessage<'a>,
    logprobs: Option<ChatLogProbs<'a>>,
    finish_reason: Option<Finish>,
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct ChatLogProbs<'a> {
    content: &'a [TokenLogProb],
    refusal: Option<()>,
}

#[derive(Serialize)]
struct TextChoice<'a> {
    index: u32,
    text: &'a str,
    logprobs: Option<TextLogProbs<'a>>,
    finish_reason: Option<Finish>,
}

/// The older format of the plain completions endpoint.
#[derive(Serialize)]
struct TextLogProbs<'a> {
    tokens: Vec<&'a str>,
    token_logprobs: Vec<f64>,
    top_logprobs: Option<Vec<serde_json::Map<String, serde_json::Value>>>,
    text_offset: Vec<usize>,
}

/// Builds the bytes of one answer.
#[derive(Debug)]
pub(crate) struct Responder {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    seed: u64,
    chat: bool,
    stream: bool,
    include_usage: bool,
    log_probs: bool,
    started: bool,
    /// What each choice said; text only where the whole body is sent at once.
    whole: Vec<Piece>,
    /// Characters each choice said so far.
    offsets: Vec<usize>,
}

impl Responder {
    /// `created` is in seconds since 1970; `unique` makes the id.
    pub(crate) fn new(
        request: &Request,
        model: &str,
        fingerprint: &str,
        seed: u64,
        created: u64,
        unique: &str,
    ) -> Self {
        let chat = request.endpoint == Endpoint::ChatCompletions;
        let prefix = if chat { "chatcmpl" } else { "cmpl" };
        Self {
            id: format!("{prefix}-{unique}"),
            created,
            model: model.to_owned(),
            fingerprint: fingerprint.to_owned(),
            seed,
            chat,
            stream: request.stream,
            include_usage: request.include_usage,
            log_probs: request.log_probs.is_some(),
            started: false,
            whole: (0..request.choices).map(|choice| Piece { choice, ..Piece::default() }).collect(),
            offsets: (0..request.choices).map(|_| 0).collect(),
        }
    }

    /// The events for a piece; nothing where the body comes at the end or nothing is to be said yet.
    pub(crate) fn piece(&mut self, piece: Piece) -> Result<Option<Bytes>, EngineError> {
        let Some(whole) = usize::try_from(piece.choice).ok().and_then(|index| self.whole.get_mut(index))
        else {
            return Ok(None);
        };
        if !self.stream {
            whole.text.push_str(&piece.text);
            whole.log_probs.extend(piece.log_probs);
            whole.finish = piece.finish.or(whole.finish);
            return Ok(None);
        }
        whole.log_probs.extend(piece.log_probs);
        if piece.text.is_empty() && piece.finish.is_none() {
            return Ok(None);
        }
        let log_probs = std::mem::take(&mut whole.log_probs);
        let mut events = Vec::with_capacity(512);
        if !self.started {
            self.started = true;
            self.opening(&mut events)?;
        }
        if !piece.text.is_empty() || !log_probs.is_empty() {
            self.event(&mut events, piece.choice, Some(&piece.text), &log_probs, None)?;
        }
        if piece.finish.is_some() {
            self.event(&mut events, piece.choice, None, &[], piece.finish)?;
        }
        if let Some(offset) = usize::try_from(piece.choice).ok().and_then(|i| self.offsets.get_mut(i)) {
            *offset += piece.text.chars().count();
        }
        Ok(Some(events.into()))
    }

    /// The last bytes: the usage chunk if asked for, or the whole body.
    pub(crate) fn end(&mut self, input: u64, output: u64) -> Result<Option<Bytes>, EngineError> {
        let usage = Usage {
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: input.saturating_add(output),
        };
        let mut bytes = Vec::with_capacity(512);
        if !self.stream {
            self.body(&mut bytes, usage)?;
            return Ok(Some(bytes.into()));
        }
        if !self.include_usage {
            return Ok(None);
        }
        self.sse(&mut bytes, &self.envelope::<ChatChunk<'_>>(Vec::new(), Some(Some(usage))))?;
        Ok(Some(bytes.into()))
    }

    /// The chunks that announce each choice's role.
    fn opening(&self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        if !self.chat {
            return Ok(());
        }
        for choice in &self.whole {
            let delta = Delta { role: Some("assistant"), content: Some("") };
            let chunk = ChatChunk { index: choice.choice, delta, logprobs: None, finish_reason: None };
            self.sse(out, &self.envelope(vec![chunk], self.pending_usage()))?;
        }
        Ok(())
    }

    fn event(
        &self,
        out: &mut Vec<u8>,
        choice: u32,
        text: Option<&str>,
        log_probs: &[TokenLogProb],
        finish: Option<Finish>,
    ) -> Result<(), EngineError> {
        let wanted = self.log_probs && text.is_some();
        if self.chat {
            let chunk = ChatChunk {
                index: choice,
                delta: Delta { role: None, content: text },
                logprobs: wanted.then_some(ChatLogProbs { content: log_probs, refusal: None }),
                finish_reason: finish,
            };
            return self.sse(out, &self.envelope(vec![chunk], self.pending_usage()));
        }
        let chunk = TextChoice {
            index: choice,
            text: text.unwrap_or(""),
            logprobs: wanted.then(|| self.text_log_probs(choice, log_probs)),
            finish_reason: finish,
        };
        self.sse(out, &self.envelope(vec![chunk], self.pending_usage()))
    }

    fn body(&self, out: &mut Vec<u8>, usage: Usage) -> Result<(), EngineError> {
        let usage = Some(Some(usage));
        let written = if self.chat {
            let choices = self.whole.iter().map(|whole| ChatChoice {
                index: whole.choice,
                message: ChatMessage { role: "assistant", content: &whole.text, refusal: None },
                logprobs: self.log_probs.then_some(ChatLogProbs { content: &whole.log_probs, refusal: None }),
                finish_reason: whole.finish,
            });
            serde_json::to_writer(out, &self.envelope(choices.collect(), usage))
        } else {
            let choices = self.whole.iter().map(|whole| TextChoice {
                index: whole.choice,
                text: &whole.text,
                logprobs: self.log_probs.then(|| self.text_log_probs(whole.choice, &whole.log_probs)),
                finish_reason: whole.finish,
            });
            serde_json::to_writer(out, &self.envelope(choices.collect(), usage))
        };
        written.map_err(|error| EngineError::Internal(error.to_string()))
    }

    fn text_log_probs<'a>(&self, choice: u32, tokens: &'a [TokenLogProb]) -> TextLogProbs<'a> {
        let mut offset = usize::try_from(choice).ok().and_then(|i| self.offsets.get(i)).copied().unwrap_or(0);
        let mut text_offset = Vec::with_capacity(tokens.len());
        for token in tokens {
            text_offset.push(offset);
            offset += token.token.chars().count();
        }
        let alternatives = |token: &TokenLogProb| {
            let top = token.top_logprobs.iter().flatten();
            top.map(|other| (other.token.clone(), other.logprob.into())).collect()
        };
        let any = tokens.iter().any(|token| token.top_logprobs.is_some());
        TextLogProbs {
            tokens: tokens.iter().map(|token| token.token.as_str()).collect(),
            token_logprobs: tokens.iter().map(|token| token.logprob).collect(),
            top_logprobs: any.then(|| tokens.iter().map(alternatives).collect()),
            text_offset,
        }
    }

    /// `usage` of a chunk before the last.
    fn pending_usage(&self) -> Option<Option<Usage>> {
        self.include_usage.then_some(None)
    }

    fn envelope<C>(&self, choices: Vec<C>, usage: Option<Option<Usage>>) -> Envelope<'_, C> {
        let object = match (self.chat, self.stream) {
            (true, true) => "chat.completion.chunk",
            (true, false) => "chat.completion",
            (false, _) => "text_completion",
        };
        Envelope {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            seed: self.seed,
            choices,
            usage,
        }
    }

    fn sse(&self, out: &mut Vec<u8>, chunk: &impl Serialize) -> Result<(), EngineError> {
        out.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut *out, chunk).map_err(|error| EngineError::Internal(error.to_string()))?;
        out.extend_from_slice(b"\n\n");
        Ok(())
    }
}

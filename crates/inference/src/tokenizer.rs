//! Text to tokens and back, from the vocabulary inside a GGUF file.

mod fragments;

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, PreTokenizerWrapper};

use crate::gguf::{Gguf, GgufError, Value};
use fragments::Fragments;

/// GGUF's token type for control tokens such as `<|im_end|>`.
const CONTROL: u64 = 3;

/// Why a vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error("tokenizer `{model}` with pre-tokenizer `{pre}` is not supported, only `gpt2` with `smollm` is")]
    Kind { model: String, pre: String },
    #[error("token {0} of the vocabulary is malformed")]
    Token(usize),
    #[error("merge {0} of the vocabulary is malformed")]
    Merge(usize),
    #[error("the vocabulary is inconsistent: {0}")]
    Build(String),
    #[error("the text cannot be encoded: {0}")]
    Encode(String),
}

/// Byte-level BPE with control tokens.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// What each token spells; control tokens spell nothing.
    spellings: Vec<Box<[u8]>>,
    names: Vec<String>,
    bos: Option<u32>,
    eos: u32,
    end_of_text: Option<u32>,
    /// Control tokens that do not end an answer.
    silent: Vec<u32>,
    fragments: Fragments,
}

impl Tokenizer {
    pub(crate) fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, TokenizerError> {
        let (model, pre) = (gguf.string("tokenizer.ggml.model")?, gguf.string("tokenizer.ggml.pre")?);
        if (model, pre) != ("gpt2", "smollm") {
            return Err(TokenizerError::Kind { model: model.to_owned(), pre: pre.to_owned() });
        }
        let names = read_names(gguf)?;
        let control = read_control(gguf, names.len())?;
        let alphabet = alphabet();
        let mut spellings = Vec::with_capacity(names.len());
        for (id, name) in names.iter().enumerate() {
            spellings.push(if control[id] {
                Box::default()
            } else {
                spell(&alphabet, name).ok_or(TokenizerError::Token(id))?
            });
        }
        let inner = build(gguf, &names, special_names(&names, &control))?;
        let find =
            |text: &str| names.iter().position(|name| name == text).and_then(|id| u32::try_from(id).ok());
        let eos = u32::try_from(gguf.unsigned("tokenizer.ggml.eos_token_id")?)
            .map_err(|_| TokenizerError::Build("the end token is out of range".into()))?;
        let end_of_text = find("<|endoftext|>");
        let ids = (0u32..).zip(&control).filter(|(_, control)| **control).map(|(id, _)| id);
        let silent = ids.filter(|id| *id != eos && Some(*id) != end_of_text).collect();
        Ok(Self {
            inner,
            silent,
            bos: gguf.unsigned("tokenizer.ggml.bos_token_id").ok().and_then(|id| u32::try_from(id).ok()),
            eos,
            end_of_text,
            fragments: Fragments::new(&spellings, special_names(&names, &control)),
            spellings,
            names,
        })
    }

    /// Tokens of `text`; control tokens written out in it are recognized.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|error| TokenizerError::Encode(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The bytes that a token adds to the text.
    pub(crate) fn spelling(&self, token: u32) -> &[u8] {
        let index = usize::try_from(token).unwrap_or(usize::MAX);
        self.spellings.get(index).map_or(&[], |bytes| bytes)
    }

    /// Whether generation ends at this token.
    pub(crate) fn ends(&self, token: u32) -> bool {
        token == self.eos || Some(token) == self.end_of_text
    }

    /// Tokens that add nothing to the text and do not end it. They are never sampled: a client could not see that it
    /// pays for them.
    pub(crate) fn silent(&self) -> &[u32] {
        &self.silent
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// How many tokens [`Self::encode`] gives at least, counted no further than one above `limit`.
    pub(crate) fn at_least(&self, text: &str, limit: usize) -> usize {
        self.fragments.fewest(text.as_bytes(), limit)
    }

    pub(crate) fn bos_name(&self) -> &str {
        self.name(self.bos)
    }

    pub(crate) fn eos_name(&self) -> &str {
        self.name(Some(self.eos))
    }

    fn name(&self, token: Option<u32>) -> &str {
        let index = token.and_then(|token| usize::try_from(token).ok()).unwrap_or(usize::MAX);
        self.names.get(index).map_or("", String::as_str)
    }

    /// What a token is called where a client asks for log probabilities.
    pub(crate) fn label(&self, token: u32) -> String {
        match self.spelling(token) {
            [] => self.name(Some(token)).to_owned(),
            bytes => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

fn special_names<'n>(names: &'n [String], control: &[bool]) -> impl Iterator<Item = &'n String> {
    names.iter().zip(control).filter(|(_, control)| **control).map(|(name, _)| name)
}

fn read_names(gguf: &Gguf<'_>) -> Result<Vec<String>, TokenizerError> {
    let tokens = gguf.array("tokenizer.ggml.tokens")?;
    let name = |(id, value): (usize, &Value)| match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(TokenizerError::Token(id)),
    };
    tokens.iter().enumerate().map(name).collect()
}

fn read_control(gguf: &Gguf<'_>, len: usize) -> Result<Vec<bool>, TokenizerError> {
    let types = gguf.array("tokenizer.ggml.token_type")?;
    if types.len() != len {
        return Err(TokenizerError::Build(format!("{len} tokens but {} token types", types.len())));
    }
    let control = |value: &Value| match value {
        Value::Unsigned(ty) => *ty == CONTROL,
        Value::Signed(ty) => u64::try_from(*ty) == Ok(CONTROL),
        _ => false,
    };
    Ok(types.iter().map(control).collect())
}

fn build<'n>(
    gguf: &Gguf<'_>,
    names: &[String],
    special: impl Iterator<Item = &'n String>,
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let fail = |error: tokenizers::Error| TokenizerError::Build(error.to_string());
    let numbered = names.iter().zip(0u32..).map(|(name, id)| (name.clone(), id));
    let vocabulary: Vocab = numbered.collect();
    let mut merges = Vec::new();
    for (i, value) in gguf.array("tokenizer.ggml.merges")?.iter().enumerate() {
        let Value::String(text) = value else { return Err(TokenizerError::Merge(i)) };
        let (left, right) = text.split_once(' ').ok_or(TokenizerError::Merge(i))?;
        merges.push((left.to_owned(), right.to_owned()));
    }
    let model = BPE::builder().vocab_and_merges(vocabulary, merges).build().map_err(fail)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
    ])));
    let added: Vec<AddedToken> = special.map(|name| AddedToken::from(name.clone(), true)).collect();
    tokenizer.add_special_tokens(&added);
    Ok(tokenizer)
}

/// The printable stand-ins that byte-level BPE writes for bytes.
fn alphabet() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut map = HashMap::with_capacity(256);
    let mut next = 256u32;
    for byte in 0..=u8::MAX {
        if printable(byte) {
            map.insert(char::from(byte), byte);
        } else {
            map.extend(char::from_u32(next).map(|stand_in| (stand_in, byte)));
            next += 1;
        }
    }
    map
}

fn spell(alphabet: &HashMap<char, u8>, name: &str) -> Option<Box<[u8]>> {
    name.chars().map(|c| alphabet.get(&c).copied()).collect()
}

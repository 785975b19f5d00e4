//! Counting tokens where the engine does not: with its tokenizer, or as well as can be without.

use std::path::Path;

use tokenizers::Tokenizer;

use super::request::{Text, count};

/// Bytes of text per token, about, in the languages and programs that models mostly read.
const BYTES_PER_TOKEN: u64 = 4;
/// Longer texts than this per token of the context are not tokenized: they hardly fit, and it would take seconds.
const BYTES_PER_TOKEN_MAX: u64 = 16;
/// Text is tokenized for good in pieces of about this size, cut where a word begins.
const PIECE: usize = 256;

/// Counts the tokens of texts.
#[derive(Debug)]
pub(super) struct Counter {
    tokenizer: Option<Tokenizer>,
    text_max: u64,
}

/// How many tokens some texts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) tokens: u64,
    /// Whether each was counted by the tokenizer.
    pub(super) is_exact: bool,
}

impl Counter {
    pub(super) fn new(tokenizer: Option<&Path>, context_tokens: u64) -> Result<Self, String> {
        let load = |path: &Path| {
            let mut tokenizer = Tokenizer::from_file(path).map_err(|error| error.to_string())?;
            // Some files say that texts are cut or filled up to a length.
            tokenizer.with_padding(None).with_truncation(None).map_err(|error| error.to_string())?;
            Ok::<_, String>(tokenizer)
        };
        let tokenizer = tokenizer.map(load).transpose()?;
        Ok(Self { tokenizer, text_max: context_tokens.saturating_mul(BYTES_PER_TOKEN_MAX) })
    }

    pub(super) fn has_tokenizer(&self) -> bool {
        self.tokenizer.is_some()
    }

    /// Tokens of all texts together, with the marks that the tokenizer puts around each if they come alone.
    pub(super) fn count(&self, texts: &[Text<'_>], alone: bool) -> Count {
        let bytes = texts.iter().map(|text| match text {
            Text::Words(words) => count(words.len()),
            Text::Ids(_) => 0,
        });
        let fits = bytes.fold(0, u64::saturating_add) <= self.text_max;
        let mut all = Count { tokens: 0, is_exact: !texts.is_empty() };
        for text in texts {
            let (tokens, is_exact) = match text {
                Text::Ids(ids) => (*ids, true),
                Text::Words(words) => match fits.then(|| self.encode(words, alone)).flatten() {
                    Some(tokens) => (tokens, true),
                    None => (count(words.len()) / BYTES_PER_TOKEN, false),
                },
            };
            all.tokens = all.tokens.saturating_add(tokens);
            all.is_exact &= is_exact;
        }
        all
    }

    fn encode(&self, text: &str, marks: bool) -> Option<u64> {
        let encoding = self.tokenizer.as_ref()?.encode_fast(text, marks).ok()?;
        Some(count(encoding.len()))
    }
}

/// The tokens of a text that grows.
#[derive(Debug, Default)]
pub(super) struct Meter {
    counted: u64,
    open: String,
}

impl Meter {
    /// Adds text and returns how many tokens there are now; `None` without a tokenizer.
    pub(super) fn push(&mut self, counter: &Counter, text: &str) -> Option<u64> {
        self.open.push_str(text);
        while self.open.len() > 2 * PIECE {
            let at = cut(&self.open);
            let rest = self.open.split_off(at);
            self.counted = self.counted.saturating_add(counter.encode(&self.open, false)?);
            self.open = rest;
        }
        Some(self.counted.saturating_add(counter.encode(&self.open, false)?))
    }
}

/// Where to cut a text: before the last space of its first piece, else after the piece.
fn cut(text: &str) -> usize {
    let end = (0..=PIECE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    match text[..end].rfind(' ') {
        Some(at) if at > 0 => at,
        _ => end,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn without_a_tokenizer_four_bytes_are_a_token() {
        let counter = Counter::new(None, 100).unwrap();
        let texts = [Text::Words("12345678".into()), Text::Ids(3)];
        assert_eq!(counter.count(&texts, true), Count { tokens: 5, is_exact: false });
        assert_eq!(counter.count(&texts[1..], true), Count { tokens: 3, is_exact: true });
        assert_eq!(counter.count(&[], true), Count { tokens: 0, is_exact: false });
        assert_eq!(Meter::default().push(&counter, "text"), None);
    }

    #[test]
    fn long_text_is_cut_between_words() {
        assert_eq!(cut(&"ab ".repeat(200)), 254);
        assert_eq!(cut(&"é".repeat(300)), 256);
        assert_eq!(cut(&"🦀é".repeat(300)), 256);
    }
}

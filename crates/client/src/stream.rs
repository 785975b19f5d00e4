//! Finds the receipt in a streamed answer while its bytes pass through unchanged.

use crate::ledger::Disagreement;
use atoma_types::hash::Hasher;
use atoma_types::wire::{self, ENCODED_MAX, RECEIPT_COMMENT, SSE_DONE};
use atoma_types::{Hash32, Receipt, Signed};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Longest event that is looked into for its tokens; a longer one counts by its bytes.
const LINE_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a line of which so many bytes look like the receipt's.
    Start(usize),
    Line,
    Receipt,
    /// Behind the receipt, with so many bytes of the expected end seen.
    Tail(usize),
}

/// A receipt that was found in a chunk.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where in this chunk its comment starts; 0 if it started in an earlier one.
    pub at: usize,
    pub receipt: Signed<Receipt>,
    pub response_hash: Hash32,
}

/// Reads a stream's bytes in any cut: hashes what the receipt covers and counts what could be tokens.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    hasher: Hasher,
    text: Vec<u8>,
    line: Vec<u8>,
    tokens: u64,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Start(0),
            hasher: Hasher::default(),
            text: Vec::new(),
            line: Vec::new(),
            tokens: 0,
        }
    }
}

impl Scanner {
    /// Most output tokens that what was received can hold: a token has at least one byte of text, and an
    /// event at least one token.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Whether the receipt was read and nothing but the end of the stream may follow.
    pub fn has_receipt(&self) -> bool {
        matches!(self.state, State::Tail(_))
    }

    /// Takes the next bytes. Only the end of the stream may follow a receipt.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Option<Found>, Disagreement> {
        let (mut at, mut comment_at, mut found) = (0, 0, None);
        while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Start(seen) => {
                    let marker = RECEIPT_COMMENT.as_bytes();
                    let same = common_prefix(&marker[seen..], rest);
                    if seen + same == marker.len() {
                        comment_at = at.saturating_sub(seen);
                        self.state = State::Receipt;
                        at += same;
                    } else if same == rest.len() {
                        self.state = State::Start(seen + same);
                        at += same;
                    } else {
                        self.cover(&marker[..seen]);
                        self.state = State::Line;
                    }
                }
                State::Line => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    let line = end.map_or(rest, |end| &rest[..=end]);
                    self.cover(line);
                    at += line.len();
                    if end.is_some() {
                        self.state = State::Start(0);
                    }
                }
                State::Receipt => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    let part = &rest[..end.unwrap_or(rest.len())];
                    if self.text.len() + part.len() > ENCODED_MAX {
                        return Err(Disagreement::Unreadable("too long".into()));
                    }
                    self.text.extend_from_slice(part);
                    at += part.len();
                    if end.is_some() {
                        at += 1;
                        self.state = State::Tail(0);
                        found = Some(self.decode(comment_at)?);
                    }
                }
                State::Tail(seen) => {
                    let end = [b"\n", SSE_DONE.as_bytes()].concat();
                    if !end[seen..].starts_with(rest) {
                        return Err(Disagreement::AfterReceipt);
                    }
                    self.state = State::Tail(seen + rest.len());
                    at = chunk.len();
                }
            }
        }
        Ok(found)
    }

    fn decode(&self, at: usize) -> Result<Found, Disagreement> {
        let unreadable = |reason: String| Disagreement::Unreadable(reason);
        let text = std::str::from_utf8(&self.text).map_err(|_| unreadable("not text".into()))?;
        let receipt = wire::decode(text.trim_end()).map_err(|error| unreadable(error.to_string()))?;
        Ok(Found { at, receipt, response_hash: self.hasher.clone().finish() })
    }

    /// Hashes bytes that the receipt covers; at most one line ends in them.
    fn cover(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if !bytes.ends_with(b"\n") {
            if self.line.len() + bytes.len() <= LINE_MAX {
                self.line.extend_from_slice(bytes);
            } else {
                self.tokens = self.tokens.saturating_add(index(bytes.len()));
            }
            return;
        }
        let tokens = if self.line.is_empty() {
            tokens_in(bytes)
        } else {
            self.line.extend_from_slice(bytes);
            let tokens = tokens_in(&self.line);
            self.line.clear();
            tokens
        };
        self.tokens = self.tokens.saturating_add(tokens);
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    /// `response` of a whole answer, `response.…` of an event, where the endpoint is `/v1/responses`.
    #[serde(borrow, default, rename = "type", alias = "object")]
    kind: Option<&'a RawValue>,
}

/// A part of an answer, or all of it.
#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default, alias = "message")]
    delta: Said<'a>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "reasoning")]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
}

/// Most output tokens that one line of the stream can hold.
fn tokens_in(line: &[u8]) -> u64 {
    match line.strip_prefix(b"data:") {
        Some(data) if data.trim_ascii() != b"[DONE]" => tokens_in_json(data),
        _ => 0,
    }
}

/// Most output tokens that show in an answer or an event of it; its length, if it is neither.
pub(crate) fn tokens_in_json(data: &[u8]) -> u64 {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else { return index(data.len()) };
    if event.kind.is_some_and(|kind| kind.get().starts_with("\"response")) {
        return index(data.len());
    }
    event
        .choices
        .iter()
        .map(|choice| {
            let said = &choice.delta;
            let text = [&choice.text, &said.content, &said.reasoning_content, &said.refusal];
            let bytes: usize = text.into_iter().flatten().map(|text| text.len()).sum();
            let calls = said.tool_calls.map_or(0, |calls| calls.get().len());
            index((bytes + calls).max(1))
        })
        .sum()
}

fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

fn index(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use atoma_types::message::Message as _;
    use atoma_types::{Address, NodeId, SecretKey, Status, Units};
    use proptest::prelude::*;

    fn receipt() -> Signed<Receipt> {
        let hash = Hash32::ZERO;
        Receipt {
            db: Address::TWO,
            stack: Address::THREE,
            node: NodeId(1),
            request_hash: hash,
            response_hash: hash,
            input: 1,
            output: 2,
            units: Units(3),
            total_units: Units(3),
            count: 1,
            root: hash,
            work: hash,
            replica_hash: hash,
            status: Status::Complete,
            finished_ms: 5,
        }
        .sign(&SecretKey::from_seed([1; 32]))
    }

    const BODY: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"h\u{e9}\\n\"}}]}\n\n: keep-alive\n\n: atoma\ndata: x\n\n";

    #[test]
    fn counts_no_fewer_tokens_than_there_can_be() {
        assert_eq!(tokens_in(b"data: {\"choices\":[{\"delta\":{\"content\":\"abc\"}}]}\n"), 3);
        assert_eq!(tokens_in(b"data: {\"choices\":[{\"delta\":{}}]}\n"), 1);
        assert_eq!(tokens_in(b"data: {\"choices\":[],\"usage\":{}}\n"), 0);
        assert_eq!(tokens_in(b"data: [DONE]\n"), 0);
        assert_eq!(tokens_in(b": comment\n"), 0);
        let whole = br#"{"choices":[{"message":{"content":"ab","refusal":null}},{"text":"cde"}],"usage":{}}"#;
        assert_eq!(tokens_in_json(whole), 5);
        assert_eq!(tokens_in_json(b"{\"choices\":7}"), 13);
        assert_eq!(tokens_in_json(b"{\"error\":{}}"), 0);
        let event = br#"{"type":"response.output_text.delta","delta":"abc"}"#;
        assert_eq!(tokens_in_json(event), index(event.len()));
    }

    #[test]
    fn nothing_but_the_end_may_follow_a_receipt() {
        let mut scanner = Scanner::default();
        scanner.feed(wire::receipt_comment(&receipt()).as_bytes()).unwrap().unwrap();
        assert_eq!(scanner.feed(b"data: {}\n\n").unwrap_err(), Disagreement::AfterReceipt);
    }

    proptest! {
        #[test]
        fn finds_the_receipt_whatever_the_cut(cuts in prop::collection::vec(0..1_000usize, 0..12)) {
            let comment = wire::receipt_comment(&receipt());
            let whole = format!("{BODY}{comment}{SSE_DONE}");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (whole.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(whole.len());
            let (mut scanner, mut from, mut found) = (Scanner::default(), 0, None);
            for cut in cuts {
                if let Some(here) = scanner.feed(&whole.as_bytes()[from..cut]).unwrap() {
                    prop_assert!(from + here.at >= BODY.len());
                    found = Some(here);
                }
                from = cut;
            }
            let found = found.unwrap();
            prop_assert_eq!(found.receipt, receipt());
            prop_assert_eq!(found.response_hash, Hash32::of(BODY.as_bytes()));
            prop_assert!(scanner.has_receipt());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let mut scanner = Scanner::default();
            for chunk in chunks {
                let _ = scanner.feed(&chunk);
            }
        }
    }
}

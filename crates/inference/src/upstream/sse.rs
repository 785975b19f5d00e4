//! Server-sent events out of bytes in any cut. Events keep their bytes; lines end in LF or CRLF.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SseError {
    #[error("an event has more than {0} bytes")]
    TooLong(usize),
    #[error("the stream does not consist of server-sent events")]
    Malformed,
}

/// Collects bytes until an event is whole.
#[derive(Debug)]
pub(super) struct Splitter {
    buffer: BytesMut,
    /// Start of the line that is not whole yet.
    line: usize,
    /// Up to where there is no line end that was not seen.
    seen: usize,
    max: usize,
}

impl Splitter {
    /// Events may have `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self { buffer: BytesMut::new(), line: 0, seen: 0, max }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, with the empty line that ends it.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, SseError> {
        while let Some(found) = memchr::memchr(b'\n', self.buffer.get(self.seen..).unwrap_or_default()) {
            let end = self.seen + found + 1;
            let is_empty = matches!(self.buffer.get(self.line..end), Some(b"\n" | b"\r\n"));
            let starts = self.line == 0;
            (self.line, self.seen) = (end, end);
            if !is_empty {
                continue;
            }
            let event = self.buffer.split_to(end).freeze();
            (self.line, self.seen) = (0, 0);
            if event.len() > self.max {
                return Err(SseError::TooLong(self.max));
            }
            // Empty lines before an event belong to none.
            if !starts {
                return Ok(Some(event));
            }
        }
        self.seen = self.buffer.len();
        if self.buffer.len() > self.max { Err(SseError::TooLong(self.max)) } else { Ok(None) }
    }

    /// What came after the last whole event.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer
    }
}

/// What an event carries: the text of its `data` lines, joined; `None` if it is comments and the like.
pub(super) fn data(event: &[u8]) -> Result<Option<Cow<'_, str>>, SseError> {
    let text = std::str::from_utf8(event).map_err(|_| SseError::Malformed)?;
    let mut data: Option<Cow<'_, str>> = None;
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        match field {
            "data" => {
                let value = value.strip_prefix(' ').unwrap_or(value);
                data = Some(match data {
                    None => Cow::Borrowed(value),
                    Some(before) => Cow::Owned(format!("{before}\n{value}")),
                });
            }
            "" | "event" | "id" | "retry" => {}
            _ => return Err(SseError::Malformed),
        }
    }
    Ok(data)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(splitter: &mut Splitter) -> Vec<Bytes> {
        std::iter::from_fn(|| splitter.next().unwrap()).collect()
    }

    #[test]
    fn data_lines_are_joined_and_comments_have_none() {
        let read = |event: &'static str| data(event.as_bytes()).unwrap();
        assert_eq!(read("data: {\"a\":1}\n\n").unwrap(), "{\"a\":1}");
        assert_eq!(read("event: x\r\ndata:{\r\ndata: }\r\n\r\n").unwrap(), "{\n}");
        assert_eq!(read(": ping\n\n"), None);
        assert_eq!(data(b"<html>\n\n"), Err(SseError::Malformed));
        assert_eq!(data(b"data: \xff\n\n"), Err(SseError::Malformed));
    }

    #[test]
    fn an_event_without_an_end_is_not_collected_for_ever() {
        let mut splitter = Splitter::new(16);
        splitter.push(b"data: 12345678\n\n");
        assert_eq!(events(&mut splitter).len(), 1);
        splitter.push(&[b'x'; 17]);
        assert_eq!(splitter.next(), Err(SseError::TooLong(16)));
        let mut splitter = Splitter::new(16);
        splitter.push(b"data: 123456789\n\n");
        assert_eq!(splitter.next(), Err(SseError::TooLong(16)));
    }

    proptest! {
        #[test]
        fn the_cut_does_not_matter(cuts in prop::collection::vec(0..70usize, 0..8)) {
            let whole = b"\n: hi\n\ndata: a\ndata: b\n\nevent: e\r\ndata: c\r\n\r\ndata: [DONE]\n\ndata: re";
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % whole.len()).collect();
            cuts.sort_unstable();
            cuts.push(whole.len());
            let (mut splitter, mut from, mut found) = (Splitter::new(100), 0, Vec::new());
            for cut in cuts {
                splitter.push(&whole[from..cut]);
                found.extend(events(&mut splitter));
                from = cut;
            }
            let expected: [&[u8]; 4] = [b": hi\n\n", b"data: a\ndata: b\n\n", b"event: e\r\ndata: c\r\n\r\n", b"data: [DONE]\n\n"];
            prop_assert_eq!(found, expected);
            prop_assert_eq!(splitter.rest(), b"data: re");
        }

        #[test]
        fn any_bytes_are_split_without_a_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let mut splitter = Splitter::new(50);
            for chunk in chunks {
                splitter.push(&chunk);
                while let Ok(Some(event)) = splitter.next() {
                    let _ = data(&event);
                }
            }
        }
    }
}

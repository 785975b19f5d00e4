//! From tokens to the text a client sees: whole UTF-8 characters, and nothing that may yet turn out a stop string.

/// Collects bytes and releases text as soon as nothing can change it any more.
#[derive(Debug, Default)]
pub(crate) struct TextStream {
    /// The start of a character whose rest has not come.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

/// What a token did to the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// This text is now certain; may be empty.
    Text(String),
    /// A stop string is complete; this is the text before it.
    Stopped(String),
}

impl TextStream {
    pub(crate) fn push(&mut self, bytes: &[u8], stops: &[String]) -> Progress {
        self.partial.extend_from_slice(bytes);
        self.take_characters();
        if let Some(at) = stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            self.partial.clear();
            return Progress::Stopped(std::mem::take(&mut self.held));
        }
        let keep = self.possible_stop(stops);
        let rest = self.held.split_off(self.held.len() - keep);
        Progress::Text(std::mem::replace(&mut self.held, rest))
    }

    /// Everything still held back, once no token will follow.
    pub(crate) fn finish(&mut self) -> String {
        if !self.partial.is_empty() {
            self.partial.clear();
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
        std::mem::take(&mut self.held)
    }

    /// Moves complete characters to the text; bytes that can never become one turn into U+FFFD.
    fn take_characters(&mut self) {
        loop {
            match std::str::from_utf8(&self.partial) {
                Ok(text) => {
                    self.held.push_str(text);
                    self.partial.clear();
                    return;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    self.held.push_str(&String::from_utf8_lossy(&self.partial[..valid]));
                    let Some(bad) = error.error_len() else {
                        self.partial.drain(..valid);
                        return;
                    };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    self.partial.drain(..valid + bad);
                }
            }
        }
    }

    /// Length of the longest end of the text that begins some stop string.
    fn possible_stop(&self, stops: &[String]) -> usize {
        let longest = |stop: &String| {
            let most = self.held.len().min(stop.len().saturating_sub(1));
            (1..=most)
                .rev()
                .find(|len| stop.is_char_boundary(*len) && self.held.ends_with(&stop[..*len]))
                .unwrap_or(0)
        };
        stops.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Progress {
        Progress::Text(text.into())
    }

    #[test]
    fn a_character_split_over_tokens_comes_out_whole() {
        let mut stream = TextStream::default();
        let bytes = "aé🦀".as_bytes();
        let parts: Vec<Progress> = bytes.iter().map(|byte| stream.push(&[*byte], &[])).collect();
        let expected = ["a", "", "é", "", "", "", "🦀"].map(text);
        assert_eq!(parts, expected);
    }

    #[test]
    fn broken_bytes_become_replacement_characters() {
        let mut stream = TextStream::default();
        assert_eq!(stream.push(&[b'a', 0xff, b'b', 0xf0, 0x9f], &[]), text("a\u{fffd}b"));
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    #[test]
    fn a_stop_string_over_several_tokens_is_never_shown() {
        let stops = ["END".to_owned(), "\n\nUser".to_owned()];
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"one E", &stops), text("one "));
        assert_eq!(stream.push(b"N", &stops), text(""));
        assert_eq!(stream.push(b"X two \n", &stops), text("ENX two "));
        assert_eq!(stream.push(b"\nUs", &stops), text(""));
        assert_eq!(stream.push(b"er: hi", &stops), Progress::Stopped(String::new()));
    }

    #[test]
    fn the_earliest_stop_string_wins() {
        let stops = ["later".to_owned(), "early".to_owned()];
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"x early later", &stops), Progress::Stopped("x ".into()));
    }

    proptest! {
        /// However a text is cut into tokens, what comes out is the text, up to its first stop string.
        #[test]
        fn cutting_does_not_matter(source in "[ab🦀é]{0,40}", stop in "[ab🦀]{1,4}", cuts in proptest::collection::vec(1usize..5, 0..80)) {
            let stops = [stop.clone()];
            let mut stream = TextStream::default();
            let mut out = String::new();
            let mut left = source.as_bytes();
            let mut cuts = cuts.into_iter();
            let mut stopped = false;
            while !left.is_empty() && !stopped {
                let (head, tail) = left.split_at(cuts.next().unwrap_or(3).min(left.len()));
                left = tail;
                match stream.push(head, &stops) {
                    Progress::Text(text) => out.push_str(&text),
                    Progress::Stopped(text) => { out.push_str(&text); stopped = true; }
                }
            }
            if !stopped { out.push_str(&stream.finish()); }
            let expected = source.split(&stop).next().unwrap_or_default();
            prop_assert_eq!(out, expected);
        }
    }
}

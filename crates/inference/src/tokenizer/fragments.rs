//! A lower bound on the tokens of a text, at a fraction of the price of tokenizing it.
//!
//! Whatever the merges do, the tokens of a text are strings of the vocabulary that together spell it, but for bytes
//! that no token spells, which are dropped. (Merges build tokens from single bytes, so each byte of a token is one.)
//! So a text has at least as many tokens as the fewest *fragments* that spell it, where every part of a token counts
//! as a fragment. As parts of fragments are fragments, too, taking the longest one each time gives the fewest.

/// All parts of all tokens.
#[derive(Debug)]
pub(super) struct Fragments {
    /// The ends of all tokens, in order, without those that others start with: their starts are the fragments.
    ends: Vec<Box<[u8]>>,
    /// Which bytes occur at all.
    readable: [bool; 256],
    longest: usize,
}

impl Fragments {
    /// From what tokens spell and the names of control tokens.
    pub(super) fn new<'t>(spellings: &'t [Box<[u8]>], names: impl Iterator<Item = &'t String>) -> Self {
        let spellings = spellings.iter().map(|bytes| &**bytes);
        let tokens: Vec<&[u8]> = spellings.chain(names.map(String::as_bytes)).collect();
        let mut ends: Vec<&[u8]> =
            tokens.iter().flat_map(|token| (0..token.len()).map(|start| &token[start..])).collect();
        ends.sort_unstable();
        let mut readable = [false; 256];
        tokens.iter().copied().flatten().for_each(|byte| readable[usize::from(*byte)] = true);
        let is_start =
            |(at, end): (usize, &&[u8])| ends.get(at + 1).is_some_and(|next| next.starts_with(end));
        Self {
            longest: tokens.iter().map(|token| token.len()).max().unwrap_or(0),
            ends: ends
                .iter()
                .enumerate()
                .filter(|at| !is_start(*at))
                .map(|(_, end)| Box::from(*end))
                .collect(),
            readable,
        }
    }

    /// The fewest fragments that spell `text`, counted no further than one above `limit`.
    pub(super) fn fewest(&self, text: &[u8], limit: usize) -> usize {
        let mut bytes = text.iter().copied().filter(|byte| self.readable[usize::from(*byte)]);
        // What was read and is not spelled yet.
        let mut window = Vec::with_capacity(self.longest);
        for count in 0..=limit {
            window.extend(bytes.by_ref().take(self.longest.saturating_sub(window.len())));
            if window.is_empty() {
                return count;
            }
            window.drain(..self.longest_at(&window).max(1));
        }
        limit.saturating_add(1)
    }

    /// Bytes of the longest fragment that `text` starts with: its neighbours in the order have it.
    fn longest_at(&self, text: &[u8]) -> usize {
        let at = self.ends.partition_point(|end| **end < *text);
        let common = |end: &[u8]| end.iter().zip(text).take_while(|(a, b)| a == b).count();
        let neighbours = self.ends[at.saturating_sub(1)..].iter().take(2);
        neighbours.map(|end| common(end)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fragments(tokens: &[&str], names: &[&str]) -> Fragments {
        let spellings: Vec<Box<[u8]>> = tokens.iter().map(|token| token.as_bytes().into()).collect();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Fragments::new(&spellings, names.iter())
    }

    fn tokens(fragments: &Fragments, text: &str) -> usize {
        fragments.fewest(text.as_bytes(), usize::MAX)
    }

    #[test]
    fn parts_of_tokens_count_as_one() {
        let fragments = fragments(&["the", "her", "e", "", "1", "2"], &["<end>"]);
        for (text, least) in [
            ("", 0),
            ("the", 1),
            ("he", 1),
            ("there", 3),
            ("erthe", 2),
            ("1212", 4),
            ("e<end>", 2),
            ("<end", 1),
        ] {
            assert_eq!(tokens(&fragments, text), least, "{text}");
        }
    }

    #[test]
    fn what_no_token_spells_is_passed_over() {
        let fragments = fragments(&["ab"], &[]);
        assert_eq!(tokens(&fragments, "a?b??ab"), 2);
        assert_eq!(tokens(&fragments, "???"), 0);
    }

    #[test]
    fn it_stops_where_enough_is_known() {
        let digits = "7".repeat(1 << 20);
        assert_eq!(fragments(&["7"], &[]).fewest(digits.as_bytes(), 100), 101);
        assert_eq!(fragments(&["7"], &[]).fewest(b"777", 3), 3);
    }

    proptest! {
        #[test]
        fn no_way_to_spell_a_text_takes_fewer(
            words in proptest::collection::vec("[abc]{1,4}", 1..8),
            picks in proptest::collection::vec(0_usize..8, 0..30),
        ) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let picked: Vec<&str> = picks.iter().map(|pick| words[pick % words.len()]).collect();
            prop_assert!(tokens(&fragments(&words, &[]), &picked.concat()) <= picked.len());
        }
    }
}

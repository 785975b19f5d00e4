//! Used nonces as a set of ranges: a client that counts up costs one range, whatever it asks.

use std::collections::BTreeMap;

/// A set of `u64`, stored as disjoint, non-adjacent inclusive ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nonces {
    /// First of each range, and its last.
    ranges: BTreeMap<u64, u64>,
}

impl Nonces {
    pub fn contains(&self, nonce: u64) -> bool {
        self.ranges.range(..=nonce).next_back().is_some_and(|(_, last)| *last >= nonce)
    }

    /// Adds a nonce; false if it was there.
    pub fn insert(&mut self, nonce: u64) -> bool {
        if self.contains(nonce) {
            return false;
        }
        let (mut first, mut last) = (nonce, nonce);
        if let Some((before, end)) = self.ranges.range(..nonce).next_back().map(|(a, b)| (*a, *b))
            && end.checked_add(1) == Some(nonce)
        {
            first = before;
        }
        if let Some(next) = nonce.checked_add(1)
            && let Some(end) = self.ranges.remove(&next)
        {
            last = end;
        }
        self.ranges.insert(first, last);
        true
    }
}

impl Extend<u64> for Nonces {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, nonces: I) {
        for nonce in nonces {
            self.insert(nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn counting_up_costs_one_range() {
        let mut nonces = Nonces::default();
        nonces.extend(0..1_000);
        assert_eq!(nonces.ranges.len(), 1);
        assert!(nonces.contains(999) && !nonces.contains(1_000));
        assert!(nonces.insert(u64::MAX) && !nonces.insert(u64::MAX));
    }

    proptest! {
        #[test]
        fn is_a_set(values in prop::collection::vec(0..60u64, 0..80)) {
            let (mut nonces, mut model) = (Nonces::default(), BTreeSet::new());
            for value in values {
                prop_assert_eq!(nonces.insert(value), model.insert(value));
                for probe in 0..60 {
                    prop_assert_eq!(nonces.contains(probe), model.contains(&probe));
                }
            }
        }
    }
}

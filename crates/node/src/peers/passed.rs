//! Requests that were passed on, for as long as their signatures hold: what another node may have served must not be
//! served here as well, nor passed on again, should somebody send it a second time.

use atoma_types::Hash32;
use std::collections::{BTreeSet, HashMap};

/// Requests in memory; when so many are alive, no more are passed on.
const PASSED_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Passed {
    until_ms: HashMap<Hash32, u64>,
    order: BTreeSet<(u64, Hash32)>,
}

impl Passed {
    /// False if it is there already, or nothing has expired and there is no room.
    pub(super) fn insert(&mut self, request_hash: Hash32, expires_ms: u64, now_ms: u64) -> bool {
        while let Some((until_ms, oldest)) = self.order.first().copied().filter(|first| first.0 < now_ms) {
            self.order.remove(&(until_ms, oldest));
            self.until_ms.remove(&oldest);
        }
        if self.until_ms.len() >= PASSED_MAX || self.contains(&request_hash) {
            return false;
        }
        self.order.insert((expires_ms, request_hash));
        self.until_ms.insert(request_hash, expires_ms);
        true
    }

    pub(super) fn remove(&mut self, request_hash: &Hash32) {
        if let Some(until_ms) = self.until_ms.remove(request_hash) {
            self.order.remove(&(until_ms, *request_hash));
        }
    }

    pub(super) fn contains(&self, request_hash: &Hash32) -> bool {
        self.until_ms.contains_key(request_hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> Hash32 {
        Hash32::of(&n.to_le_bytes())
    }

    #[test]
    fn each_request_is_passed_on_once_until_it_expires() {
        let mut passed = Passed::default();
        assert!(passed.insert(hash(1), 10, 5));
        assert!(!passed.insert(hash(1), 10, 10));
        assert!(passed.insert(hash(2), 20, 11));
        assert!(!passed.contains(&hash(1)) && passed.contains(&hash(2)));
        passed.remove(&hash(2));
        assert!(passed.insert(hash(2), 20, 11));
        assert_eq!((passed.until_ms.len(), passed.order.len()), (1, 1));
    }

    #[test]
    fn a_flood_of_live_requests_is_refused_and_never_forgets_one() {
        let mut passed = Passed::default();
        let most = u64::try_from(PASSED_MAX).unwrap_or(u64::MAX);
        for n in 0..most {
            assert!(passed.insert(hash(n), 100 + n % 2, 1));
        }
        assert!(!passed.insert(hash(most), 500, 100) && passed.contains(&hash(0)));
        assert!(passed.insert(hash(most), 500, 101));
        assert_eq!(passed.until_ms.len(), PASSED_MAX / 2 + 1);
    }
}

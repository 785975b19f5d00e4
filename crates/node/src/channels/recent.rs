//! A memory of a bounded size and a bounded time, for answers that are cheap to give again.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Forgets each entry after `life`, and the oldest one when there is no room. Time is an argument.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    capacity: usize,
    life: Duration,
    entries: HashMap<K, (Instant, V)>,
    /// Insertions, oldest first. Some are of entries that were removed or replaced since.
    order: VecDeque<(Instant, K)>,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(capacity: usize, life: Duration) -> Self {
        Self { capacity, life, entries: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn get(&self, key: &K, now: Instant) -> Option<&V> {
        let (since, value) = self.entries.get(key)?;
        (now.saturating_duration_since(*since) < self.life).then_some(value)
    }

    /// Keeps `value` from now on, in place of what was there.
    pub(super) fn insert(&mut self, key: K, value: V, now: Instant) {
        while self.order.len() >= self.capacity {
            self.drop_oldest();
        }
        self.order.push_back((now, key));
        self.entries.insert(key, (now, value));
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }

    fn drop_oldest(&mut self) {
        let Some((since, key)) = self.order.pop_front() else { return };
        if self.entries.get(&key).is_some_and(|(kept, _)| *kept == since) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(5);

    #[test]
    fn entries_end_with_their_life() {
        let mut recent = Recent::new(4, LIFE);
        let start = Instant::now();
        recent.insert(1, 'a', start);
        assert_eq!(recent.get(&1, start + LIFE / 2), Some(&'a'));
        assert_eq!(recent.get(&1, start + LIFE), None);
        recent.insert(1, 'b', start + LIFE);
        assert_eq!(recent.get(&1, start + LIFE), Some(&'b'));
        recent.remove(&1);
        assert_eq!(recent.get(&1, start + LIFE), None);
    }

    #[test]
    fn a_flood_pushes_out_the_oldest_and_never_grows_the_memory() {
        let mut recent = Recent::new(4, LIFE);
        let now = Instant::now();
        for key in 0..100_u32 {
            recent.insert(key % 50, key, now + Duration::from_millis(key.into()));
            recent.insert(0, key, now + Duration::from_millis(key.into()));
            recent.remove(&(key % 7));
            assert!(recent.entries.len() <= 4 && recent.order.len() <= 4);
        }
        recent.insert(77, 1, now);
        assert_eq!(recent.get(&77, now), Some(&1));
    }

    #[test]
    fn replacing_an_entry_renews_its_place() {
        let mut recent = Recent::new(2, LIFE);
        let now = Instant::now();
        recent.insert(1, 'a', now);
        recent.insert(1, 'b', now + Duration::from_millis(1));
        recent.insert(2, 'c', now + Duration::from_millis(2));
        assert_eq!(recent.get(&1, now), Some(&'b'));
    }
}

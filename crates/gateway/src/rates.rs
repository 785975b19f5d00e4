//! How much there may be in a minute: never more than the limit in any sixty seconds that end now.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Seconds that count, and one more, because the first of them is not over.
const SECONDS: u64 = 61;

/// Amounts of the last minute, by second. Time is an argument, in seconds; it does not go back.
#[derive(Debug)]
pub(crate) struct Window {
    amounts: [u64; 61],
    newest: u64,
    sum: u64,
}

/// Where a window stands after it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Seconds until nothing of now counts any more.
    pub(crate) reset_s: u64,
}

/// It does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) standing: Standing,
    /// Seconds until it would; `None` if it never does.
    pub(crate) retry_s: Option<u64>,
}

impl Default for Window {
    fn default() -> Self {
        Self { amounts: [0; 61], newest: 0, sum: 0 }
    }
}

impl Window {
    /// Whether so much fits now. Takes nothing.
    pub(crate) fn check(&mut self, limit: u64, amount: u64, now_s: u64) -> Result<(), Full> {
        self.advance(now_s);
        if amount <= limit.saturating_sub(self.sum) {
            return Ok(());
        }
        Err(Full { standing: self.standing(limit, now_s), retry_s: self.wait(limit, amount) })
    }

    pub(crate) fn take(&mut self, amount: u64, now_s: u64) {
        self.advance(now_s);
        let slot = slot(self.newest);
        self.amounts[slot] = self.amounts[slot].saturating_add(amount);
        self.sum = self.sum.saturating_add(amount);
    }

    /// Gives back what was taken at `at_s` and not used, if it counts still.
    pub(crate) fn give(&mut self, amount: u64, at_s: u64) {
        if self.newest.saturating_sub(at_s) >= SECONDS || at_s > self.newest {
            return;
        }
        let held = &mut self.amounts[slot(at_s)];
        let amount = amount.min(*held);
        *held = held.saturating_sub(amount);
        self.sum = self.sum.saturating_sub(amount);
    }

    pub(crate) fn standing(&mut self, limit: u64, now_s: u64) -> Standing {
        self.advance(now_s);
        let used = |age: &u64| self.amounts[slot(self.newest.saturating_sub(*age))] > 0;
        let reset_s = (0..SECONDS.min(self.newest)).find(used).map_or(0, |age| SECONDS.saturating_sub(age));
        Standing { limit, remaining: limit.saturating_sub(self.sum), reset_s }
    }

    fn advance(&mut self, now_s: u64) {
        let passed = now_s.saturating_sub(self.newest);
        for second in 1..=passed.min(SECONDS) {
            let slot = slot(now_s.saturating_sub(passed.min(SECONDS)).saturating_add(second));
            self.sum = self.sum.saturating_sub(self.amounts[slot]);
            self.amounts[slot] = 0;
        }
        self.newest = self.newest.max(now_s);
    }

    /// Seconds until enough of the oldest is out of the window.
    fn wait(&self, limit: u64, amount: u64) -> Option<u64> {
        let allowed = limit.checked_sub(amount)?;
        let mut sum = self.sum;
        // The oldest second counts until the next one begins.
        for wait in 1..=SECONDS {
            let oldest = self.newest.saturating_add(wait).checked_sub(SECONDS);
            sum = sum.saturating_sub(oldest.map_or(0, |second| self.amounts[slot(second)]));
            if sum <= allowed {
                return Some(wait);
            }
        }
        None
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % SECONDS).unwrap_or(0)
}

/// Adds what a window says to an answer, as OpenAI names it. Of two, the one that ends first counts.
pub(crate) fn describe(headers: &mut HeaderMap, what: Rate, standing: Standing) {
    let [limit, remaining, reset] = what.headers();
    let earlier = headers.get(&remaining).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if earlier.is_some_and(|earlier| earlier <= standing.remaining) {
        return;
    }
    headers.insert(limit, HeaderValue::from(standing.limit));
    headers.insert(remaining, HeaderValue::from(standing.remaining));
    if let Ok(value) = HeaderValue::try_from(format!("{}s", standing.reset_s)) {
        headers.insert(reset, value);
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    Requests,
    Units,
}

impl Rate {
    fn headers(self) -> [HeaderName; 3] {
        let name = HeaderName::from_static;
        match self {
            Self::Requests => [
                name("x-ratelimit-limit-requests"),
                name("x-ratelimit-remaining-requests"),
                name("x-ratelimit-reset-requests"),
            ],
            Self::Units => [
                name("x-ratelimit-limit-tokens"),
                name("x-ratelimit-remaining-tokens"),
                name("x-ratelimit-reset-tokens"),
            ],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Units => "tokens",
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_fills_and_empties_and_says_when() {
        let mut window = Window::default();
        for _ in 0..3 {
            window.check(3, 1, 1_000).unwrap();
            window.take(1, 1_000);
        }
        let full = window.check(3, 1, 1_010).unwrap_err();
        assert_eq!(full.retry_s, Some(51));
        assert_eq!(full.standing, Standing { limit: 3, remaining: 0, reset_s: 51 });
        assert!(window.check(3, 1, 1_060).is_err());
        window.check(3, 1, 1_061).unwrap();
        assert_eq!(window.check(3, 4, 1_061).unwrap_err().retry_s, None);
        window.take(3, 1_061);
        window.give(2, 1_061);
        window.check(3, 2, 1_061).unwrap();
        // Long after, it is no news.
        window.give(1, 900);
        assert_eq!(window.standing(3, 1_061).remaining, 2);
        window.check(3, 3, 9_000).unwrap();
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_the_limit_and_the_wait_is_the_shortest(
            limit in 1..50u64,
            steps in prop::collection::vec((0..40u64, 1..20u64, any::<bool>()), 1..80),
        ) {
            let (mut window, mut now, mut taken) = (Window::default(), 500u64, Vec::<(u64, u64)>::new());
            for (pause, amount, back) in steps {
                now += pause;
                match window.check(limit, amount, now) {
                    Ok(()) => {
                        window.take(amount, now);
                        taken.push((now, amount));
                    }
                    Err(Full { retry_s: Some(wait), .. }) => {
                        let sum_at = |at: u64| taken.iter().filter(|(when, _)| at - when <= 60)
                            .map(|(_, amount)| amount).sum::<u64>();
                        prop_assert!(sum_at(now + wait) + amount <= limit);
                        prop_assert!(sum_at(now + wait - 1) + amount > limit);
                    }
                    Err(Full { retry_s: None, .. }) => prop_assert!(amount > limit),
                }
                if back && let Some((at, amount)) = taken.pop() {
                    window.give(amount, at);
                }
                let last_minute: u64 =
                    taken.iter().filter(|(at, _)| now - at <= 60).map(|(_, amount)| amount).sum();
                prop_assert!(last_minute <= limit);
            }
        }
    }
}

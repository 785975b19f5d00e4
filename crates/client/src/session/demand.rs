//! How much of a task is used, and how much of it should be at hand for that. Integers, and the time comes as an
//! argument.

use atoma_types::Units;
use std::time::{Duration, Instant};

/// How stacks are sized by use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supply {
    /// For how long what is bought should last, at the rate at which it is used.
    pub horizon: Duration,
    /// The time over which that rate is an average: it is forgotten exponentially.
    pub average: Duration,
    /// How often stacks are looked at.
    pub refresh: Duration,
    /// Most units at hand of a task, all its stacks together.
    pub units_max: Units,
    /// Stacks of a task that nobody asked for so long are closed.
    pub idle: Duration,
}

impl Default for Supply {
    fn default() -> Self {
        Self {
            horizon: Duration::from_secs(600),
            average: Duration::from_secs(60),
            refresh: Duration::from_secs(2),
            units_max: Units(1_000_000_000),
            idle: Duration::from_secs(86_400),
        }
    }
}

/// The use of one task.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Thousandths of a unit per second.
    rate: u64,
    seen: Units,
    looked: Option<Instant>,
    used: Option<Instant>,
}

impl Demand {
    /// So many units were used since the start, and so many are set aside for requests in flight.
    pub(super) fn observe(&mut self, total: Units, reserved: Units, average: Duration, now: Instant) {
        let more = total.saturating_sub(self.seen);
        self.seen = total;
        if !more.is_zero() || !reserved.is_zero() {
            self.used = Some(now);
        }
        let Some(before) = self.looked.replace(now) else { return };
        let passed = now.saturating_duration_since(before).as_micros().max(1);
        let average = average.as_micros();
        // rate · average + units, over average + passed: with each look the old rate counts less.
        let old = u128::from(self.rate).saturating_mul(average);
        let new = u128::from(more.0).saturating_mul(1_000_000_000);
        let rate = old.saturating_add(new) / average.saturating_add(passed);
        self.rate = u64::try_from(rate).unwrap_or(u64::MAX);
    }

    /// Units per second, in thousandths.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// Units that last so long.
    pub(super) fn units_for(&self, horizon: Duration) -> Units {
        let units = u128::from(self.rate).saturating_mul(horizon.as_millis()) / 1_000_000;
        Units(u64::try_from(units).unwrap_or(u64::MAX))
    }

    /// Whether it was used in this process, at most so long ago.
    pub(super) fn is_wanted(&self, idle: Duration, now: Instant) -> bool {
        self.used.is_some_and(|used| now.saturating_duration_since(used) < idle)
    }

    /// It is wanted from now on.
    pub(super) fn want(&mut self, now: Instant) {
        self.used = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVERAGE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_rate_follows_use_and_fades() {
        let (mut demand, mut now, mut total) = (Demand::default(), Instant::now(), 0);
        let mut pass = |demand: &mut Demand, seconds: u64, units: u64| {
            for _ in 0..seconds {
                (now, total) = (now + SECOND, total + units);
                demand.observe(Units(total), Units::ZERO, AVERAGE, now);
            }
        };
        pass(&mut demand, 600, 1_000);
        assert!((999_000..=1_000_000).contains(&demand.rate()), "{}", demand.rate());
        let lasting = demand.units_for(Duration::from_secs(100));
        assert!((99_900..=100_000).contains(&lasting.0), "{lasting}");
        pass(&mut demand, 60, 0);
        // 1 / e is left, nearly.
        assert!((360_000..=375_000).contains(&demand.rate()), "{}", demand.rate());
        pass(&mut demand, 6_000, 0);
        assert_eq!(demand.units_for(SECOND), Units::ZERO);
    }

    #[test]
    fn a_sum_that_falls_is_no_use_and_the_largest_one_fits() {
        let (mut demand, now) = (Demand::default(), Instant::now());
        demand.observe(Units(5_000), Units::ZERO, AVERAGE, now);
        demand.observe(Units(10), Units::ZERO, AVERAGE, now + SECOND);
        assert_eq!(demand.rate(), 0);
        demand.observe(Units::MAX, Units::ZERO, Duration::ZERO, now + SECOND);
        demand.observe(Units::MAX, Units::ZERO, AVERAGE, now + SECOND);
        assert_eq!(demand.units_for(Duration::from_secs(u64::MAX)), Units::MAX);
    }

    #[test]
    fn what_nobody_asks_for_is_not_wanted_for_ever() {
        let (mut demand, now) = (Demand::default(), Instant::now());
        assert!(!demand.is_wanted(SECOND, now));
        demand.observe(Units::ZERO, Units::ZERO, AVERAGE, now);
        demand.observe(Units::ZERO, Units(1), AVERAGE, now + SECOND);
        assert!(demand.is_wanted(SECOND, now + SECOND));
        demand.observe(Units::ZERO, Units::ZERO, AVERAGE, now + SECOND * 2);
        assert!(!demand.is_wanted(SECOND, now + SECOND * 2));
        demand.want(now + SECOND * 2);
        assert!(demand.is_wanted(SECOND, now + SECOND * 2));
    }
}

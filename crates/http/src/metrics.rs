//! Numbers in Prometheus' text format. Labels take few values, all known beforehand: nothing that a client
//! sends becomes one.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts by a word of the program, as the code of an error.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<&'static str, u64>>);

impl Counters {
    pub fn increment(&self, word: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(word).or_default();
        *count = count.saturating_add(1);
    }

    fn get(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Upper bounds of a histogram's buckets, in milliseconds.
const BUCKETS_MS: [u64; 16] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000];

/// How long something took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS_MS.len()],
    count: Counter,
    sum_us: Counter,
}

impl Histogram {
    pub fn observe(&self, time: Duration) {
        self.count.increment();
        self.sum_us.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let bucket = BUCKETS_MS.iter().position(|bound| time <= Duration::from_millis(*bound));
        if let Some(bucket) = bucket.and_then(|at| self.buckets.get(at)) {
            bucket.increment();
        }
    }
}

/// A time as Prometheus has it.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Duration);

impl Display for Seconds {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        write!(out, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// What `/metrics` says. Every name begins with the page's prefix.
#[derive(Debug)]
pub struct Page {
    prefix: &'static str,
    text: String,
}

// Writing to a string cannot fail.
impl Page {
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::new() }
    }

    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.value(name, format_args!(""), value);
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.value(name, format_args!(""), value);
    }

    /// One value for each of a label's.
    pub fn labelled<L: AsRef<str>, V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        self.head(name, kind, help);
        for (of, value) in values {
            let of = of.as_ref().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.value(name, format_args!("{{{label}=\"{of}\"}}"), value);
        }
    }

    pub fn counters(&mut self, name: &str, help: &str, label: &str, counters: &Counters) {
        self.labelled(name, "counter", help, label, counters.get());
    }

    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut within = 0u64;
        for (bound, bucket) in BUCKETS_MS.iter().zip(&histogram.buckets) {
            within = within.saturating_add(bucket.get());
            let bound = Seconds(Duration::from_millis(*bound));
            self.value(name, format_args!("_bucket{{le=\"{bound}\"}}"), within);
        }
        let count = histogram.count.get().max(within);
        self.value(name, format_args!("_bucket{{le=\"+Inf\"}}"), count);
        self.value(name, format_args!("_sum"), Seconds(Duration::from_micros(histogram.sum_us.get())));
        self.value(name, format_args!("_count"), count);
    }

    pub fn into_text(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        let _ = write!(
            self.text,
            "# HELP {prefix}_{name} {}\n# TYPE {prefix}_{name} {kind}\n",
            help.trim_start()
        );
    }

    fn value(&mut self, name: &str, rest: impl Display, value: impl Display) {
        let _ = writeln!(self.text, "{}_{name}{rest} {value}", self.prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let (counters, histogram) = (Counters::default(), Histogram::default());
        counters.increment("busy");
        counters.increment("busy");
        for ms in [7, 7, 3_000_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut page = Page::new("it");
        page.gauge("open", "What is open.", 3);
        page.counters("errors_total", "Errors.", "code", &counters);
        page.labelled("up", "gauge", "Up.", "model", [("a\"b", 1)]);
        page.histogram("seconds", "Time.", &histogram);
        let text = page.into_text();
        for line in [
            "# HELP it_open What is open.",
            "# TYPE it_open gauge",
            "it_open 3",
            "it_errors_total{code=\"busy\"} 2",
            "it_up{model=\"a\\\"b\"} 1",
            "# TYPE it_seconds histogram",
            "it_seconds_bucket{le=\"0.005000\"} 0",
            "it_seconds_bucket{le=\"0.010000\"} 2",
            "it_seconds_bucket{le=\"600.000000\"} 2",
            "it_seconds_bucket{le=\"+Inf\"} 3",
            "it_seconds_sum 3000.014000",
            "it_seconds_count 3",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in:\n{text}");
        }
    }
}

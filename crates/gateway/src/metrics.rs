//! Counters in the Prometheus text format.

use atoma_types::Amount;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the gateway counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) requests: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) paid: AtomicU64,
    pub(crate) unpaid: AtomicU64,
    pub(crate) input_tokens: AtomicU64,
    pub(crate) output_tokens: AtomicU64,
    pub(crate) units: AtomicU64,
    pub(crate) cost: AtomicU64,
    /// Where the money was when it was looked at; nothing before.
    float: Mutex<Option<[(&'static str, &'static str, i64); 5]>>,
}

/// Counts a request as in flight while it lives.
#[derive(Debug)]
pub(crate) struct InFlight(std::sync::Arc<Metrics>);

impl InFlight {
    pub(crate) fn new(metrics: &std::sync::Arc<Metrics>) -> Self {
        metrics.requests.fetch_add(1, Ordering::Relaxed);
        metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(std::sync::Arc::clone(metrics))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

impl Metrics {
    pub(crate) fn set_float(
        &self,
        wallet: Amount,
        unused: Amount,
        owed: Amount,
        liable: Amount,
        result: Option<i64>,
    ) {
        let signed = |amount: Amount| i64::try_from(amount.0).unwrap_or(i64::MAX);
        let float = [
            ("float_wallet", "Base units in the wallet.", signed(wallet)),
            ("float_unused", "Base units in stacks that nobody used.", signed(unused)),
            ("float_owed_to_nodes", "Base units that nodes have not settled yet.", signed(owed)),
            ("float_liable", "Base units that accounts have left.", signed(liable)),
            ("float_result", "Base units charged less what they cost.", result.unwrap_or_default()),
        ];
        *self.float.lock().unwrap_or_else(PoisonError::into_inner) = Some(float);
    }

    pub(crate) fn render(&self, channels: usize, ended: usize) -> String {
        let mut text = String::new();
        let counters = [
            ("requests_total", "Requests with a valid key.", &self.requests),
            ("requests_refused_total", "Requests refused for key, budget or body.", &self.refused),
            ("requests_failed_total", "Requests that no node answered.", &self.failed),
            ("answers_paid_total", "Answers with a checked receipt.", &self.paid),
            ("answers_unpaid_total", "Answers that were not paid.", &self.unpaid),
            ("input_tokens_total", "Input tokens paid.", &self.input_tokens),
            ("output_tokens_total", "Output tokens paid.", &self.output_tokens),
            ("units_total", "Compute units paid.", &self.units),
            ("cost_base_units_total", "Base units of the coin paid.", &self.cost),
        ];
        for (name, help, counter) in counters {
            write_metric(&mut text, name, "counter", help, counter.load(Ordering::Relaxed));
        }
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        write_metric(&mut text, "requests_in_flight", "gauge", "Requests being answered.", in_flight);
        let gauges =
            [("channels", "Channels in use.", channels), ("channels_ended", "Of them ended.", ended)];
        for (name, help, value) in gauges {
            write_metric(&mut text, name, "gauge", help, u64::try_from(value).unwrap_or(u64::MAX));
        }
        let float = *self.float.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, help, value) in float.into_iter().flatten() {
            write_metric(&mut text, name, "gauge", help, value);
        }
        text
    }
}

pub(crate) fn write_metric(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    value: impl std::fmt::Display,
) {
    let written = write!(
        text,
        "# HELP atoma_gateway_{name} {help}\n# TYPE atoma_gateway_{name} {kind}\natoma_gateway_{name} {value}\n"
    );
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

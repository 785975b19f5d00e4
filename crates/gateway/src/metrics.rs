//! What the gateway counts and measures, in Prometheus' text format. The only label is the code of an error.

use atoma_client::channel::Summary;
use atoma_http::metrics::{Counters, Histogram, Page};
use atoma_types::Amount;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

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
    /// Requests refused or failed, by the error's code.
    errors: Counters,
    /// From a request's admission until its answer began, and until it ended.
    first_byte: Histogram,
    latency: Histogram,
    /// Where the money was when it was looked at; nothing before.
    float: Mutex<Option<[Gauge<i64>; 5]>>,
}

/// Counts a request as in flight while it lives.
#[derive(Debug)]
pub(crate) struct InFlight {
    metrics: std::sync::Arc<Metrics>,
    began: Instant,
}

impl InFlight {
    pub(crate) fn new(metrics: &std::sync::Arc<Metrics>) -> Self {
        add(&metrics.requests, 1);
        add(&metrics.in_flight, 1);
        Self { metrics: std::sync::Arc::clone(metrics), began: Instant::now() }
    }

    /// Its answer begins.
    pub(crate) fn answered(&self) {
        self.metrics.first_byte.observe(self.began.elapsed());
    }

    /// No node answered it.
    pub(crate) fn failed(&self, code: &'static str) {
        add(&self.metrics.failed, 1);
        self.metrics.errors.increment(code);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.metrics.latency.observe(self.began.elapsed());
    }
}

pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

/// Name, help and value.
pub(crate) type Gauge<T = u64> = (&'static str, &'static str, T);

/// Base units that this process has leased of budgets and balances, and what of them requests in flight hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leases {
    pub(crate) leased: i128,
    pub(crate) reserved: i128,
}

/// What all channels hold together.
#[derive(Debug, Default)]
struct Channels {
    all: u64,
    ended: u64,
    units_free: u64,
    unacknowledged: u64,
}

impl Channels {
    fn of(summaries: &[Summary]) -> Self {
        let mut channels = Self::default();
        for summary in summaries {
            channels.all = channels.all.saturating_add(1);
            channels.ended = channels.ended.saturating_add(summary.ended.is_some().into());
            channels.units_free = channels.units_free.saturating_add(summary.units_free.0);
            let unacknowledged = summary.count.saturating_sub(summary.acknowledged);
            channels.unacknowledged = channels.unacknowledged.saturating_add(unacknowledged);
        }
        channels
    }
}

impl Metrics {
    pub(crate) fn refuse(&self, code: &'static str) {
        add(&self.refused, 1);
        self.errors.increment(code);
    }

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

    pub(crate) fn render(
        &self,
        summaries: &[Summary],
        leases: Leases,
        supply: impl IntoIterator<Item = Gauge>,
    ) -> String {
        let mut page = Page::new("atoma_gateway");
        let counters = [
            ("requests_total", "Requests with a valid key.", &self.requests),
            ("requests_refused_total", "Requests refused for key, budget or body.", &self.refused),
            ("requests_failed_total", "Requests that no node answered.", &self.failed),
            ("answers_paid_total", "Answers with a checked receipt.", &self.paid),
            ("answers_unpaid_total", "Answers that were not paid.", &self.unpaid),
            ("input_tokens_total", "Input tokens paid.", &self.input_tokens),
            ("output_tokens_total", "Output tokens paid.", &self.output_tokens),
            ("units_total", "Compute units paid.", &self.units),
            ("cost_base_units_total", "Base units of the coin that keys were charged.", &self.cost),
        ];
        for (name, help, counter) in counters {
            page.counter(name, help, counter.load(Ordering::Relaxed));
        }
        let help = "Requests refused or failed, by the error's code.";
        page.counters("errors_total", help, "code", &self.errors);
        let help = "From a request's admission until its answer began.";
        page.histogram("first_byte_seconds", help, &self.first_byte);
        page.histogram("request_seconds", "From a request's admission until its end.", &self.latency);
        page.gauge("requests_in_flight", "Requests being answered.", self.in_flight.load(Ordering::Relaxed));
        let channels = Channels::of(summaries);
        page.gauge("channels", "Channels in use.", channels.all);
        page.gauge("channels_ended", "Of them ended by a disagreement.", channels.ended);
        page.gauge("units_free", "Units of the channels that no request used or holds.", channels.units_free);
        let help = "Receipts for which no node is known to hold a voucher.";
        page.gauge("receipts_unacknowledged", help, channels.unacknowledged);
        let help = "Base units leased of budgets and balances.";
        page.gauge("leased_base_units", help, leases.leased);
        page.gauge("reserved_base_units", "Of them set aside for requests in flight.", leases.reserved);
        let float = *self.float.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, help, value) in float.into_iter().flatten() {
            page.gauge(name, help, value);
        }
        for (name, help, value) in supply {
            page.gauge(name, help, value);
        }
        page.into_text()
    }
}

//! What the node counts and measures, in Prometheus' text format: a number for every promise, so that an operator
//! sees one that is about to be broken. Labels are codes of errors and models of the configuration, never a client's.

use crate::channels::{Channel, Shelf};
use atoma_http::metrics::{Counter, Counters, Histogram, Page, Seconds};
use atoma_inference::{Engine as _, Load};
use atoma_types::Amount;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Stacks that end within this time are counted as ending.
const ENDING_MS: u64 = 3_600_000;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),* $(,)?) => {
        /// What the node counts since it started.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $($(#[doc = $doc])+ pub(crate) $name: Counter,)*
            /// Refused requests, by the error's code.
            pub(crate) refusals: Counters,
            /// From a request's arrival until its books were closed.
            pub(crate) latency: Histogram,
            /// From a request's arrival until a stream's first event.
            pub(crate) first_token: Histogram,
            pub(crate) standing: Standing,
        }

        impl Metrics {
            fn write_counters(&self, page: &mut Page) {
                $(page.counter(concat!(stringify!($name), "_total"), concat!($($doc),+), self.$name.get());)*
            }
        }
    };
}

counters! {
    /// Requests that reached a paid endpoint.
    requests,
    /// Requests answered with an error before any work.
    refused,
    /// Requests passed on to other nodes, which answered them.
    forwarded,
    /// Requests taken over from other nodes.
    taken_over,
    /// Requests that ran to their end.
    completed,
    /// Requests whose client went away.
    aborted,
    /// Requests that the engine failed.
    failed,
    /// Input tokens of billed requests.
    input_tokens,
    /// Output tokens of billed requests.
    output_tokens,
    /// Units of billed requests.
    units,
    /// Vouchers that advanced an acknowledgement.
    vouchers,
    /// Units that users acknowledged.
    acknowledged_units,
    /// Settlement transactions that executed.
    settlements,
    /// Settlement transactions that failed.
    settlement_failures,
    /// Units that the chain settled for this node's transactions.
    settled_units,
    /// Changes of the engines that were taken up while serving.
    reloads,
    /// Changes of the engines that were refused; the old ones went on.
    reload_failures,
}

/// What the chain says of the node, as last read.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    collateral: AtomicU64,
    audits: AtomicU64,
    disputes: AtomicU64,
}

impl Standing {
    pub(crate) fn set(&self, node: &atoma_types::onchain::Node) {
        self.collateral.store(node.collateral.0, Ordering::Relaxed);
        self.audits.store(node.open_audits, Ordering::Relaxed);
        self.disputes.store(node.open_disputes, Ordering::Relaxed);
    }

    fn write(&self, page: &mut Page) {
        let [collateral, audits, disputes] =
            [&self.collateral, &self.audits, &self.disputes].map(|number| number.load(Ordering::Relaxed));
        let at_risk = if audits == 0 && disputes == 0 { 0 } else { collateral };
        page.gauge("collateral_base_units", "Collateral on chain.", collateral);
        let help = "Collateral that open audits and disputes could take.";
        page.gauge("collateral_at_risk_base_units", help, at_risk);
        page.gauge("open_audits", "Open audits of this node.", audits);
        page.gauge("open_disputes", "Open disputes of this node.", disputes);
    }
}

/// What the node measures at this moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) bodies: usize,
    pub(crate) journal: (usize, Duration),
}

/// What all channels hold together.
#[derive(Debug, Default)]
struct Owed {
    channels: usize,
    unacknowledged_units: u64,
    unsettled_units: u64,
    unsettled: Amount,
    /// Until the first settlement window ends in which something is not settled.
    deadline_ms: Option<u64>,
    ending: u64,
}

impl Owed {
    fn of(channels: &[Arc<Channel>], now_ms: u64) -> Self {
        let mut owed = Self { channels: channels.len(), ..Self::default() };
        for channel in channels {
            let books = channel.books();
            let limits = books.limits();
            let unacknowledged = books.total_units().saturating_sub(books.acknowledged_units()).0;
            let unsettled = books.unsettled().map_or(0, |(units, _)| units.0);
            owed.unacknowledged_units = owed.unacknowledged_units.saturating_add(unacknowledged);
            owed.unsettled_units = owed.unsettled_units.saturating_add(unsettled);
            owed.unsettled = owed.unsettled.add(books.unsettled_amount()).unwrap_or(Amount::MAX);
            if unsettled > 0 {
                let left_ms = limits.settle_until_ms.saturating_sub(now_ms);
                owed.deadline_ms = Some(owed.deadline_ms.map_or(left_ms, |least| least.min(left_ms)));
            }
            let ending = limits.closed || limits.ends_ms <= now_ms.saturating_add(ENDING_MS);
            owed.ending = owed.ending.saturating_add(ending.into());
        }
        owed
    }

    fn write(&self, page: &mut Page) {
        page.gauge("channels", "Channels in memory.", self.channels);
        page.gauge("channels_ending", "Channels that are closed or end within an hour.", self.ending);
        let help = "Units served and not acknowledged by their users.";
        page.gauge("unacknowledged_units", help, self.unacknowledged_units);
        page.gauge("unsettled_units", "Units acknowledged and not settled.", self.unsettled_units);
        let help = "What the unsettled units pay, the creator's share included.";
        page.gauge("unsettled_base_units", help, self.unsettled);
        if let Some(left_ms) = self.deadline_ms {
            let help = "Until the first settlement window ends in which something is not settled.";
            page.gauge("settlement_deadline_seconds", help, Seconds(Duration::from_millis(left_ms)));
        }
    }
}

impl Metrics {
    pub(crate) fn render(&self, gauges: Gauges, shelf: &Shelf, channels: &[Arc<Channel>]) -> String {
        let mut page = Page::new("atoma_node");
        self.write_counters(&mut page);
        page.counters("refusals_total", "Refused requests by the error's code.", "code", &self.refusals);
        let help = "From a request's arrival until its books were closed.";
        page.histogram("request_seconds", help, &self.latency);
        let help = "From a request's arrival until a stream's first event.";
        page.histogram("first_token_seconds", help, &self.first_token);
        page.gauge("running", "Requests running now.", gauges.running);
        page.gauge("waiting", "Requests that wait for a place to run.", gauges.waiting);
        page.gauge("bodies", "Bodies being read or prepared.", gauges.bodies);
        let (rows, lag) = gauges.journal;
        page.gauge("journal_rows_waiting", "Rows that wait for the journal's writer.", rows);
        let help = "For how long, at most, the oldest row of the journal has not been committed.";
        page.gauge("journal_lag_seconds", help, Seconds(lag));
        Owed::of(channels, shelf.clock.now().chain_ms).write(&mut page);
        self.standing.write(&mut page);
        let engines = shelf.offers.iter().map(|offer| (offer.model.as_str(), offer.engine.load()));
        write_engines(&mut page, &engines.collect());
        page.into_text()
    }
}

/// What each model's engine says of itself.
fn write_engines(page: &mut Page, engines: &BTreeMap<&str, Load>) {
    let mut series = |name: &str, kind: &str, help: &str, value: fn(&Load) -> u64| {
        page.labelled(name, kind, help, "model", engines.iter().map(|(model, load)| (model, value(load))));
    };
    series("engine_healthy", "gauge", "Whether the engine can be reached.", |load| load.healthy.into());
    series("engine_replicas", "gauge", "Servers of the engine.", |load| load.replicas);
    let help = "Servers of the engine that can be reached.";
    series("engine_replicas_healthy", "gauge", help, |load| load.replicas_healthy);
    series("engine_running", "gauge", "Requests at work in the engine.", |load| load.running);
    series("engine_waiting", "gauge", "Requests that wait in the engine.", |load| load.waiting);
    let help = "Answers for which the engine claimed more than was possible.";
    series("engine_overstated_total", "counter", help, |load| load.overstated);
}

//! Counters in Prometheus' text format.

use atoma_inference::Load;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),* $(,)?) => {
        /// What the node counts since it started.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics { $($(#[doc = $doc])+ pub(crate) $name: Counter),* }

        impl Metrics {
            fn write_counters(&self, out: &mut String) {
                $(write_metric(out, concat!("atoma_node_", stringify!($name), "_total"), "counter", concat!($($doc),+), self.$name.get());)*
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
    /// Settlement transactions that executed.
    settlements,
    /// Settlement transactions that failed.
    settlement_failures,
}

/// What the node measures at this moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) running: usize,
    pub(crate) bodies: usize,
    pub(crate) channels: usize,
    pub(crate) unsettled_units: u64,
}

impl Metrics {
    pub(crate) fn render(&self, gauges: Gauges) -> String {
        let mut out = String::new();
        self.write_counters(&mut out);
        write_metric(&mut out, "atoma_node_running", "gauge", " Requests running now.", gauges.running);
        write_metric(
            &mut out,
            "atoma_node_bodies",
            "gauge",
            " Bodies being read or prepared.",
            gauges.bodies,
        );
        write_metric(&mut out, "atoma_node_channels", "gauge", " Channels in memory.", gauges.channels);
        let unsettled = " Units acknowledged and not settled.";
        write_metric(&mut out, "atoma_node_unsettled_units", "gauge", unsettled, gauges.unsettled_units);
        out
    }
}

/// What each model's engine says of itself.
pub(crate) fn write_engines(out: &mut String, engines: &BTreeMap<&str, Load>) {
    let mut series = |name: &str, kind: &str, help: &str, value: fn(&Load) -> u64| {
        let _ =
            write!(out, "# HELP atoma_node_engine_{name} {help}\n# TYPE atoma_node_engine_{name} {kind}\n");
        for (model, load) in engines {
            let model = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(out, "atoma_node_engine_{name}{{model=\"{model}\"}} {}", value(load));
        }
    };
    series("healthy", "gauge", "Whether the engine can be reached.", |load| load.healthy.into());
    series("running", "gauge", "Requests at work in the engine.", |load| load.running);
    series("waiting", "gauge", "Requests that wait in the engine.", |load| load.waiting);
    let help = "Answers for which the engine claimed more than was possible.";
    series("overstated_total", "counter", help, |load| load.overstated);
}

fn write_metric(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "# HELP {name}{help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

//! What a run came across: how often each entry point succeeded and aborted, by code.

use crate::op::{Op, Step, of_dispute};
use crate::world::Outcome;
use atoma_types::onchain::{Abort, Event};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Counts by entry point and result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<&'static str, BTreeMap<Option<u64>, u64>>,
    /// Events, and some kinds of them.
    events: BTreeMap<String, u64>,
}

/// The event's name, with what tells apart how a story went on.
fn kind(event: &Event) -> String {
    match event {
        Event::AuditConcluded(ended) => {
            format!("AuditConcluded round {} outcome {}", ended.round, ended.outcome)
        }
        Event::Slashed(slashed) if slashed.booked => "Slashed booked".into(),
        Event::Slashed(slashed) if slashed.amount.is_zero() => "Slashed from the pot".into(),
        Event::DisputeExpired(expired) => format!("DisputeExpired duty {}", expired.duty),
        Event::Refunded(refunded) if refunded.credited => "Refunded credited".into(),
        Event::JurySeated(seated) => format!("JurySeated {}", seated.jury.len()),
        event => event.name().into(),
    }
}

impl Coverage {
    pub fn note(&mut self, step: &Step, outcome: &Outcome) {
        let result = match outcome {
            Outcome::Done(ctx) => {
                ctx.events.iter().for_each(|event| *self.events.entry(kind(event)).or_default() += 1);
                None
            }
            Outcome::Aborted(abort) => Some(abort.code()),
            Outcome::Missing => return,
        };
        *self.counts.entry(step.op.entry()).or_default().entry(result).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.events {
            *self.events.entry(kind.clone()).or_default() += count;
        }
        for (entry, results) in &other.counts {
            for (result, count) in results {
                *self.counts.entry(entry).or_default().entry(*result).or_default() += count;
            }
        }
    }

    pub fn succeeded(&self) -> u64 {
        self.sum(|result| result.is_none())
    }

    pub fn aborted(&self) -> u64 {
        self.sum(|result| result.is_some())
    }

    fn sum(&self, of: impl Fn(&Option<u64>) -> bool) -> u64 {
        let results = self.counts.values().flatten();
        results.filter(|(result, _)| of(result)).map(|(_, count)| count).sum()
    }

    /// Entry points that never succeeded.
    pub fn never_succeeded(&self) -> BTreeSet<&'static str> {
        let succeeded = |entry: &&str| self.counts.get(entry).is_some_and(|row| row.contains_key(&None));
        entries().into_iter().filter(|entry| !succeeded(entry)).collect()
    }

    /// Events that were never emitted.
    pub fn never_emitted(&self) -> Vec<&'static str> {
        let names = Event::LAYOUTS.iter().map(|layout| layout.name);
        names.filter(|name| !self.events.keys().any(|kind| kind.split(' ').next() == Some(*name))).collect()
    }

    /// Abort codes that never came.
    pub fn never_aborted(&self) -> Vec<Abort> {
        let seen: BTreeSet<u64> = self.counts.values().flatten().filter_map(|(result, _)| *result).collect();
        Abort::ALL.iter().copied().filter(|abort| !seen.contains(&abort.code())).collect()
    }
}

/// Every entry point that steps call.
pub fn entries() -> BTreeSet<&'static str> {
    let all = Op::ENTRIES.iter().map(|(_, entry)| *entry);
    all.flat_map(|entry| [entry, of_dispute(entry)]).filter(|entry| entry.contains("::")).collect()
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (entry, results) in &self.counts {
            let ok = results.get(&None).copied().unwrap_or(0);
            write!(f, "{entry:<28} ok {ok:>8}")?;
            for (result, count) in results {
                if let Some(code) = result {
                    let name = Abort::from_code(*code).map_or("?", Abort::name);
                    write!(f, "  {name} {count}")?;
                }
            }
            writeln!(f)?;
        }
        for (kind, count) in &self.events {
            writeln!(f, "{kind:<40} {count:>8}")?;
        }
        Ok(())
    }
}

//! What every entry point costs on chain, counted while plays run on the model: dynamic fields, hashes, signature
//! checks and bytes. Gas is not counted: there is no Sui here that could price it.

mod growth;
mod store;

pub use growth::{Growth, SUBSCRIBERS, grow};

use crate::coverage;
use crate::op::{Op, Step};
use crate::plan::Director;
use crate::world::{Outcome, World};
use atoma_contract::meter;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use store::Store;

/// Plays counted: these, and more until every entry point was reached.
const PLAYS: u64 = 60;
const PLAYS_MAX: u64 = 400;
const STEPS_A_PLAY: u64 = 400;

/// One call that succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Dynamic fields that the call looks at and leaves as they are, there or not.
    pub read: u64,
    pub changed: u64,
    pub created: u64,
    pub deleted: u64,
    /// BLAKE2b-256.
    pub hashes: u64,
    /// Ed25519.
    pub signatures: u64,
    /// BCS of all objects and fields that it creates or changes, as they are afterwards.
    pub written_bytes: u64,
    /// By how much all objects and fields together grew; less than nothing if they shrank.
    pub grown_bytes: i64,
}

impl Cost {
    /// All dynamic fields; a transaction may touch 1,000.
    pub fn fields(&self) -> u64 {
        self.read + self.changed + self.created + self.deleted
    }

    fn columns(&self) -> [i64; 8] {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        [
            count(self.read),
            count(self.changed),
            count(self.created),
            count(self.deleted),
            count(self.hashes),
            count(self.signatures),
            count(self.written_bytes),
            self.grown_bytes,
        ]
    }
}

const HEADINGS: &str =
    "fields read | changed | created | deleted | hashes | signatures | bytes written | bytes more";

/// Plays one step and counts it. `None` if it aborted, or did nothing: a voucher that is settled already, say.
pub fn play(world: &mut World, step: &Step) -> Option<Cost> {
    let before = Store::of(world, None);
    let (outcome, count) = meter::measure(|| world.play(step));
    let Outcome::Done(ctx) = outcome else { return None };
    if ctx.events.is_empty() && !matches!(step.op, Op::NewCap {}) {
        return None;
    }
    let mut cost = Store::of(world, Some(&ctx)).since(&before);
    let written = cost.changed + cost.created + cost.deleted;
    cost.read = u64::try_from(count.fields.len()).unwrap_or(u64::MAX).saturating_sub(written);
    cost.hashes = count.hashes;
    cost.signatures = count.signatures;
    Some(cost)
}

/// The whole page, with what [`grow`] counted.
pub fn page(growth: &[Growth]) -> String {
    let (plays, entries) = entries();
    let mut page = INTRODUCTION.to_owned();
    let _ = writeln!(
        page,
        "\nPlayed were the seeds 1 to {plays}, {STEPS_A_PLAY} steps each (at least {PLAYS} seeds, and more until every\n\
         entry point was reached). *Calls* counts those of them that did something: what aborted, and what found\n\
         nothing to do, is left out."
    );
    let _ = writeln!(page, "\n| entry point | calls | {HEADINGS} |\n|---|{}", "--:|".repeat(9));
    for (entry, costs) in &entries {
        let columns: Vec<Vec<i64>> =
            (0..8).map(|at| costs.iter().map(|cost| cost.columns()[at]).collect()).collect();
        let cells: Vec<String> = columns.into_iter().map(typical).collect();
        let _ = writeln!(page, "| `{entry}` | {} | {} |", costs.len(), cells.join(" | "));
    }
    page.push_str(GROWTH);
    let _ = writeln!(page, "\n| call | subscribers | {HEADINGS} |\n|---|{}", "--:|".repeat(9));
    for growth in growth {
        let columns: Vec<Vec<i64>> =
            (0..8).map(|at| growth.costs.iter().map(|cost| cost.columns()[at]).collect()).collect();
        let cells: Vec<String> = columns.into_iter().map(typical).collect();
        let _ =
            writeln!(page, "| {} | {} | {} |", growth.call, grouped(growth.subscribers), cells.join(" | "));
    }
    page
}

/// How many plays there were, and every call of every entry point that did something in them.
fn entries() -> (u64, BTreeMap<&'static str, Vec<Cost>>) {
    let mut entries: BTreeMap<&'static str, Vec<Cost>> = BTreeMap::new();
    let all = coverage::entries();
    let mut plays = 0;
    for seed in 1..=PLAYS_MAX {
        if seed > PLAYS && all.iter().all(|entry| entries.contains_key(entry)) {
            break;
        }
        plays = seed;
        let mut director = Director::new(seed);
        for _ in 0..STEPS_A_PLAY {
            let step = director.next();
            let cost = play(&mut director.world, &step);
            if let Some(cost) = cost.filter(|_| !matches!(step.op, Op::SetVersion { .. })) {
                entries.entry(step.op.entry()).or_default().push(cost);
            }
        }
    }
    (plays, entries)
}

/// The median and, if it is another, the most.
fn typical(mut values: Vec<i64>) -> String {
    values.sort_unstable();
    let (Some(median), Some(most)) = (values.get(values.len() / 2), values.last()) else {
        return String::new();
    };
    if median == most { median.to_string() } else { format!("{median} ({most})") }
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    match number / 1_000 {
        0 => number.to_string(),
        thousands => format!("{},{:03}", grouped(thousands), number % 1_000),
    }
}

const INTRODUCTION: &str = "\
# What calls cost

Written by `cargo xtask costs`; do not edit. Counted on the model while seeded plays run, which reach every entry
point with usual and with extreme arguments. **Not gas**: no Sui was at hand that could price it, and the plays' lists are
short. What gas depends on is here: dynamic fields (a transaction may touch 1,000), hashes, signature checks, and bytes
that are stored.

Model and Move package have the same objects and tables (docs/contract.md), so a row of a table is a dynamic field in
both. A field counts once a call: *read* is what the call looked at and left as it is, there or not. Hashes are
BLAKE2b-256 as the contract calls it, not Sui's own for ids and digests; the most, some 4,100, are draws for an audit
that found too few in 2,048 tries. Bytes are BCS of objects and fields, a field with its id and key, without what Sui
stores beside every object (type, owner, version: about 100 bytes). *Written* is what is created or changed, as it is
afterwards, coins included; *more* is by how much everything grew, coins handed in not subtracted.

Every cell is the median of the calls that did something and, where that is another number, in brackets the most.
";

const GROWTH: &str = "
## With the number of subscribers

A market in which all nodes subscribe to one task, all are eligible, and each has the minimum of collateral, a quarter of
what a draw weighs, so that three in four tries fail. Seeds differ from call to call. \"Too dear\" is the same with nine
of ten offers above the buyer's price. A draw's tries do not depend on the length of the lists; the pages it meets do,
64 offers each, until there are more of them than tries. It is bounded in any case by 512 tries and 64 node rows.
";

//! What everybody's books say at the end, each read from its own place: the keys' from the gateway's database, the
//! gateway's and the nodes' from the vouchers in their journals, the chain's from its events.

use crate::fleet::{Charged, Fleet};
use anyhow::{Context, Result};
use atoma_chain::ChainClient;
use atoma_types::onchain::Event;
use atoma_types::{Address, NodeId, Signed, Voucher};
use futures::StreamExt as _;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Units by channel.
type Channels = BTreeMap<(Address, NodeId), u64>;

/// After so long without an event, the chain has told them all.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize)]
pub struct Report {
    keys: Charged,
    gateway: Book,
    nodes: Book,
    chain: Book,
    /// Base units that left the stacks for requests.
    paid: u64,
    /// Channels on which gateway and node disagreed.
    endings: Vec<String>,
    /// Channels whose books differ, with the units of gateway, node and chain.
    differing: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Book {
    channels: usize,
    units: u64,
}

impl Book {
    fn of(channels: &Channels) -> Self {
        Self {
            channels: channels.len(),
            units: channels.values().fold(0, |sum, units| sum.saturating_add(*units)),
        }
    }
}

/// Ends everything in order and reads the books.
pub async fn close(fleet: &Arc<Fleet>) -> Result<Report> {
    let draining = Arc::clone(fleet);
    let keys = tokio::task::spawn_blocking(move || draining.drain()).await??;
    let journal = fleet.folder.join("gateway/journal.db");
    let gateway = vouchers(&journal)?;
    let mut nodes = Channels::new();
    for folder in fleet.node_folders() {
        nodes.extend(vouchers(&folder.join("journal.sqlite"))?);
    }
    let (chain, paid) = settled(fleet).await?;
    let all = gateway.keys().chain(nodes.keys()).chain(chain.keys());
    let mut differing: Vec<String> = all
        .filter_map(|channel| {
            let [ours, theirs, settled] = [&gateway, &nodes, &chain].map(|book| book.get(channel).copied());
            let (stack, node) = channel;
            (ours != theirs || theirs != settled)
                .then(|| format!("stack {stack} node {node}: {ours:?} {theirs:?} {settled:?}"))
        })
        .collect();
    differing.sort_unstable();
    differing.dedup();
    Ok(Report {
        keys,
        gateway: Book::of(&gateway),
        nodes: Book::of(&nodes),
        chain: Book::of(&chain),
        paid,
        endings: endings(&journal)?,
        differing,
    })
}

impl Report {
    /// Requests that the keys were charged.
    pub fn requests(&self) -> u64 {
        self.keys.requests
    }

    pub fn agree(&self) -> bool {
        let units = [self.gateway.units, self.nodes.units, self.chain.units];
        self.differing.is_empty()
            && self.endings.is_empty()
            && units.iter().all(|units| *units == self.keys.units)
            && self.keys.cost == self.paid
            && self.keys.reserved == 0
    }

    pub fn print(&self) {
        println!("{:<10}{:>10}{:>14}", "book", "channels", "units");
        println!(
            "{:<10}{:>10}{:>14}   cost {}, reserved {}",
            "keys", "", self.keys.units, self.keys.cost, self.keys.reserved
        );
        for (name, book) in [("gateway", &self.gateway), ("nodes", &self.nodes), ("chain", &self.chain)] {
            println!("{name:<10}{:>10}{:>14}", book.channels, book.units);
        }
        println!("paid on chain: {}", self.paid);
        for line in self.endings.iter().chain(&self.differing) {
            println!("DIFFERS {line}");
        }
        println!("{}", if self.agree() { "all books agree" } else { "the books do NOT agree" });
    }
}

fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).with_context(|| format!("cannot open {}", path.display()))
}

/// The newest voucher of every channel.
fn vouchers(journal: &Path) -> Result<Channels> {
    let connection = open(journal)?;
    let mut statement = connection.prepare("SELECT voucher FROM vouchers")?;
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|bytes| {
        let voucher: Signed<Voucher> = bcs::from_bytes(&bytes?)?;
        let Voucher { stack, node, units, .. } = voucher.message;
        Ok(((stack, node), units.0))
    })
    .collect()
}

fn endings(journal: &Path) -> Result<Vec<String>> {
    let connection = open(journal)?;
    let mut statement = connection.prepare("SELECT node, reason FROM endings")?;
    let rows = statement
        .query_map([], |row| Ok(format!("node {}: {}", row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Settled units by channel, and all that was paid for them.
async fn settled(fleet: &Fleet) -> Result<(Channels, u64)> {
    let chain = ChainClient::connect(fleet.chain.deployment.clone()).await?;
    let (mut channels, mut total) = (Channels::new(), 0u64);
    let mut events = pin!(chain.events(None));
    while let Ok(Some(frame)) = tokio::time::timeout(QUIET, events.next()).await {
        let Some(event) = frame?.event else { continue };
        if let Event::Settled(settled) = event.event {
            let units = channels.entry((settled.stack, settled.node)).or_default();
            *units = settled.units.0.max(*units);
            total = total
                .checked_add(settled.paid.0)
                .and_then(|sum| sum.checked_add(settled.creator_fee.0))
                .context("the sum is too large")?;
        }
    }
    Ok((channels, total))
}

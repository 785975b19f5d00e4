//! What the model says of a step, in the bytes that the Move driver compares with.

use crate::op::Step;
use crate::world::{Outcome, World};
use anyhow::{Context, Result};
use atoma_contract::{AtomaDb, Market, Owned, SlotList, Table};
use atoma_types::onchain::Event;
use atoma_types::{Address, Hash32};
use serde::Serialize;
use std::collections::BTreeSet;

/// An object, or part of one, as the driver names it: the order is that of its branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Item {
    Db(u8),
    Treasury(u8),
    /// With its seeds.
    Beacon(u8),
    Node(u8, u64),
    Model(u8, u64),
    Task(u8, u64),
    /// With its lists and slots.
    Market(u8, u64),
    Subscription(u8, u64, u64),
    /// Verifiers of an owner.
    Owned(u8, u64, Address),
    Due(u8, Address),
    /// No bytes once it is deleted.
    Stack(Address),
    Dispute(Address),
    Lock(u8),
    Cap(u8),
    NodeBadge(u16),
    TaskBadge(u16),
}

/// What a step comes to.
#[derive(Clone, Debug)]
pub struct Expected {
    /// 0 or the abort code.
    pub code: u64,
    pub event_count: u32,
    /// By the type's position in [`Event::LAYOUTS`]: BCS of the vector of its events.
    pub events: Vec<(u8, Vec<u8>)>,
    /// Whose the coins are that left, and what they are worth.
    pub coins: Vec<(Address, u64)>,
    pub items: Vec<(Item, Vec<u8>)>,
}

/// How much of the world is compared after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What the step changed, and what it could have changed first of all.
    Changed,
    Everything,
}

impl Expected {
    /// What is expected of a step between these two states of the world.
    pub fn of(before: &World, after: &World, step: &Step, outcome: &Outcome, scope: Scope) -> Result<Self> {
        let ctx = match outcome {
            Outcome::Done(ctx) => ctx,
            Outcome::Aborted(abort) => return Ok(Self::abort(abort.code())),
            Outcome::Missing => return Ok(Self::abort(u64::MAX)),
        };
        let coins = ctx.transfers.iter().filter_map(|transfer| match &transfer.object {
            Owned::Coin(coin) => Some((transfer.to, coin.balance.0)),
            _ => None,
        });
        let mut wanted = match scope {
            Scope::Everything => items(after),
            Scope::Changed => changed(before, after)?,
        };
        wanted.extend(after.market(&step.op).and_then(|market| u8::try_from(market).ok()).map(Item::Db));
        let items = wanted.into_iter().map(|item| Ok((item, bytes_of(after, item)?)));
        Ok(Self {
            code: 0,
            event_count: u32::try_from(ctx.events.len())?,
            events: by_type(&ctx.events)?,
            coins: coins.collect(),
            items: items.collect::<Result<_>>()?,
        })
    }

    fn abort(code: u64) -> Self {
        Self { code, event_count: 0, events: Vec::new(), coins: Vec::new(), items: Vec::new() }
    }

    /// As the driver reads it: hashes, or whole bytes where they are to be told apart.
    pub fn to_bytes(&self, is_whole: bool) -> Result<Vec<u8>> {
        if self.code != 0 {
            return Ok(bcs::to_bytes(&self.code)?);
        }
        let short = |bytes: &Vec<u8>| match is_whole {
            true => bytes.clone(),
            false => Hash32::of(bytes).0.to_vec(),
        };
        let events: Vec<(u8, Vec<u8>)> =
            self.events.iter().map(|(tag, bytes)| (*tag, short(bytes))).collect();
        let items: Vec<(Item, Vec<u8>)> =
            self.items.iter().map(|(item, bytes)| (*item, short(bytes))).collect();
        let (owners, values): (Vec<Address>, Vec<u64>) = self.coins.iter().copied().unzip();
        Ok(bcs::to_bytes(&(self.code, self.event_count, events, (owners, values), items))?)
    }
}

/// The events of each type, types in the order of their first event.
fn by_type(events: &[Event]) -> Result<Vec<(u8, Vec<u8>)>> {
    let mut types: Vec<(u8, Vec<Vec<u8>>)> = Vec::new();
    for event in events {
        let name = Event::LAYOUTS
            .iter()
            .position(|layout| layout.name == event.name())
            .context("an event is listed")?;
        let (tag, contents) = (u8::try_from(name)?, event.contents()?);
        match types.iter_mut().find(|(other, _)| *other == tag) {
            Some((_, list)) => list.push(contents),
            None => types.push((tag, vec![contents])),
        }
    }
    let vectors = types.into_iter().map(|(tag, list)| {
        // BCS of a vector is its length, then each; a transaction has few.
        let mut bytes = vec![u8::try_from(list.len()).ok().filter(|len| *len < 128).context("few events")?];
        bytes.extend(list.into_iter().flatten());
        Ok((tag, bytes))
    });
    vectors.collect()
}

fn changed(before: &World, after: &World) -> Result<BTreeSet<Item>> {
    let mut wanted = BTreeSet::new();
    let mut all = items(after);
    all.extend(items(before));
    for item in all {
        if bytes_of(before, item).ok() != bytes_of(after, item).ok() {
            wanted.insert(item);
        }
    }
    Ok(wanted)
}

/// Everything that exists.
pub fn items(world: &World) -> BTreeSet<Item> {
    let mut items = BTreeSet::new();
    for (at, db) in (0u8..).zip(&world.dbs) {
        items.extend([Item::Db(at), Item::Treasury(at), Item::Beacon(at)]);
        items.extend(db.nodes.rows().map(|(id, _)| Item::Node(at, id)));
        items.extend(db.models.rows().map(|(id, _)| Item::Model(at, id)));
        items.extend(db.tasks.rows().map(|(id, _)| Item::Task(at, id)));
        items.extend(db.dues.rows().map(|(to, _)| Item::Due(at, to)));
        for (task, market) in db.markets.rows() {
            items.insert(Item::Market(at, task));
            items.extend(market.subscriptions.rows().map(|(node, _)| Item::Subscription(at, task, node)));
            items.extend(market.verifiers_of.rows().map(|(owner, _)| Item::Owned(at, task, owner)));
        }
    }
    items.extend(world.stacks.keys().copied().map(Item::Stack));
    items.extend(world.disputes.keys().copied().map(Item::Dispute));
    items.extend((0u8..).zip(&world.locks).map(|(at, _)| Item::Lock(at)));
    items.extend((0u8..).zip(&world.caps).map(|(at, _)| Item::Cap(at)));
    items.extend((0u16..).zip(&world.node_badges).map(|(at, _)| Item::NodeBadge(at)));
    items.extend((0u16..).zip(&world.task_badges).map(|(at, _)| Item::TaskBadge(at)));
    items
}

/// An item's bytes as the driver makes them.
pub fn bytes_of(world: &World, item: Item) -> Result<Vec<u8>> {
    let db = |at: u8| world.dbs.get(usize::from(at)).context("a market");
    let none = "nothing there";
    Ok(match item {
        Item::Db(at) => db(at)?.header_bytes()?,
        Item::Treasury(at) => bcs::to_bytes(world.treasuries.get(usize::from(at)).context(none)?)?,
        Item::Beacon(at) => {
            let beacon = world.beacons.get(usize::from(at)).context(none)?;
            let head = (beacon.id, beacon.version, beacon.db, beacon.round, beacon.last_ms);
            let mut bytes = bcs::to_bytes(&(head, header(&beacon.seeds)))?;
            beacon.seeds.values().for_each(|seed| bytes.extend(seed.0));
            bytes
        }
        Item::Node(at, id) => bcs::to_bytes(db(at)?.nodes.get(id).context(none)?)?,
        Item::Model(at, id) => bcs::to_bytes(db(at)?.models.get(id).context(none)?)?,
        Item::Task(at, id) => bcs::to_bytes(db(at)?.tasks.get(id).context(none)?)?,
        Item::Market(at, task) => market_bytes(db(at)?, task)?,
        Item::Subscription(at, task, node) => {
            bcs::to_bytes(market(db(at)?, task)?.subscriptions.get(node).context(none)?)?
        }
        Item::Owned(at, task, owner) => bcs::to_bytes(&market(db(at)?, task)?.verifiers_owned(owner))?,
        Item::Due(at, to) => bcs::to_bytes(&db(at)?.due_of(to))?,
        Item::Stack(id) => world.stacks.get(&id).map_or(Ok(Vec::new()), bcs::to_bytes)?,
        Item::Dispute(id) => world.disputes.get(&id).map_or(Ok(Vec::new()), bcs::to_bytes)?,
        Item::Lock(at) => bcs::to_bytes(world.locks.get(usize::from(at)).context(none)?)?,
        Item::Cap(at) => bcs::to_bytes(world.caps.get(usize::from(at)).context(none)?)?,
        Item::NodeBadge(at) => bcs::to_bytes(world.node_badges.get(usize::from(at)).context(none)?)?,
        Item::TaskBadge(at) => bcs::to_bytes(world.task_badges.get(usize::from(at)).context(none)?)?,
    })
}

/// A table as it is in the bytes of the object that holds it.
fn header<K: Copy + Ord + Serialize, V>(table: &Table<K, V>) -> (Address, u64) {
    (table.id, table.size())
}

fn market(db: &AtomaDb, task: u64) -> Result<&Market> {
    db.markets.get(task).context("a market")
}

fn market_bytes(db: &AtomaDb, task: u64) -> Result<Vec<u8>> {
    let market = market(db, task)?;
    let tables = (header(&market.lists), header(&market.verifiers), header(&market.subscriptions));
    let mut bytes = bcs::to_bytes(&(tables, header(&market.verifiers_of)))?;
    for echelon in &db.tasks.get(task).context("a task")?.echelons {
        for lists in [&market.lists, &market.verifiers] {
            append_list(lists.get(*echelon).context("a list")?, &mut bytes)?;
        }
    }
    Ok(bytes)
}

fn append_list(list: &SlotList, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.extend(bcs::to_bytes(&(header(&list.pages), list.size, list.live, &list.free))?);
    for position in 0..list.size {
        bytes.extend(bcs::to_bytes(list.slot(position).context("a slot")?)?);
    }
    Ok(())
}

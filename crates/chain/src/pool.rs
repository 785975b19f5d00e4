//! Which of a wallet's coins, badges and other objects are free, and which serve a transaction. An owned object can be
//! in one transaction at a time: a [`Lease`] holds what one transaction uses and gives it back with the
//! version that the transaction's effects left, so that nothing need be read again in between.
//!
//! All bookkeeping is synchronous; the wallet does the reading. If it is ever wrong (another process
//! uses the same wallet), the chain refuses the transaction and the objects are read again.

use crate::build::Held;
use crate::{ChainError, Digest};
use atoma_types::Address;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use sui_sdk_types::{ObjectChange, ObjectReference, Owner, TransactionEffects};
use tokio::sync::Notify;

/// Most coins in one payment; Sui allows 256 gas coins and 2,048 inputs.
const PAYMENT_COINS_MAX: usize = 200;
/// Most pieces that one split makes.
const PIECES_MAX: usize = 31;
/// Transactions that a split-off gas coin should last for, if there is enough.
const GAS_PIECE: u64 = 20;
/// Known least versions kept.
const FLOORS_MAX: usize = 16_384;

/// The two coins a wallet spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purse {
    Gas,
    Market,
}

#[derive(Clone, Debug)]
pub(crate) struct Coin {
    pub(crate) reference: ObjectReference,
    pub(crate) balance: u64,
}

/// What one transaction uses.
#[derive(Clone, Debug)]
struct Item {
    kind: Kind,
    coin: Coin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Coin(Purse),
    Held(Held),
    /// Of a transaction read back from a journal.
    Unknown,
}

pub(crate) struct Pool {
    owner: Address,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    gas: Coins,
    market: Coins,
    held: HashMap<Held, ObjectReference>,
    in_use: HashSet<Address>,
    /// Least version at which an object can still be; `u64::MAX` once it is gone. Lists read before a
    /// transaction executed are old news by these.
    floors: HashMap<Address, u64>,
    limbo: Vec<Limbo>,
    /// Counts changes, to tell what a list could not have shown yet.
    generation: u64,
}

#[derive(Default)]
struct Coins {
    free: HashMap<Address, (Coin, u64)>,
    /// Nothing that the chain has is missing in `free`, as far as is known.
    complete: bool,
    loading: bool,
    leased: usize,
    /// What tasks wait for, to split for all of them at once.
    wanted: Vec<u64>,
}

/// Objects of a transaction that was sent and given up before its fate was known.
#[derive(Clone, Debug)]
pub(crate) struct Limbo {
    pub(crate) digest: Digest,
    pub(crate) expires_epoch: Option<u64>,
    objects: Vec<Address>,
}

/// What [`Pool::take`] found.
pub(crate) enum Take {
    Taken,
    /// Taken, and worth splitting into this many pieces of this size beside the rest, because others wait.
    Split {
        pieces: usize,
        piece: u64,
    },
    /// The coins must be listed first; the guard marks who does it.
    Load(Loading),
    Wait,
    Short {
        available: u64,
    },
}

impl Pool {
    pub(crate) fn new(owner: Address) -> Self {
        Self { owner, state: Mutex::default(), changed: Notify::new() }
    }

    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        Lease {
            pool: self.clone(),
            items: Vec::new(),
            gas_out: 0,
            market_out: 0,
            fate: Mutex::new(Fate::Unsent),
        }
    }

    /// Resolves at the next change after the call, even if that comes before the first poll.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves coins worth `amount` for `lease`; `reserve` is what a split itself would cost.
    pub(crate) fn take(self: &Arc<Self>, lease: &mut Lease, purse: Purse, amount: u64, reserve: u64) -> Take {
        let mut state = self.state();
        let coins = state.coins(purse);
        let Some(ids) = coins.choose(purse, amount) else {
            if !coins.complete && !coins.loading {
                coins.loading = true;
                return Take::Load(Loading { pool: self.clone(), purse });
            }
            if coins.loading || coins.leased > 0 {
                return Take::Wait;
            }
            return Take::Short { available: coins.total() };
        };
        let pieces = if ids.len() == 1 { coins.pieces(purse, &ids, amount, reserve) } else { None };
        state.reserve(lease, purse, &ids);
        match pieces {
            Some((pieces, piece)) => Take::Split { pieces, piece },
            None => Take::Taken,
        }
    }

    /// Reserves every free coin, for a payment that is smaller than what would be comfortable.
    pub(crate) fn take_all(&self, lease: &mut Lease, purse: Purse) -> u64 {
        let mut state = self.state();
        let ids = state.coins(purse).largest();
        state.reserve(lease, purse, &ids);
        lease.value(purse)
    }

    /// Makes the next [`Pool::take`] that finds too little list the coins again.
    pub(crate) fn doubt(&self, purse: Purse) {
        self.state().coins(purse).complete = false;
    }

    /// Says that somebody waits for `amount`, until dropped.
    pub(crate) fn want(self: &Arc<Self>, purse: Purse, amount: u64) -> Wanted {
        self.state().coins(purse).wanted.push(amount);
        Wanted { pool: self.clone(), purse, amount }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.state().generation
    }

    /// Replaces what is known by a list that was begun at `generation`.
    pub(crate) fn listed(&self, purse: Purse, generation: u64, list: Vec<Coin>) {
        let mut state = self.state();
        let now = state.generation;
        let mut known = std::mem::take(&mut state.coins(purse).free);
        let mut free = HashMap::with_capacity(list.len());
        for coin in list {
            let (id, version) = (*coin.reference.object_id(), coin.reference.version());
            let is_news = version >= state.floors.get(&id).copied().unwrap_or(0);
            match known.remove(&id) {
                Some((held, since)) if held.reference.version() >= version => free.insert(id, (held, since)),
                _ if is_news && !state.in_use.contains(&id) => free.insert(id, (coin, now)),
                _ => None,
            };
        }
        free.extend(known.into_iter().filter(|(_, (_, since))| *since > generation));
        let coins = state.coins(purse);
        coins.free = free;
        coins.complete = true;
    }

    /// Reserves a badge or another object. `Wait` while another transaction uses it, `Short` if it is unknown.
    pub(crate) fn take_held(&self, lease: &mut Lease, held: Held) -> Take {
        let mut state = self.state();
        let Some(reference) = state.held.get(&held).cloned() else {
            return Take::Short { available: 0 };
        };
        if !state.in_use.insert(*reference.object_id()) {
            return Take::Wait;
        }
        lease.items.push(Item { kind: Kind::Held(held), coin: Coin { reference, balance: 0 } });
        Take::Taken
    }

    pub(crate) fn listed_held(&self, held: Held, reference: ObjectReference) {
        let mut state = self.state();
        let floor = state.floors.get(reference.object_id()).copied().unwrap_or(0);
        if reference.version() >= floor {
            state.held.insert(held, reference);
        }
    }

    pub(crate) fn limbo(&self) -> Vec<Limbo> {
        self.state().limbo.clone()
    }

    /// The fate of a transaction in limbo is known: its objects can be read again.
    pub(crate) fn resolved(&self, digest: Digest) {
        let mut state = self.state();
        let limbo = std::mem::take(&mut state.limbo);
        let (done, rest): (Vec<Limbo>, _) = limbo.into_iter().partition(|limbo| limbo.digest == digest);
        state.limbo = rest;
        for limbo in done {
            for id in limbo.objects {
                state.in_use.remove(&id);
            }
        }
        state.doubt_all();
    }

    fn announce(&self) {
        self.changed.notify_waiters();
    }
}

impl State {
    fn coins(&mut self, purse: Purse) -> &mut Coins {
        match purse {
            Purse::Gas => &mut self.gas,
            Purse::Market => &mut self.market,
        }
    }

    fn reserve(&mut self, lease: &mut Lease, purse: Purse, ids: &[Address]) {
        for id in ids {
            if let Some((coin, _)) = self.coins(purse).free.remove(id) {
                self.coins(purse).leased += 1;
                self.in_use.insert(*id);
                lease.items.push(Item { kind: Kind::Coin(purse), coin });
            }
        }
    }

    /// The object is no longer in use by its lease.
    fn unlease(&mut self, item: &Item) {
        self.in_use.remove(item.coin.reference.object_id());
        self.end_lease(item);
    }

    fn end_lease(&mut self, item: &Item) {
        if let Kind::Coin(purse) = item.kind {
            let coins = self.coins(purse);
            coins.leased = coins.leased.saturating_sub(1);
        }
    }

    fn put_back(&mut self, kind: Kind, coin: Coin) {
        self.generation += 1;
        let generation = self.generation;
        match kind {
            Kind::Coin(purse) => {
                self.coins(purse).free.insert(*coin.reference.object_id(), (coin, generation));
            }
            Kind::Held(held) => {
                self.held.insert(held, coin.reference);
            }
            Kind::Unknown => self.doubt_all(),
        }
    }

    fn set_floor(&mut self, id: Address, version: u64) {
        if self.floors.len() >= FLOORS_MAX {
            self.floors.clear();
        }
        self.floors.insert(id, version);
    }

    fn doubt_all(&mut self) {
        self.gas.complete = false;
        self.market.complete = false;
    }
}

impl Coins {
    fn total(&self) -> u64 {
        self.free.values().fold(0, |sum, (coin, _)| sum.saturating_add(coin.balance))
    }

    /// One coin worth `amount`, else the largest ones together. For gas any will do, in an order that is
    /// another in each process, so that two of them seldom pick the same; the market's smallest that
    /// suffices leaves the others whole.
    fn choose(&self, purse: Purse, amount: u64) -> Option<Vec<Address>> {
        let mut enough = self.free.values().map(|(coin, _)| coin).filter(|coin| coin.balance >= amount);
        let one = match purse {
            Purse::Gas => enough.next(),
            Purse::Market => enough.min_by_key(|coin| coin.balance),
        };
        if let Some(coin) = one {
            return Some(vec![*coin.reference.object_id()]);
        }
        let mut sum = 0u64;
        let mut ids = self.largest();
        let count = ids.iter().position(|id| {
            sum = sum.saturating_add(self.free.get(id).map_or(0, |(coin, _)| coin.balance));
            sum >= amount
        })?;
        ids.truncate(count + 1);
        Some(ids)
    }

    fn largest(&self) -> Vec<Address> {
        let mut coins: Vec<&Coin> = self.free.values().map(|(coin, _)| coin).collect();
        coins.sort_by_key(|coin| std::cmp::Reverse(coin.balance));
        coins.into_iter().take(PAYMENT_COINS_MAX).map(|coin| *coin.reference.object_id()).collect()
    }

    /// How to split the only coin that serves, if others wait for one too.
    fn pieces(&self, purse: Purse, chosen: &[Address], amount: u64, reserve: u64) -> Option<(usize, u64)> {
        let largest = self.wanted.iter().copied().max()?.max(amount);
        let others =
            self.free.iter().filter(|(id, (coin, _))| !chosen.contains(id) && coin.balance >= largest);
        let waiting = self.wanted.len().saturating_sub(others.count());
        let (coin, _) = chosen.first().and_then(|id| self.free.get(id))?;
        let room = coin.balance.checked_sub(reserve)?.checked_sub(amount)?;
        (1..=waiting.min(PIECES_MAX)).rev().find_map(|pieces| {
            let count = u64::try_from(pieces).ok()?;
            let share = room / count;
            let piece = match purse {
                Purse::Gas => share.min(largest.saturating_mul(GAS_PIECE)),
                Purse::Market => largest,
            };
            (share >= largest).then_some((pieces, piece))
        })
    }
}

/// The objects that one transaction uses; given back when it is dropped.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    items: Vec<Item>,
    /// What leaves the first coin of each purse if the transaction succeeds.
    pub(crate) gas_out: u64,
    pub(crate) market_out: u64,
    fate: Mutex<Fate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unsent,
    /// Sent at least once, and not known to have executed or to be dead.
    Sent {
        digest: Digest,
        expires_epoch: Option<u64>,
    },
    Over,
}

impl Lease {
    pub(crate) fn coins(&self, purse: Purse) -> Vec<ObjectReference> {
        self.of(purse).map(|coin| coin.reference.clone()).collect()
    }

    pub(crate) fn value(&self, purse: Purse) -> u64 {
        self.of(purse).fold(0, |sum, coin| sum.saturating_add(coin.balance))
    }

    fn of(&self, purse: Purse) -> impl Iterator<Item = &Coin> {
        self.items.iter().filter(move |item| item.kind == Kind::Coin(purse)).map(|item| &item.coin)
    }

    /// Moves what was reserved last to a lease of its own.
    pub(crate) fn split_off_last(&mut self) -> Self {
        let mut other = self.pool.lease();
        other.items.extend(self.items.pop());
        other
    }

    /// The badges and other objects that it holds.
    pub(crate) fn held(&self) -> HashMap<Held, ObjectReference> {
        let held = self.items.iter().filter_map(|item| match item.kind {
            Kind::Held(held) => Some((held, item.coin.reference.clone())),
            _ => None,
        });
        held.collect()
    }

    /// Reserves what a transaction from a journal uses, as far as nobody else has it.
    pub(crate) fn adopt<'a>(&mut self, references: impl Iterator<Item = &'a ObjectReference>) {
        let mut state = self.pool.state();
        for reference in references {
            let id = reference.object_id();
            if state.in_use.insert(*id) {
                state.gas.free.remove(id);
                state.market.free.remove(id);
                let coin = Coin { reference: reference.clone(), balance: 0 };
                self.items.push(Item { kind: Kind::Unknown, coin });
            }
        }
    }

    pub(crate) fn sent(&self, digest: Digest, expires_epoch: Option<u64>) {
        let mut fate = self.fate();
        if *fate == Fate::Unsent {
            *fate = Fate::Sent { digest, expires_epoch };
        }
    }

    /// Refused for good without having executed: everything is as it was.
    pub(crate) fn refused(&self) {
        let mut fate = self.fate();
        if *fate != Fate::Over {
            *fate = Fate::Unsent;
        }
    }

    /// Provably dead because the chain moved on: what is known of the objects is wrong.
    pub(crate) fn dead(&self) {
        if !self.finish() {
            return;
        }
        let mut state = self.pool.state();
        for item in &self.items {
            state.unlease(item);
            if let Kind::Held(held) = item.kind {
                state.held.remove(&held);
            }
        }
        state.doubt_all();
        drop(state);
        self.pool.announce();
    }

    /// Executed: takes the new versions from the effects.
    pub(crate) fn executed(&self, effects: &TransactionEffects) {
        if !self.finish() {
            return;
        }
        let mut state = self.pool.state();
        let mut current = HashMap::new();
        for change in effects.object_changes() {
            let id = *change.object_id();
            match after(&change, self.pool.owner) {
                Some(reference) => {
                    state.set_floor(id, reference.version());
                    current.insert(id, reference);
                }
                None => state.set_floor(id, u64::MAX),
            }
            if matches!(change, ObjectChange::Created { .. } | ObjectChange::Unwrapped { .. }) {
                state.doubt_all();
            }
        }
        let balances = self.balances_after(effects);
        for (item, balance) in self.items.iter().zip(balances) {
            state.unlease(item);
            match (current.remove(item.coin.reference.object_id()), balance) {
                (Some(reference), Some(balance)) => state.put_back(item.kind, Coin { reference, balance }),
                (None, _) => {}
                (Some(_), None) => state.doubt_all(),
            }
        }
        drop(state);
        self.pool.announce();
    }

    /// New coins of known worth, made by a split that executed.
    pub(crate) fn add(&self, purse: Purse, coins: Vec<Coin>) {
        let mut state = self.pool.state();
        for coin in coins {
            state.put_back(Kind::Coin(purse), coin);
        }
        drop(state);
        self.pool.announce();
    }

    /// The balance of each item if it still exists; `None` if it cannot be told.
    fn balances_after(&self, effects: &TransactionEffects) -> Vec<Option<u64>> {
        let succeeded = matches!(effects.status(), sui_sdk_types::ExecutionStatus::Success);
        let gas = i128::from(self.value(Purse::Gas)) - i128::from(effects.gas_summary().net_gas_usage());
        let gas = if succeeded { gas - i128::from(self.gas_out) } else { gas };
        let gas = u64::try_from(gas).ok();
        let market = self.value(Purse::Market).checked_sub(self.market_out);
        let mut first = true;
        let balance = |item: &Item| match item.kind {
            Kind::Coin(Purse::Gas) => gas,
            Kind::Coin(Purse::Market) if succeeded && std::mem::take(&mut first) => market,
            Kind::Coin(Purse::Market) => Some(item.coin.balance),
            Kind::Held(_) | Kind::Unknown => Some(0),
        };
        self.items.iter().map(balance).collect()
    }

    fn finish(&self) -> bool {
        std::mem::replace(&mut *self.fate(), Fate::Over) != Fate::Over
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let fate = *self.fate();
        let mut state = self.pool.state();
        match fate {
            Fate::Over => return,
            Fate::Unsent => {
                for item in std::mem::take(&mut self.items) {
                    state.unlease(&item);
                    state.put_back(item.kind, item.coin);
                }
            }
            Fate::Sent { digest, expires_epoch } => {
                for item in &self.items {
                    state.end_lease(item);
                }
                let objects = self.items.iter().map(|item| *item.coin.reference.object_id()).collect();
                state.limbo.push(Limbo { digest, expires_epoch, objects });
                state.doubt_all();
            }
        }
        drop(state);
        self.pool.announce();
    }
}

/// Marks who lists the coins; dropped when that is done or given up.
pub(crate) struct Loading {
    pool: Arc<Pool>,
    purse: Purse,
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.pool.state().coins(self.purse).loading = false;
        self.pool.announce();
    }
}

/// Somebody waits for a coin.
pub(crate) struct Wanted {
    pool: Arc<Pool>,
    purse: Purse,
    amount: u64,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        let wanted = &mut state.coins(self.purse).wanted;
        if let Some(at) = wanted.iter().position(|amount| *amount == self.amount) {
            wanted.swap_remove(at);
        }
    }
}

/// The object as `owner` still has it after the change.
fn after(change: &ObjectChange<'_>, owner: Address) -> Option<ObjectReference> {
    let (id, version, digest, new_owner) = match change {
        ObjectChange::Created { object_id, output_version, output_digest, output_owner }
        | ObjectChange::Unwrapped { object_id, output_version, output_digest, output_owner }
        | ObjectChange::Mutated { object_id, output_version, output_digest, output_owner, .. } => {
            (**object_id, *output_version, **output_digest, *output_owner)
        }
        _ => return None,
    };
    (*new_owner == Owner::Address(owner)).then(|| ObjectReference::new(id, version, digest))
}

/// Nothing was free in time.
pub(crate) fn busy(purse: Purse) -> ChainError {
    ChainError::Busy {
        what: match purse {
            Purse::Gas => "gas coins",
            Purse::Market => "coins",
        },
    }
}

#[cfg(test)]
mod tests;

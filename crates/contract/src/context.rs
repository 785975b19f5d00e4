//! What one transaction brings into an entry point and takes out of it, besides the objects.

use crate::admin::AdminCap;
use crate::node::NodeBadge;
use crate::task::TaskBadge;
use atoma_types::onchain::{Dispute, Event, Stack};
use atoma_types::{Address, Amount};
use serde::{Deserialize, Serialize};
use sui_sdk_types::Digest;

/// `Coin<T>` of the market's coin type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coin {
    pub id: Address,
    pub balance: Amount,
}

/// An object that an entry point gives to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    Coin(Coin),
    NodeBadge(NodeBadge),
    TaskBadge(TaskBadge),
    AdminCap(AdminCap),
}

impl Owned {
    pub fn id(&self) -> Address {
        match self {
            Self::Coin(coin) => coin.id,
            Self::NodeBadge(badge) => badge.id,
            Self::TaskBadge(badge) => badge.id,
            Self::AdminCap(cap) => cap.id,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub to: Address,
    pub object: Owned,
}

/// `TxContext` and the effects of the calls made with it, in order. A coin that an entry takes and does not
/// transfer is gone (its balance moved into an object).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxContext {
    sender: Address,
    epoch: u64,
    digest: Digest,
    ids_created: u64,
    pub events: Vec<Event>,
    pub transfers: Vec<Transfer>,
    /// Stacks made shared.
    pub shared: Vec<Stack>,
    /// Disputes made shared.
    pub disputes: Vec<Dispute>,
    /// Shared objects deleted. The `&mut` object passed in is then empty.
    pub deleted: Vec<Address>,
}

impl TxContext {
    /// `ids_created` is how many ids the transaction has derived so far, by other commands.
    pub fn new(sender: Address, epoch: u64, digest: Digest, ids_created: u64) -> Self {
        Self {
            sender,
            epoch,
            digest,
            ids_created,
            events: Vec::new(),
            transfers: Vec::new(),
            shared: Vec::new(),
            disputes: Vec::new(),
            deleted: Vec::new(),
        }
    }

    pub fn sender(&self) -> Address {
        self.sender
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many ids were derived from the transaction's digest.
    pub fn ids_created(&self) -> u64 {
        self.ids_created
    }

    /// The next id, as `object::new` derives it.
    pub fn fresh_id(&mut self) -> Address {
        let id = Address::derive_id(self.digest, self.ids_created);
        self.ids_created += 1;
        id
    }

    pub(crate) fn emit(&mut self, event: impl Into<Event>) {
        self.events.push(event.into());
    }

    pub(crate) fn transfer(&mut self, object: Owned, to: Address) {
        self.transfers.push(Transfer { to, object });
    }

    /// Pays `amount` to the sender as a new coin; no coin for nothing.
    pub(crate) fn pay_sender(&mut self, amount: Amount) {
        self.pay(amount, self.sender);
    }

    /// Pays `amount` to an address as a new coin. Only for calls on which no deadline depends.
    pub(crate) fn pay(&mut self, amount: Amount, to: Address) {
        if !amount.is_zero() {
            let coin = Coin { id: self.fresh_id(), balance: amount };
            self.transfer(Owned::Coin(coin), to);
        }
    }

    /// Gives what is left of a coin back to the sender; an empty coin is destroyed.
    pub(crate) fn return_change(&mut self, coin: Coin) {
        if !coin.balance.is_zero() {
            self.transfer(Owned::Coin(coin), self.sender);
        }
    }
}

//! Lists of offers and of verifiers, in pages.
//!
//! A node holds at most two positions of a list of offers and one of a list of verifiers, and writes them again
//! only once they are dead. When a disabled node is evicted, its offers are taken out, the last one moving into
//! the gap: purchases draw at once, so order means nothing. Verifiers stay where they are, because claims draw over
//! the sizes of an earlier moment: there a free position is taken over by a newer verifier, whom older claims
//! skip, or cut off at the end. A draw for an old claim meets who was there, or nobody.

use crate::Result;
use crate::context::TxContext;
use crate::limits::ensure;
use crate::table::Table;
use atoma_types::Address;
use atoma_types::onchain::{Abort, SLOTS_PER_PAGE, Slot, Subscription};
use serde::{Deserialize, Serialize};

/// The lists of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Market {
    /// Offers by echelon.
    pub lists: Table<u64, SlotList>,
    /// Verifiers by echelon.
    pub verifiers: Table<u64, SlotList>,
    /// By node.
    pub subscriptions: Table<u64, Subscription>,
    /// Verifiers opted in, by the owner of their nodes.
    pub verifiers_of: Table<Address, u64>,
}

/// Positions from 0, 64 to a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotList {
    pub pages: Table<u64, Vec<Slot>>,
    pub size: u64,
    /// Nodes that subscribe or are opted in.
    pub live: u64,
    /// Positions of verifiers that were evicted; empty for offers.
    pub free: Vec<u64>,
}

/// Free positions that a list remembers.
pub const FREE_MAX: usize = 256;
/// Positions that one call cuts off at the end of a list at most.
pub const CUT_MAX: u64 = 256;
/// Most positions for each verifier that is opted in: with more dead ones an audit could not fill its seats.
pub const POSITIONS_PER_VERIFIER: u64 = 4;

/// The verifiers of some echelons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verifiers {
    /// Opted in.
    pub live: u64,
    pub positions: u64,
}

impl Verifiers {
    /// Whether an audit can be filled from them: enough are opted in besides the `owned` ones of the serving node's
    /// owner (of all echelons: too few is the safe side), and not too many positions are dead.
    pub fn suffice(&self, owned: u64, min_verifiers: u64) -> bool {
        self.live.saturating_sub(owned) >= min_verifiers
            && self.positions <= self.live.saturating_mul(POSITIONS_PER_VERIFIER)
    }
}

impl Market {
    pub(crate) fn new(echelons: &[u64], ctx: &mut TxContext) -> Self {
        let mut market = Self {
            lists: Table::new(ctx),
            verifiers: Table::new(ctx),
            subscriptions: Table::new(ctx),
            verifiers_of: Table::new(ctx),
        };
        for echelon in echelons {
            market.lists.set(*echelon, SlotList::new(ctx));
            market.verifiers.set(*echelon, SlotList::new(ctx));
        }
        market
    }

    pub fn verifiers_in(&self, echelons: &[u64]) -> Result<Verifiers> {
        let mut verifiers = Verifiers { live: 0, positions: 0 };
        for echelon in echelons {
            let list = list(&self.verifiers, *echelon)?;
            verifiers.live += list.live;
            verifiers.positions += list.size;
        }
        Ok(verifiers)
    }

    /// Verifiers opted in, of this owner, in all echelons.
    pub fn verifiers_owned(&self, owner: Address) -> u64 {
        self.verifiers_of.get(owner).copied().unwrap_or(0)
    }
}

impl SlotList {
    fn new(ctx: &mut TxContext) -> Self {
        Self { pages: Table::new(ctx), size: 0, live: 0, free: Vec::new() }
    }

    pub fn slot(&self, position: u64) -> Option<&Slot> {
        let page = self.pages.get(position / SLOTS_PER_PAGE)?;
        page.get(usize::try_from(position % SLOTS_PER_PAGE).ok()?)
    }

    pub(crate) fn slot_mut(&mut self, position: u64) -> Result<&mut Slot> {
        let page = self.pages.get_mut(position / SLOTS_PER_PAGE).ok_or(Abort::NotSubscribed)?;
        let index = usize::try_from(position % SLOTS_PER_PAGE).map_err(|_| Abort::Arithmetic)?;
        page.get_mut(index).ok_or(Abort::NotSubscribed)
    }

    /// Appends a slot and returns its position.
    pub(crate) fn push(&mut self, slot: Slot) -> u64 {
        let position = self.size;
        let page = position / SLOTS_PER_PAGE;
        match self.pages.get_mut(page) {
            Some(slots) => slots.push(slot),
            None => self.pages.set(page, vec![slot]),
        }
        self.size += 1;
        position
    }

    /// Takes the last slot off.
    fn pop(&mut self) -> Result<Slot> {
        let last = self.size.checked_sub(1).ok_or(Abort::BadArgument)?;
        let page = last / SLOTS_PER_PAGE;
        let slots = self.pages.get_mut(page).ok_or(Abort::BadArgument)?;
        let slot = slots.pop().ok_or(Abort::BadArgument)?;
        if slots.is_empty() {
            self.pages.remove(page);
        }
        self.size = last;
        Ok(slot)
    }

    /// Takes a slot out of a list of offers: the last one moves to its position. Returns the one that moved, if any.
    pub(crate) fn swap_remove(&mut self, position: u64) -> Result<Option<Slot>> {
        let last = self.pop()?;
        if position == self.size {
            return Ok(None);
        }
        *self.slot_mut(position)? = last.clone();
        Ok(Some(last))
    }

    /// Vacates a position of a list of verifiers, remembers it, and cuts vacated ones off at the end.
    pub(crate) fn release(&mut self, position: u64) -> Result {
        self.slot_mut(position)?.until_ms = 0;
        if self.free.len() < FREE_MAX {
            self.free.push(position);
        }
        self.cut()
    }

    /// Cuts off vacated positions at the end, remembered or not.
    fn cut(&mut self) -> Result {
        for _ in 0..CUT_MAX {
            let Some(last) = self.size.checked_sub(1) else { return Ok(()) };
            if self.slot(last).is_none_or(|slot| slot.until_ms != 0) {
                return Ok(());
            }
            self.pop()?;
            if let Some(index) = self.free.iter().position(|free| *free == last) {
                self.free.swap_remove(index);
            }
        }
        Ok(())
    }

    /// Where the lowest free position stands among those remembered.
    fn lowest(&self) -> Option<usize> {
        (0..self.free.len()).min_by_key(|index| self.free[*index])
    }

    /// Whether a verifier could stand lower than at `position`.
    pub(crate) fn has_free_below(&self, position: u64) -> bool {
        self.free.iter().any(|free| *free < position)
    }

    /// Puts a verifier on the lowest free position, or on a new one, and goes on cutting what no call could cut at once.
    pub(crate) fn place(&mut self, slot: Slot) -> Result<u64> {
        let position = match self.lowest() {
            Some(index) => {
                let position = self.free.swap_remove(index);
                *self.slot_mut(position)? = slot;
                position
            }
            None => self.push(slot),
        };
        self.cut()?;
        Ok(position)
    }
}

/// The list of an echelon of the task.
pub(crate) fn list(lists: &Table<u64, SlotList>, echelon: u64) -> Result<&SlotList> {
    lists.get(echelon).ok_or(Abort::BadArgument)
}

pub(crate) fn list_mut(lists: &mut Table<u64, SlotList>, echelon: u64) -> Result<&mut SlotList> {
    lists.get_mut(echelon).ok_or(Abort::BadArgument)
}

/// Present sizes of the lists of `echelons`, in their order.
pub(crate) fn sizes(lists: &Table<u64, SlotList>, echelons: &[u64]) -> Result<Vec<u64>> {
    echelons.iter().map(|echelon| Ok(list(lists, *echelon)?.size)).collect()
}

/// The sum of all sizes: how many positions the lists have, laid end to end.
pub(crate) fn total(sizes: &[u64]) -> Result<u64> {
    sizes.iter().try_fold(0u64, |sum, size| sum.checked_add(*size)).ok_or(Abort::Arithmetic)
}

/// The slot at `position` of the lists of `echelons`, laid end to end with these `sizes`; `None` if it was cut off
/// since.
pub(crate) fn slot_at<'a>(
    lists: &'a Table<u64, SlotList>,
    echelons: &[u64],
    sizes: &[u64],
    position: u64,
) -> Result<Option<&'a Slot>> {
    let mut rest = position;
    for (echelon, size) in echelons.iter().zip(sizes) {
        if rest < *size {
            return Ok(list(lists, *echelon)?.slot(rest));
        }
        rest -= size;
    }
    Err(Abort::BadArgument)
}

/// The position that a new offer may take: one of the node's that is dead, or was never in force, else `None`
/// for a new one. A node with two offers alive, one ending and one to come, gets its coming one back.
pub(crate) fn free_position(list: &SlotList, positions: &[u64], epoch: u64) -> Result<Option<u64>> {
    for position in positions {
        let slot = list.slot(*position).ok_or(Abort::NotSubscribed)?;
        if slot.until_epoch <= epoch || slot.from_epoch > epoch {
            return Ok(Some(*position));
        }
    }
    ensure(positions.len() < 2, Abort::AlreadySubscribed)?;
    Ok(None)
}

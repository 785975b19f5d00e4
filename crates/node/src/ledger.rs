//! The books of one channel, without input or output: which requests may run, what each answer adds to the
//! transcript, what the user acknowledged, what the chain paid. Time is an argument; signatures are checked
//! by the caller, outside any lock.
//!
//! Three rules hold after every call: units in flight and units booked together never exceed the grant;
//! requests in flight and records not acknowledged together never exceed the window; the newest receipt
//! describes exactly the transcript that was grown.

mod nonces;
mod restore;

pub use nonces::Nonces;
pub use restore::{Journaled, RestoreError};

use atoma_types::amount::UnitWeights;
use atoma_types::message::Message as _;
use atoma_types::{
    Address, Amount, Hash32, NodeId, Price, PublicKey, Receipt, RequestAuth, SecretKey, Signed, Status,
    TaskId, Transcript, Units, Voucher,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Most requests in flight and records unacknowledged, together.
pub const WINDOW_MAX: u64 = 64;
/// Most receipts that one answer hands out.
pub const RECEIPTS_PER_PAGE: usize = 64;

/// What never changes in a channel's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub db: Address,
    pub stack: Address,
    pub node: NodeId,
    pub task: TaskId,
    pub request_key: PublicKey,
    pub weights: UnitWeights,
    pub price: Price,
}

/// What the chain may change while requests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub granted: Units,
    pub grant_nonce: u64,
    /// When new requests stop, in chain time.
    pub ends_ms: u64,
    /// When vouchers stop settling, in chain time.
    pub settle_until_ms: u64,
    /// Released, revoked or deleted.
    pub closed: bool,
    pub settled_units: Units,
    pub settled_count: u64,
}

/// The two clocks a node lives by: its own for signed messages, the chain's for windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub wall_ms: u64,
    pub chain_ms: u64,
}

/// Why a request was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the nonce {0} was used before; sign a new request")]
    Replayed(u64),
    #[error("the stack is closing or has expired; buy another")]
    Ended,
    #[error("the request outlives the stack's settlement window; sign it for a shorter time")]
    OutlivesStack,
    #[error("the request wants {wanted} units, {available} are free in this channel; grant more")]
    Insufficient { wanted: Units, available: Units },
    #[error("receipts from {from} on are not acknowledged; send a voucher for them")]
    MissingReceipt { from: u64 },
    #[error("the window of unacknowledged requests is full of running ones; retry when one has finished")]
    WindowBusy,
    #[error("max_units must be above zero")]
    NoUnits,
}

/// Why a voucher was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoucherRefusal {
    #[error("the voucher is for another database, stack or node")]
    Foreign,
    #[error("the voucher's signature does not verify under the stack's request key")]
    Signature,
    #[error("the voucher goes back to {voucher}; {acknowledged} was acknowledged")]
    Backwards { voucher: u64, acknowledged: u64 },
    #[error("the voucher counts {voucher} records; this node has {own}")]
    Ahead { voucher: u64, own: u64 },
    #[error("the voucher's units or root differ from this node's record {count}")]
    Mismatch { count: u64 },
}

/// A booking that would break the books: an error of this node, never of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookingError {
    #[error("the request is not in flight")]
    NotInFlight,
    #[error("units or counts left their range")]
    Arithmetic,
}

/// Proof of admission. Spent by [`Ledger::complete`] or [`Ledger::release`].
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    pub nonce: u64,
    pub request_hash: Hash32,
    pub max_units: Units,
}

/// How a request ended and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub response_hash: Hash32,
    pub work: Hash32,
    pub status: Status,
    pub finished_ms: u64,
}

/// Whether a voucher moved the acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    Advanced,
    Unchanged,
}

/// The books of one channel.
#[derive(Clone, Debug)]
pub struct Ledger {
    terms: Terms,
    limits: Limits,
    transcript: Transcript,
    /// Units of the channel after each record.
    totals: Vec<Units>,
    /// The newest receipts; at least all that are not acknowledged.
    recent: VecDeque<Signed<Receipt>>,
    nonces: Nonces,
    in_flight: BTreeMap<u64, Units>,
    reserved: Units,
    voucher: Option<Signed<Voucher>>,
}

impl Ledger {
    pub fn new(terms: Terms, limits: Limits) -> Self {
        Self {
            terms,
            limits,
            transcript: Transcript::new(),
            totals: Vec::new(),
            recent: VecDeque::new(),
            nonces: Nonces::default(),
            in_flight: BTreeMap::new(),
            reserved: Units::ZERO,
            voucher: None,
        }
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn count(&self) -> u64 {
        as_count(self.totals.len())
    }

    pub fn total_units(&self) -> Units {
        self.totals.last().copied().unwrap_or_default()
    }

    pub fn root(&self) -> Hash32 {
        self.transcript.root()
    }

    pub fn acknowledged_count(&self) -> u64 {
        self.voucher.as_ref().map_or(0, |voucher| voucher.message.count)
    }

    pub fn acknowledged_units(&self) -> Units {
        self.voucher.as_ref().map_or(Units::ZERO, |voucher| voucher.message.units)
    }

    pub fn voucher(&self) -> Option<&Signed<Voucher>> {
        self.voucher.as_ref()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether a request with this nonce runs or ran.
    pub fn has_seen(&self, nonce: u64) -> bool {
        self.nonces.contains(nonce) || self.in_flight.contains_key(&nonce)
    }

    /// Units that a new request may still reserve.
    pub fn available(&self) -> Units {
        self.limits.granted.saturating_sub(self.total_units()).saturating_sub(self.reserved)
    }

    /// What the user acknowledged and the chain has not yet settled, with the voucher that proves it. Units
    /// decide: the chain's count may come from a voucher that the user signed behind this node's back.
    pub fn unsettled(&self) -> Option<(Units, &Signed<Voucher>)> {
        let voucher = self.voucher.as_ref()?;
        let units = voucher.message.units.saturating_sub(self.limits.settled_units);
        (!units.is_zero()).then_some((units, voucher))
    }

    /// What is unsettled, if it pays at least `least`, the creator's share included.
    pub fn unsettled_worth(&self, least: Amount) -> Option<(Units, &Signed<Voucher>)> {
        self.unsettled().filter(|_| self.unsettled_amount() >= least)
    }

    /// What the unsettled units pay, the creator's share included.
    pub fn unsettled_amount(&self) -> Amount {
        let cost = |units| self.terms.price.cost(units).unwrap_or_default();
        let (paid, owed) = (cost(self.limits.settled_units), cost(self.acknowledged_units()));
        owed.sub(paid).unwrap_or_default()
    }

    /// Whether nothing more can come of this channel: its settlement window is over, or it takes no more
    /// requests, all its records are acknowledged, and what is not settled pays less than `least`. Until then a
    /// voucher may still arrive.
    pub fn is_over(&self, chain_ms: u64, least: Amount) -> bool {
        let all_paid = self.acknowledged_count() == self.count() && self.unsettled_worth(least).is_none();
        chain_ms >= self.limits.settle_until_ms || (self.limits.closed && all_paid && !self.is_forked())
    }

    fn is_forked(&self) -> bool {
        self.limits.settled_count > self.count()
    }

    /// Takes what the chain says now. An older read may arrive late: settled units and counts, grants and
    /// closing never go back.
    pub fn update_limits(&mut self, limits: Limits) {
        let old = std::mem::replace(&mut self.limits, limits);
        let new = &mut self.limits;
        new.settled_units = new.settled_units.max(old.settled_units);
        new.settled_count = new.settled_count.max(old.settled_count);
        if old.grant_nonce > new.grant_nonce {
            (new.granted, new.grant_nonce) = (old.granted, old.grant_nonce);
        }
        new.ends_ms = new.ends_ms.min(old.ends_ms);
        new.settle_until_ms = new.settle_until_ms.min(old.settle_until_ms);
        new.closed |= old.closed;
        self.close_if_forked();
    }

    /// A settled count that this node never booked is a second transcript, signed by the user: nothing more
    /// is served, and what was acknowledged here is still settled.
    fn close_if_forked(&mut self) {
        self.limits.closed |= self.is_forked();
    }

    /// Reserves the request's units, or says why it may not run. Nothing is written yet: a ticket that is
    /// released leaves no trace.
    pub fn admit(&mut self, auth: &RequestAuth, now: Now) -> Result<Ticket, Refusal> {
        self.check(auth, now)?;
        let reserved = self.reserved.add(auth.max_units);
        self.reserved = reserved.map_err(|_| self.insufficient(auth.max_units))?;
        self.in_flight.insert(auth.nonce, auth.max_units);
        Ok(Ticket { nonce: auth.nonce, request_hash: auth.signed_hash(), max_units: auth.max_units })
    }

    fn check(&self, auth: &RequestAuth, now: Now) -> Result<(), Refusal> {
        if self.limits.closed || now.chain_ms >= self.limits.ends_ms {
            return Err(Refusal::Ended);
        }
        if auth.expires_ms > self.limits.settle_until_ms {
            return Err(Refusal::OutlivesStack);
        }
        if self.has_seen(auth.nonce) {
            return Err(Refusal::Replayed(auth.nonce));
        }
        if auth.max_units.is_zero() {
            return Err(Refusal::NoUnits);
        }
        self.check_window()?;
        if auth.max_units > self.available() {
            return Err(self.insufficient(auth.max_units));
        }
        Ok(())
    }

    fn check_window(&self) -> Result<(), Refusal> {
        let unacknowledged = self.count().saturating_sub(self.acknowledged_count());
        let used = unacknowledged.saturating_add(as_count(self.in_flight.len()));
        if used < self.window() {
            return Ok(());
        }
        match unacknowledged {
            0 => Err(Refusal::WindowBusy),
            _ => Err(Refusal::MissingReceipt { from: self.acknowledged_count() + 1 }),
        }
    }

    /// One request at first, one more for each acknowledged record, at most [`WINDOW_MAX`].
    pub fn window(&self) -> u64 {
        self.acknowledged_count().saturating_add(1).min(WINDOW_MAX)
    }

    fn insufficient(&self, wanted: Units) -> Refusal {
        Refusal::Insufficient { wanted, available: self.available() }
    }

    /// Uses up the ticket's nonce for good; from here on the request ends in [`Self::complete`].
    pub fn start(&mut self, ticket: &Ticket) {
        self.nonces.insert(ticket.nonce);
    }

    /// Gives back what [`Self::admit`] reserved.
    pub fn release(&mut self, ticket: &Ticket) {
        if let Some(units) = self.in_flight.remove(&ticket.nonce) {
            self.reserved = self.reserved.saturating_sub(units);
        }
    }

    /// Appends the record of a finished request and returns the receipt for it. Usage beyond what was
    /// authorized is this node's fault and is booked as failed, at zero units.
    pub fn complete(
        &mut self,
        ticket: &Ticket,
        usage: Usage,
        key: &SecretKey,
    ) -> Result<Signed<Receipt>, BookingError> {
        if !self.in_flight.contains_key(&ticket.nonce) {
            return Err(BookingError::NotInFlight);
        }
        let receipt = self.draft(ticket, usage)?;
        self.release(ticket);
        self.nonces.insert(ticket.nonce);
        Ok(self.append(receipt.sign(key)))
    }

    fn draft(&self, ticket: &Ticket, usage: Usage) -> Result<Receipt, BookingError> {
        let (status, units) = self.charge(ticket, &usage);
        let total_units = self.total_units().add(units).map_err(|_| BookingError::Arithmetic)?;
        let count = self.count().checked_add(1).ok_or(BookingError::Arithmetic)?;
        let mut receipt = Receipt {
            db: self.terms.db,
            stack: self.terms.stack,
            node: self.terms.node,
            request_hash: ticket.request_hash,
            response_hash: usage.response_hash,
            input: usage.input,
            output: usage.output,
            units,
            total_units,
            count,
            root: Hash32::ZERO,
            work: usage.work,
            replica_hash: Hash32::ZERO,
            status,
            finished_ms: usage.finished_ms,
        };
        receipt.root = self.transcript.root_with(&receipt.record());
        Ok(receipt)
    }

    fn charge(&self, ticket: &Ticket, usage: &Usage) -> (Status, Units) {
        if !usage.status.is_billable() {
            return (usage.status, Units::ZERO);
        }
        match self.terms.weights.units(usage.input, usage.output) {
            Ok(units) if units <= ticket.max_units => (usage.status, units),
            Ok(_) | Err(_) => (Status::Failed, Units::ZERO),
        }
    }

    fn append(&mut self, signed: Signed<Receipt>) -> Signed<Receipt> {
        self.transcript.append(&signed.message.record());
        self.totals.push(signed.message.total_units);
        self.recent.push_back(signed.clone());
        self.trim_recent();
        signed
    }

    /// Keeps one page, and whatever is not acknowledged (at most the window).
    fn trim_recent(&mut self) {
        while self.recent.len() > RECEIPTS_PER_PAGE {
            let Some(oldest) = self.recent.front() else { break };
            if oldest.message.count > self.acknowledged_count() {
                break;
            }
            self.recent.pop_front();
        }
    }

    /// The receipts from `from` on that are still in memory, at most a page; `None` if older ones are wanted.
    pub fn recent_from(&self, from: u64) -> Option<Vec<Signed<Receipt>>> {
        let oldest = self.recent.front().map_or(self.count() + 1, |receipt| receipt.message.count);
        if from < oldest && from <= self.count() {
            return None;
        }
        let wanted = self.recent.iter().filter(|receipt| receipt.message.count >= from);
        Some(wanted.take(RECEIPTS_PER_PAGE).cloned().collect())
    }

    /// Takes a voucher whose signature was checked. One that agrees with the transcript but is no newer
    /// changes nothing: requests overtake each other.
    pub fn acknowledge(&mut self, signed: &Signed<Voucher>) -> Result<Acknowledged, VoucherRefusal> {
        let voucher = &signed.message;
        self.check_voucher(voucher)?;
        if voucher.count <= self.acknowledged_count() {
            return Ok(Acknowledged::Unchanged);
        }
        self.voucher = Some(signed.clone());
        self.trim_recent();
        Ok(Acknowledged::Advanced)
    }

    fn check_voucher(&self, voucher: &Voucher) -> Result<(), VoucherRefusal> {
        let terms = &self.terms;
        if (voucher.db, voucher.stack, voucher.node) != (terms.db, terms.stack, terms.node) {
            return Err(VoucherRefusal::Foreign);
        }
        if voucher.count > self.acknowledged_count() && voucher.units < self.acknowledged_units() {
            return Err(VoucherRefusal::Backwards {
                voucher: voucher.units.0,
                acknowledged: self.acknowledged_units().0,
            });
        }
        let (units, root) = self
            .at(voucher.count)
            .ok_or(VoucherRefusal::Ahead { voucher: voucher.count, own: self.count() })?;
        if (voucher.units, voucher.root) != (units, root) {
            return Err(VoucherRefusal::Mismatch { count: voucher.count });
        }
        Ok(())
    }

    /// Cumulative units and root when the transcript had `count` records.
    fn at(&self, count: u64) -> Option<(Units, Hash32)> {
        let count = usize::try_from(count).ok()?;
        let root = self.transcript.root_at(count).ok()?;
        let units = match count.checked_sub(1) {
            Some(last) => *self.totals.get(last)?,
            None => Units::ZERO,
        };
        Some((units, root))
    }
}

fn as_count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

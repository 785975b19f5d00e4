//! The user's side of one channel, without input or output: which requests are open, which answers were
//! checked, and what may be signed. It never reads a clock, a socket or a file.
//!
//! A request is [reserved](Ledger::reserve), then [issued](Ledger::issue), then
//! [finished](Ledger::finish) with what was seen of its answer; its receipt is
//! [absorbed](Ledger::absorb) whenever it comes. A receipt counts once it and all before it were checked;
//! the [voucher](Ledger::voucher) covers those and nothing else. The first [`Disagreement`] ends the
//! channel for good.
//!
//! A request that its node passed on is [released](Ledger::release) by this ledger and
//! [adopted](Ledger::adopt) by that of the node which answers: each request is in one of them.

mod disagreement;
#[cfg(test)]
mod forwarding;
#[cfg(test)]
mod simulation;

pub use disagreement::Disagreement;

use atoma_types::amount::UnitWeights;
use atoma_types::{
    Address, Amount, ArithmeticError, Hash32, NodeId, Price, PublicKey, Receipt, Signed, Transcript, Units,
    Voucher,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Output tokens per choice that need not show in what was received: an end token, tokens without text, and
/// what was on the way when an answer broke off.
pub const SLACK_TOKENS: u64 = 16;
/// Most requests that are in flight or unacknowledged.
pub const WINDOW_MAX: u64 = 64;

/// What the chain says about a channel. Nothing here comes from the node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub db: Address,
    pub stack: Address,
    pub node: NodeId,
    pub receipt_key: PublicKey,
    pub weights: UnitWeights,
    pub price: Price,
    pub granted: Units,
}

/// Most tokens that an answer to a request may claim, from the request alone.
///
/// Whatever it claims, an answer is charged at most `max_units`, at most `input` and `output` tokens, and at
/// most as many output tokens as were seen of it plus `unseen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    pub input: u64,
    pub output: u64,
    /// Output tokens that what was received need not show.
    pub unseen: u64,
}

/// More tokens than any answer has.
pub const TOKENS_MAX: u64 = 0xffff_ffff;

/// What the user saw of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte up to the receipt, with at most this many output tokens.
    Complete { response_hash: Hash32, tokens: u64 },
    /// The answer broke off, or the user hung up, after at most this many output tokens.
    Broken { tokens: u64 },
    /// Not known: the process ended in between. Only what was authorized, and what the request allows, limits
    /// the charge.
    Unwitnessed,
    /// The node refused it, or it never arrived: it must cost nothing.
    Refused,
}

/// Why no further request may be made just now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// Wait until a request finishes.
    #[error("all {0} requests of the window are in flight")]
    Window(u64),
    /// Wait until a request finishes and gives back what it did not use.
    #[error("the channel's units are reserved by requests in flight")]
    Units,
    /// Waiting does not help.
    #[error("the channel has {left} units left, fewer than the {wanted} wanted")]
    Exhausted { left: Units, wanted: Units },
    #[error("the channel ended: {0}")]
    Ended(Disagreement),
}

/// A request of an earlier run whose receipt was not settled in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    pub request_hash: Hash32,
    pub max_units: Units,
    pub bounds: Bounds,
    /// Whether it must cost nothing.
    pub refused: bool,
    /// Highest price at which another node may answer it; `None` if none may.
    pub forward_price: Option<Price>,
}

/// A stored history does not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored receipt {count} does not follow on: {reason}")]
pub struct BadHistory {
    pub count: u64,
    pub reason: Disagreement,
}

/// Why a request stays with the channel that it was sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMoved {
    #[error("the request is not open, or was not to be passed on")]
    NotOpen,
    #[error("the other node's price is above what was accepted")]
    Dearer,
    #[error("one of the two channels has ended")]
    Ended,
}

/// A request on its way from one ledger to another.
#[derive(Debug)]
pub struct Moved(Issued);

#[derive(Debug)]
struct Issued {
    max_units: Units,
    bounds: Bounds,
    /// Highest price at which another node may answer it; `None` if none may.
    forward_price: Option<Price>,
    /// `None` while the answer is being read.
    outcome: Option<Outcome>,
    /// Whether it still takes part in the window.
    counted: bool,
    /// Count of its receipt, once that waits for its turn.
    receipt: Option<u64>,
}

impl Issued {
    fn awaits(&self) -> bool {
        self.receipt.is_none() && self.outcome.is_some_and(|outcome| outcome != Outcome::Refused)
    }

    /// Whether another node may turn out to have answered it.
    fn may_move(&self) -> bool {
        self.forward_price.is_some() && self.outcome != Some(Outcome::Refused)
    }
}

/// The user's account of one channel.
#[derive(Debug)]
pub struct Ledger {
    terms: Terms,
    transcript: Transcript,
    total_units: Units,
    issued: HashMap<Hash32, Issued>,
    /// Receipts that were checked alone and wait for those before them, or for the end of their answer.
    waiting: BTreeMap<u64, Signed<Receipt>>,
    window_used: u64,
    units_reserved: Units,
    acknowledged: u64,
    /// Whether the node may have answered requests that were sent to others.
    takes_over: bool,
    ended: Option<Disagreement>,
}

impl Ledger {
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            transcript: Transcript::new(),
            total_units: Units::ZERO,
            issued: HashMap::new(),
            waiting: BTreeMap::new(),
            window_used: 0,
            units_reserved: Units::ZERO,
            acknowledged: 0,
            takes_over: false,
            ended: None,
        }
    }

    /// Continues from a stored history: receipts in order from count 1, and requests without a receipt.
    pub fn restore<'a>(
        terms: Terms,
        receipts: impl IntoIterator<Item = &'a Receipt>,
        open: impl IntoIterator<Item = OpenRequest>,
        ended: Option<String>,
    ) -> Result<Self, BadHistory> {
        let mut ledger = Self::new(terms);
        for receipt in receipts {
            ledger.append(receipt).map_err(|reason| BadHistory { count: receipt.count, reason })?;
        }
        for OpenRequest { request_hash, max_units, bounds, refused, forward_price } in open {
            let outcome = Some(if refused { Outcome::Refused } else { Outcome::Unwitnessed });
            let issued = Issued { max_units, bounds, forward_price, outcome, counted: false, receipt: None };
            ledger.issued.insert(request_hash, issued);
        }
        ledger.ended = ended.map(Disagreement::Recorded);
        Ok(ledger)
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Answers whose receipts were checked, without a gap from the first.
    pub fn count(&self) -> u64 {
        index(self.transcript.count())
    }

    pub fn total_units(&self) -> Units {
        self.total_units
    }

    pub fn in_flight(&self) -> u64 {
        self.window_used
    }

    pub fn ended(&self) -> Option<&Disagreement> {
        self.ended.as_ref()
    }

    /// Count of the newest voucher that the node is known to hold.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Whether the node lacks an acknowledgement of something checked.
    pub fn owes_voucher(&self) -> bool {
        self.ended.is_none() && self.count() > self.acknowledged
    }

    /// Whether a request was made, and what it costs is not settled.
    pub fn is_open(&self, request_hash: &Hash32) -> bool {
        let open = |issued: &Issued| issued.outcome != Some(Outcome::Refused);
        self.ended.is_none() && self.issued.get(request_hash).is_some_and(open)
    }

    /// Whether a request was made here and not settled.
    pub fn has_asked(&self, request_hash: &Hash32) -> bool {
        self.issued.contains_key(request_hash)
    }

    /// Whether another node of the stack may turn out to have answered a request.
    pub fn may_move(&self, request_hash: &Hash32) -> bool {
        self.ended.is_none() && self.issued.get(request_hash).is_some_and(Issued::may_move)
    }

    /// Requests that are no longer read, may have cost something, and lack a receipt.
    pub fn awaiting(&self) -> impl Iterator<Item = Hash32> + '_ {
        let all = self.issued.iter().filter(|(_, issued)| self.ended.is_none() && issued.awaits());
        all.map(|(request_hash, _)| *request_hash)
    }

    /// Whether this is one of the requests that are [`awaiting`](Self::awaiting) a receipt.
    pub fn awaits(&self, request_hash: &Hash32) -> bool {
        self.ended.is_none() && self.issued.get(request_hash).is_some_and(Issued::awaits)
    }

    /// Whether a receipt waits for one before it that has not come.
    pub fn has_gap(&self) -> bool {
        let next = self.count().saturating_add(1);
        self.ended.is_none() && self.waiting.keys().next().is_some_and(|first| *first > next)
    }

    /// So much is granted by now. Returns whether that is more than before.
    pub fn raise(&mut self, granted: Units) -> bool {
        let is_more = granted > self.terms.granted;
        self.terms.granted = self.terms.granted.max(granted);
        is_more
    }

    /// Units neither used nor reserved.
    pub fn units_free(&self) -> Units {
        self.terms.granted.saturating_sub(self.total_units).saturating_sub(self.units_reserved)
    }

    /// Most requests in flight or unacknowledged. What was checked counts as acknowledged: its voucher travels with the
    /// requests that follow.
    pub fn window(&self) -> u64 {
        self.count().saturating_add(1).clamp(1, WINDOW_MAX)
    }

    /// Takes a place in the window and `max_units` of the grant. Give it back with
    /// [`unreserve`](Self::unreserve) or turn it into a request with [`issue`](Self::issue).
    pub fn reserve(&mut self, max_units: Units) -> Result<(), Blocked> {
        if let Some(reason) = &self.ended {
            return Err(Blocked::Ended(reason.clone()));
        }
        let left = self.terms.granted.saturating_sub(self.total_units);
        if max_units > left {
            return Err(Blocked::Exhausted { left, wanted: max_units });
        }
        if max_units > self.units_free() {
            return Err(Blocked::Units);
        }
        if self.window_used >= self.window() {
            return Err(Blocked::Window(self.window()));
        }
        self.window_used = self.window_used.saturating_add(1);
        self.units_reserved = Units(self.units_reserved.0.saturating_add(max_units.0));
        Ok(())
    }

    pub fn unreserve(&mut self, max_units: Units) {
        self.window_used = self.window_used.saturating_sub(1);
        self.units_reserved = self.units_reserved.saturating_sub(max_units);
    }

    /// Turns a reservation of `max_units` into the request with this hash, which another node may answer at
    /// `forward_price` at most.
    pub fn issue(
        &mut self,
        request_hash: Hash32,
        max_units: Units,
        bounds: Bounds,
        forward_price: Option<Price>,
    ) {
        let issued = Issued { max_units, bounds, forward_price, outcome: None, counted: true, receipt: None };
        self.issued.insert(request_hash, issued);
    }

    /// The node may from now on answer requests that are sent to others of its stack.
    pub fn take_over(&mut self) {
        self.takes_over = true;
    }

    /// Gives up a request because this node signed that it passed it on, to one at this price. A receipt of its
    /// own for it is a lie from then on; one that came before ends the channel.
    pub fn release(&mut self, request_hash: &Hash32, price: Price) -> Result<Moved, NotMoved> {
        if self.ended.is_some() {
            // Whoever waits has been told that nothing is paid.
            return Err(NotMoved::Ended);
        }
        let issued = self.issued.get(request_hash).filter(|issued| issued.may_move());
        let most = issued.and_then(|issued| issued.forward_price).ok_or(NotMoved::NotOpen)?;
        if price > most {
            return Err(NotMoved::Dearer);
        }
        let mut issued = self.issued.remove(request_hash).ok_or(NotMoved::NotOpen)?;
        if std::mem::take(&mut issued.counted) {
            self.unreserve(issued.max_units);
        }
        if issued.receipt.take().is_some() {
            self.end(Disagreement::Forwarded(*request_hash));
        }
        issued.forward_price = None;
        Ok(Moved(issued))
    }

    /// Takes a request over from the ledger of the node that passed it on. Check that the channel has not
    /// [ended](Self::ended) before the other one releases it.
    pub fn adopt(&mut self, request_hash: Hash32, moved: Moved) {
        let mut issued = moved.0;
        issued.counted = issued.outcome.is_none();
        if issued.counted {
            self.window_used = self.window_used.saturating_add(1);
            self.units_reserved = Units(self.units_reserved.0.saturating_add(issued.max_units.0));
        }
        self.takes_over = true;
        self.issued.insert(request_hash, issued);
    }

    /// Says what was seen of an answer. Returns the receipts that are thereby settled.
    pub fn finish(
        &mut self,
        request_hash: Hash32,
        outcome: Outcome,
    ) -> Result<Vec<Signed<Receipt>>, Disagreement> {
        self.alive()?;
        if let Some(issued) = self.issued.get_mut(&request_hash) {
            issued.outcome = Some(outcome);
        }
        self.advance()
    }

    /// Stops counting a request whose receipt did not come. Should the node have served it after all, its
    /// receipt is still accepted.
    pub fn give_up(&mut self, request_hash: &Hash32) {
        let Some(issued) = self.issued.get_mut(request_hash) else { return };
        issued.outcome.get_or_insert(Outcome::Unwitnessed);
        if issued.receipt.is_none() && std::mem::take(&mut issued.counted) {
            let max_units = issued.max_units;
            self.unreserve(max_units);
        }
    }

    /// Takes a receipt in any order. Returns those that are settled by it, in order.
    pub fn absorb(&mut self, signed: &Signed<Receipt>) -> Result<Vec<Signed<Receipt>>, Disagreement> {
        self.alive()?;
        match self.buffer(signed) {
            Ok(()) => self.advance(),
            Err(reason) => Err(self.end(reason)),
        }
    }

    /// Ends the channel for a reason found elsewhere, unless it has already ended.
    pub fn end(&mut self, reason: Disagreement) -> Disagreement {
        self.ended.get_or_insert(reason).clone()
    }

    /// What the user may sign now: everything checked. Nothing once the channel has ended.
    pub fn voucher(&self) -> Option<Voucher> {
        let count = self.count();
        if count == 0 || self.ended.is_some() {
            return None;
        }
        let Terms { db, stack, node, .. } = self.terms;
        Some(Voucher { db, stack, node, units: self.total_units, count, root: self.transcript.root() })
    }

    /// The node holds a voucher for `count`.
    pub fn set_acknowledged(&mut self, count: u64) {
        self.acknowledged = self.acknowledged.max(count.min(self.count()));
    }

    fn alive(&self) -> Result<(), Disagreement> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// Checks what one receipt shows alone, and keeps it until its turn.
    fn buffer(&mut self, signed: &Signed<Receipt>) -> Result<(), Disagreement> {
        let receipt = signed.verify(&self.terms.receipt_key).map_err(|_| Disagreement::Signature)?;
        if (receipt.db, receipt.stack, receipt.node) != (self.terms.db, self.terms.stack, self.terms.node) {
            return Err(Disagreement::Foreign);
        }
        if self.is_settled(receipt) {
            return Ok(());
        }
        // What a node took over counts before it is known here; its own window bounds that.
        let unknown = if self.takes_over { WINDOW_MAX } else { 0 };
        let most = self.count().saturating_add(index(self.issued.len()).max(unknown));
        let issued = self
            .issued
            .get_mut(&receipt.request_hash)
            .ok_or(Disagreement::UnknownRequest(receipt.request_hash))?;
        if let Some(known) = self.waiting.get(&receipt.count) {
            return if known == signed { Ok(()) } else { Err(Disagreement::TwoCounts(receipt.count)) };
        }
        if issued.receipt.is_some() {
            return Err(Disagreement::TwoReceipts(receipt.request_hash));
        }
        if receipt.count <= index(self.transcript.count()) {
            return Err(Disagreement::TwoCounts(receipt.count));
        }
        if receipt.count > most {
            return Err(Disagreement::SkippedCount { count: receipt.count, most });
        }
        check_charge(receipt, self.terms.weights, issued)?;
        if let Some(outcome) = issued.outcome {
            check_outcome(receipt, outcome, issued.bounds)?;
        }
        issued.receipt = Some(receipt.count);
        self.waiting.insert(receipt.count, signed.clone());
        Ok(())
    }

    /// Whether this very receipt was already settled.
    fn is_settled(&self, receipt: &Receipt) -> bool {
        let past = usize::try_from(receipt.count).ok().and_then(|count| self.transcript.root_at(count).ok());
        receipt.count > 0 && past == Some(receipt.root) && !self.issued.contains_key(&receipt.request_hash)
    }

    /// Settles every receipt whose turn has come.
    fn advance(&mut self) -> Result<Vec<Signed<Receipt>>, Disagreement> {
        let mut settled = Vec::new();
        while let Some(signed) = self.waiting.get(&self.count().saturating_add(1)) {
            let receipt = &signed.message;
            let Some(issued) = self.issued.get(&receipt.request_hash) else { break };
            let Some(outcome) = issued.outcome else { break };
            let checked = check_outcome(receipt, outcome, issued.bounds);
            let signed = signed.clone();
            if let Err(reason) = checked.and_then(|()| self.append(&signed.message)) {
                return Err(self.end(reason));
            }
            self.waiting.remove(&signed.message.count);
            if let Some(issued) = self.issued.remove(&signed.message.request_hash)
                && issued.counted
            {
                self.unreserve(issued.max_units);
            }
            settled.push(signed);
        }
        Ok(settled)
    }

    /// Appends the next record, if count, total and root follow on.
    fn append(&mut self, receipt: &Receipt) -> Result<(), Disagreement> {
        let count = self.count().saturating_add(1);
        if receipt.count != count {
            return Err(Disagreement::SkippedCount { count: receipt.count, most: count });
        }
        let expected = Units(self.total_units.0.saturating_add(receipt.units.0));
        if receipt.total_units != expected {
            return Err(Disagreement::TotalUnits { expected, claimed: receipt.total_units });
        }
        let record = receipt.record();
        if self.transcript.root_with(&record) != receipt.root {
            return Err(Disagreement::Root);
        }
        self.transcript.append(&record);
        self.total_units = expected;
        Ok(())
    }
}

/// What an answer costs: the difference of the price at the channel's totals after and before it.
pub(crate) fn cost(price: Price, receipt: &Receipt) -> Result<Amount, ArithmeticError> {
    price.cost(receipt.total_units)?.sub(price.cost(receipt.total_units.sub(receipt.units)?)?)
}

/// Tokens are plausible for the request, the charge follows from tokens, weights and status, and is within
/// what was authorized. Tokens count whatever the status: a receipt that claims too many is a lie.
fn check_charge(receipt: &Receipt, weights: UnitWeights, issued: &Issued) -> Result<(), Disagreement> {
    let (claimed, input, output) = (receipt.units, receipt.input, receipt.output);
    let bounds = issued.bounds;
    if input > bounds.input || output > bounds.output {
        return Err(Disagreement::Tokens { input, output, bounds });
    }
    if !receipt.status.is_billable() {
        let status = receipt.status;
        return if claimed.is_zero() {
            Ok(())
        } else {
            Err(Disagreement::ChargedForNothing { status, units: claimed })
        };
    }
    let computed = weights.units(input, output).unwrap_or(Units::MAX);
    if claimed != computed {
        return Err(Disagreement::Units { claimed, computed });
    }
    if claimed > issued.max_units {
        return Err(Disagreement::OverMax { claimed, allowed: issued.max_units });
    }
    Ok(())
}

/// The receipt is about the answer that was seen, and charges no more output than what arrived can hold and
/// what need not show.
fn check_outcome(receipt: &Receipt, outcome: Outcome, bounds: Bounds) -> Result<(), Disagreement> {
    let tokens = match outcome {
        Outcome::Complete { response_hash, .. } if response_hash != receipt.response_hash => {
            return Err(Disagreement::ResponseHash);
        }
        Outcome::Complete { tokens, .. } | Outcome::Broken { tokens } => tokens,
        Outcome::Refused if receipt.status.is_billable() => {
            let Receipt { status, units, .. } = *receipt;
            return Err(Disagreement::ChargedForNothing { status, units });
        }
        Outcome::Unwitnessed | Outcome::Refused => return Ok(()),
    };
    let most = tokens.saturating_add(bounds.unseen);
    if receipt.status.is_billable() && receipt.output > most {
        return Err(Disagreement::UnseenOutput { output: receipt.output, most });
    }
    Ok(())
}

fn index(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

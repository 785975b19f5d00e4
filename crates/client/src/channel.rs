//! One channel as many requests share it: the ledger behind a lock that is never held across a wait, the
//! nonces, the node's health, and whoever waits for a receipt.

use crate::journal::{Journal, JournalError, MovePlace, RequestRow};
use crate::ledger::{self, Blocked, Bounds, Disagreement, Ledger, NotMoved, Outcome};
use crate::route::Standing;
use atoma_types::message::Message as _;
use atoma_types::{
    Address, Amount, Grant, Hash32, NodeId, Price, PublicKey, Receipt, SecretKey, Signed, TaskId, Units,
    Voucher,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// How long closing waits for requests in flight.
const IDLE_LOOKS: u32 = 120;
const IDLE_PAUSE: Duration = Duration::from_millis(250);
/// Part of the window that may be unacknowledged without a voucher on its way.
const UNSENT_SHARE: u64 = 8;
/// Part of the window from which on every request brings a voucher.
const CROWDED_SHARE: u64 = 2;

/// How a request was paid.
#[derive(Clone, Debug)]
pub enum Completion {
    /// Checked, and to be acknowledged.
    Settled {
        receipt: Box<Signed<Receipt>>,
        cost: Amount,
        /// Of the node that answered.
        price: Price,
    },
    /// Nothing will be paid.
    Unpaid { reason: String },
}

impl Completion {
    pub(crate) fn settled(receipt: Signed<Receipt>, price: Price) -> Self {
        let cost = ledger::cost(price, &receipt.message).unwrap_or(Amount::MAX);
        Self::Settled { receipt: Box::new(receipt), cost, price }
    }
}

/// Somebody who waits to hear how a request was paid, and what to say.
#[derive(Debug)]
pub(crate) struct Told {
    waiter: oneshot::Sender<Completion>,
    completion: Completion,
}

impl Told {
    pub(crate) fn new(completion: Completion) -> (Self, oneshot::Receiver<Completion>) {
        let (waiter, told) = oneshot::channel();
        (Self { waiter, completion }, told)
    }

    pub(crate) fn tell(self) {
        let _ = self.waiter.send(self.completion);
    }
}

/// A request about to be sent: enough to find out, even after a crash, how it was paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub stack: Address,
    pub node: NodeId,
    pub request_hash: Hash32,
    pub price: Price,
}

/// What a channel is about; fixed for its life.
#[derive(Clone, Debug)]
pub struct Identity {
    pub stack: Address,
    pub node: NodeId,
    pub task: TaskId,
    /// Chain time after which nothing new is asked.
    pub ends_ms: u64,
}

/// A channel with a node that requests can be sent on.
#[derive(Debug)]
pub struct Channel {
    identity: Identity,
    key: SecretKey,
    journal: Journal,
    books: Mutex<Books>,
    nonces: Mutex<Range<u64>>,
    standing: Arc<Standing>,
    /// Told when a place may have become free.
    freed: Arc<Notify>,
    /// How long a node may take to give the receipt of an answer that broke off.
    patience: Duration,
}

#[derive(Debug)]
struct Books {
    ledger: Ledger,
    /// The newest voucher, signed once.
    voucher: Option<Signed<Voucher>>,
    /// Count of the newest voucher that went along with a request, unless that one failed.
    sent: u64,
    waiters: HashMap<Hash32, oneshot::Sender<Completion>>,
    /// Requests whose receipt did not come in time, and until when it is accepted.
    lost: HashMap<Hash32, Instant>,
    /// A grant that raised the channel, until the node is known to have seen it.
    grant: Option<Signed<Grant>>,
    closing: bool,
}

impl Channel {
    pub(crate) fn new(
        identity: Identity,
        key: SecretKey,
        journal: Journal,
        ledger: Ledger,
        freed: Arc<Notify>,
        patience: Duration,
        standing: Arc<Standing>,
    ) -> Self {
        let until = Instant::now() + patience;
        let lost = ledger.awaiting().map(|request_hash| (request_hash, until)).collect();
        let (voucher, grant, waiters) = (None, None, HashMap::new());
        let books = Books { ledger, voucher, sent: 0, waiters, lost, grant, closing: false };
        Self {
            identity,
            key,
            journal,
            books: Mutex::new(books),
            nonces: Mutex::new(0..0),
            standing,
            freed,
            patience,
        }
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Takes a place for a request of at most `max_units`.
    pub(crate) fn reserve(self: &Arc<Self>, max_units: Units) -> Result<Slot, Blocked> {
        let mut books = self.books();
        if books.closing {
            return Err(Blocked::Exhausted { left: Units::ZERO, wanted: max_units });
        }
        books.ledger.reserve(max_units)?;
        Ok(Slot { channel: Arc::clone(self), max_units, stage: Stage::Reserved })
    }

    /// A number that no other request of the stack has or will have.
    pub(crate) async fn next_nonce(&self) -> Result<u64, JournalError> {
        if let Some(nonce) = lock(&self.nonces).next() {
            return Ok(nonce);
        }
        let mut block = self.journal.reserve_nonces(self.identity.stack).await?;
        let nonce = block.next().ok_or(JournalError::Closed)?;
        let mut nonces = lock(&self.nonces);
        if nonces.is_empty() {
            *nonces = block;
        }
        Ok(nonce)
    }

    /// The newest acknowledgement, if there is anything to acknowledge. Journal it before it is sent.
    pub(crate) fn voucher(&self) -> Option<Signed<Voucher>> {
        let mut books = self.books();
        let voucher = books.ledger.voucher()?;
        if books.voucher.as_ref().is_none_or(|signed| signed.message != voucher) {
            books.voucher = Some(voucher.sign(&self.key));
        }
        books.voucher.clone()
    }

    /// The voucher that the next request brings along: none while the node lacks but a few acknowledgements and the
    /// window has room, because signing and checking one costs more than all else about a small request. What is left
    /// is acknowledged once the channel is idle.
    pub(crate) fn voucher_along(&self) -> Option<Signed<Voucher>> {
        {
            let mut books = self.books();
            let (count, window) = (books.ledger.count(), books.ledger.window());
            let unsent = count.saturating_sub(books.sent.max(books.ledger.acknowledged()));
            let crowded = books.ledger.in_flight().saturating_add(unsent) > window / CROWDED_SHARE;
            if unsent < (window / UNSENT_SHARE).max(1) && !crowded {
                return None;
            }
            books.sent = count;
        }
        self.voucher()
    }

    /// A request failed; the voucher that it brought along may not have arrived.
    pub(crate) fn voucher_lost(&self) {
        self.books().sent = 0;
    }

    /// Writes down a request and the voucher that travels with it.
    pub(crate) async fn keep(
        &self,
        request: RequestRow,
        voucher: Option<Signed<Voucher>>,
    ) -> Result<(), JournalError> {
        self.journal.issued(request, voucher).await
    }

    /// The chain grants as much as this. Requests bring it along until one was answered: the node may not have
    /// heard of it yet.
    pub(crate) fn raise(&self, grant: Signed<Grant>) {
        let mut books = self.books();
        if books.ledger.raise(grant.message.units) {
            books.grant = Some(grant);
        }
    }

    pub(crate) fn newer_grant(&self) -> Vec<Signed<Grant>> {
        self.books().grant.iter().cloned().collect()
    }

    pub(crate) fn grant_arrived(&self) {
        self.books().grant = None;
    }

    pub(crate) fn set_acknowledged(&self, count: u64) {
        self.books().ledger.set_acknowledged(count);
    }

    /// Takes a receipt from wherever it came.
    pub(crate) fn absorb(&self, receipt: &Signed<Receipt>) -> Result<(), Disagreement> {
        let mut books = self.books();
        let result = books.ledger.absorb(receipt);
        self.conclude(&mut books, result)
    }

    /// Says what was seen of an answer.
    pub(crate) fn finish(&self, request_hash: Hash32, outcome: Outcome) -> Result<(), Disagreement> {
        let mut books = self.books();
        let result = books.ledger.finish(request_hash, outcome);
        self.conclude(&mut books, result)
    }

    /// Ends the channel for a reason that the ledger cannot see.
    pub(crate) fn end(&self, reason: Disagreement) -> Disagreement {
        let mut books = self.books();
        let known = books.ledger.ended().is_some();
        let reason = books.ledger.end(reason);
        if !known {
            self.record_end(&mut books, &reason);
        }
        reason
    }

    /// Gives back the place of a request whose receipt did not come. The node may still give it: only then,
    /// or once it is [written off](Self::write_off), is it known how the request was paid.
    pub(crate) fn give_up(&self, request_hash: &Hash32) {
        let mut books = self.books();
        books.ledger.give_up(request_hash);
        if books.ledger.awaits(request_hash) {
            books.lost.entry(*request_hash).or_insert_with(|| Instant::now() + self.patience);
        }
        self.freed.notify_one();
    }

    /// Lost requests whose receipt is late.
    pub(crate) fn overdue(&self) -> Vec<Hash32> {
        let (books, now) = (self.books(), Instant::now());
        let late =
            |(request_hash, until): &(&Hash32, &Instant)| **until <= now && books.ledger.awaits(request_hash);
        books.lost.iter().filter(late).map(|(request_hash, _)| *request_hash).collect()
    }

    /// The node was asked after its time and knew no receipt: nothing is paid for the request any more.
    pub(crate) async fn write_off(&self, request_hash: &Hash32) {
        let waiter = {
            let mut books = self.books();
            if !books.ledger.awaits(request_hash) {
                return;
            }
            self.mark_refused(&mut books, request_hash)
        };
        self.tell_refused(request_hash, waiter, "the node gave no receipt").await;
    }

    /// The request certainly cost nothing; a receipt that comes all the same is still checked. Returns when a
    /// restart cannot forget it.
    async fn refuse(&self, request_hash: &Hash32, reason: &str) {
        let waiter = self.mark_refused(&mut self.books(), request_hash);
        self.tell_refused(request_hash, waiter, reason).await;
    }

    fn mark_refused(&self, books: &mut Books, request_hash: &Hash32) -> Option<oneshot::Sender<Completion>> {
        let result = books.ledger.finish(*request_hash, Outcome::Refused);
        let _ = self.conclude(books, result);
        books.ledger.give_up(request_hash);
        books.lost.remove(request_hash);
        self.freed.notify_one();
        books.waiters.remove(request_hash)
    }

    async fn tell_refused(
        &self,
        request_hash: &Hash32,
        waiter: Option<oneshot::Sender<Completion>>,
        reason: &str,
    ) {
        match (self.journal.refused(*request_hash).await, waiter) {
            (Ok(()), Some(waiter)) => drop(waiter.send(Completion::Unpaid { reason: reason.into() })),
            (Ok(()), None) => {}
            (Err(error), _) => tracing::error!(%error, "cannot keep that a request was refused"),
        }
    }

    /// The stack is gone, as the journal says: nothing is paid any more.
    pub(crate) fn over(&self) {
        let mut books = self.books();
        books.closing = true;
        books.lost.clear();
        for (_, waiter) in books.waiters.drain() {
            let _ = waiter.send(Completion::Unpaid { reason: "the stack is gone".into() });
        }
    }

    /// Leaves it to the next start to find out how lost requests were paid.
    pub(crate) fn leave_lost(&self) {
        let books = &mut *self.books();
        books.waiters.retain(|request_hash, _| !books.lost.contains_key(request_hash));
    }

    /// Nothing new is asked on it.
    pub(crate) fn set_closing(&self) {
        self.books().closing = true;
    }

    /// Waits a bounded time until no request is in flight.
    pub(crate) async fn idle(&self) {
        for _ in 0..IDLE_LOOKS {
            let freed = self.freed.notified();
            if self.is_idle() {
                return;
            }
            let _ = tokio::time::timeout(IDLE_PAUSE, freed).await;
        }
    }

    /// Nothing is in flight that could still be acknowledged.
    fn is_idle(&self) -> bool {
        let books = self.books();
        books.ledger.ended().is_some() || books.ledger.in_flight() == 0
    }

    pub(crate) fn lacks_receipts(&self) -> bool {
        self.books().ledger.awaiting().next().is_some()
    }

    pub(crate) fn price(&self) -> Price {
        self.books().ledger.terms().price
    }

    /// Tells how a request is paid, if that is not known yet. Nobody else may wait for it.
    pub(crate) fn wait_for(&self, request_hash: Hash32) -> Option<oneshot::Receiver<Completion>> {
        let mut books = self.books();
        if !books.ledger.is_open(&request_hash) {
            return None;
        }
        let (waiter, paid) = oneshot::channel();
        books.waiters.insert(request_hash, waiter);
        Some(paid)
    }

    /// Whether a request was made on this channel, or moved to it, and is not settled.
    pub(crate) fn has_asked(&self, request_hash: &Hash32) -> bool {
        self.books().ledger.has_asked(request_hash)
    }

    /// Whether another node may turn out to have answered this request.
    pub(crate) fn may_move(&self, request_hash: &Hash32) -> bool {
        self.books().ledger.may_move(request_hash)
    }

    /// Whether a request is no longer read and lacks a receipt.
    pub(crate) fn awaits(&self, request_hash: &Hash32) -> bool {
        self.books().ledger.awaits(request_hash)
    }

    /// Whether such a request may turn out to have been answered by another node.
    pub(crate) fn may_move_any(&self) -> bool {
        let books = self.books();
        books.ledger.awaiting().any(|request_hash| books.ledger.may_move(&request_hash))
    }

    pub(crate) fn receipt_key(&self) -> PublicKey {
        self.books().ledger.terms().receipt_key
    }

    /// Whether its node is to be named as one that may answer in place of another, if it may be at all.
    pub(crate) fn as_alternate(&self, max_units: Units) -> Alternate {
        let mut books = self.books();
        if books.ledger.ended().is_some() {
            return Alternate::Never;
        }
        books.ledger.take_over();
        let price = books.ledger.terms().price;
        let able = !books.closing && books.ledger.units_free() >= max_units;
        Alternate::May { price, able }
    }

    /// Its node may answer requests that are sent to others of its stack.
    pub(crate) fn take_over(&self) {
        self.books().ledger.take_over();
    }

    /// Moves a request, and whoever waits for it, to the channel of the node that it was passed on to. No restart can
    /// forget that when this returns.
    pub(crate) fn hand_over(
        &self,
        request_hash: Hash32,
        to: &Self,
        place: MovePlace,
    ) -> Result<Result<(), JournalError>, NotMoved> {
        // Always in the same order.
        let (mut here, mut there) = if self.identity.node < to.identity.node {
            let here = self.books();
            (here, to.books())
        } else {
            let there = to.books();
            (self.books(), there)
        };
        if there.ledger.ended().is_some() {
            return Err(NotMoved::Ended);
        }
        let price = there.ledger.terms().price;
        let moved = here.ledger.release(&request_hash, price)?;
        there.ledger.adopt(request_hash, moved);
        if let Some(waiter) = here.waiters.remove(&request_hash) {
            there.waiters.insert(request_hash, waiter);
        }
        if let Some(until) = here.lost.remove(&request_hash) {
            there.lost.insert(request_hash, until);
        }
        let written = place.write(request_hash, to.identity.node, price);
        if let Some(reason) = here.ledger.ended().cloned() {
            self.record_end(&mut here, &reason);
        }
        self.freed.notify_one();
        Ok(written)
    }

    pub(crate) fn is_open(&self, request_hash: &Hash32) -> bool {
        self.books().ledger.is_open(request_hash)
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.books().ledger.in_flight()
    }

    pub fn summary(&self) -> Summary {
        let books = self.books();
        Summary {
            count: books.ledger.count(),
            total_units: books.ledger.total_units(),
            granted: books.ledger.terms().granted,
            in_flight: books.ledger.in_flight(),
            units_free: books.ledger.units_free(),
            acknowledged: books.ledger.acknowledged(),
            owes_voucher: books.ledger.owes_voucher(),
            has_gap: books.ledger.has_gap(),
            ended: books.ledger.ended().cloned(),
            closing: books.closing,
        }
    }

    /// How its node performs.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    fn conclude(
        &self,
        books: &mut Books,
        result: Result<Vec<Signed<Receipt>>, Disagreement>,
    ) -> Result<(), Disagreement> {
        match result {
            Ok(settled) => {
                let price = books.ledger.terms().price;
                for receipt in settled {
                    // The window grew by one and a place became free.
                    self.freed.notify_one();
                    self.freed.notify_one();
                    let request_hash = receipt.message.request_hash;
                    books.lost.remove(&request_hash);
                    let waiter = books.waiters.remove(&request_hash);
                    let completion = Completion::settled(receipt.clone(), price);
                    self.journal.settled(receipt, waiter.map(|waiter| Told { waiter, completion }));
                }
                Ok(())
            }
            Err(reason) => {
                self.record_end(books, &reason);
                Err(reason)
            }
        }
    }

    fn record_end(&self, books: &mut Books, reason: &Disagreement) {
        let Identity { stack, node, .. } = self.identity;
        tracing::warn!(%stack, %node, %reason, "disagreement with a node; the channel ends");
        self.standing.distrust(Instant::now());
        books.lost.clear();
        let unpaid = || Completion::Unpaid { reason: reason.to_string() };
        let told = books.waiters.drain().map(|(_, waiter)| Told { waiter, completion: unpaid() }).collect();
        self.journal.ended(stack, node, reason.to_string(), told);
        self.freed.notify_waiters();
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

/// What a channel is to a request that is sent on another one of its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alternate {
    /// Nothing more is paid on it.
    Never,
    /// Its node may answer, at this price; `able` if it can take the request now, as far as is known here.
    May { price: Price, able: bool },
}

/// A channel's state at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub count: u64,
    pub total_units: Units,
    pub granted: Units,
    pub in_flight: u64,
    pub units_free: Units,
    /// Count of the newest voucher that the node is known to hold.
    pub acknowledged: u64,
    pub owes_voucher: bool,
    /// Whether a receipt waits for one before it.
    pub has_gap: bool,
    pub ended: Option<Disagreement>,
    pub closing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reserved,
    Issued(Hash32),
    Done,
}

/// A place in a channel's window. Dropped before its request was issued, it gives the place back; dropped
/// later, the request counts as lost.
#[derive(Debug)]
pub(crate) struct Slot {
    channel: Arc<Channel>,
    max_units: Units,
    stage: Stage,
}

impl Slot {
    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    pub(crate) fn max_units(&self) -> Units {
        self.max_units
    }

    /// The request is about to be sent, once this is written down. The receiver tells how it is paid.
    pub(crate) fn issue(
        &mut self,
        request_hash: Hash32,
        bounds: Bounds,
        forward_price: Option<Price>,
    ) -> (RequestRow, oneshot::Receiver<Completion>) {
        let Identity { stack, node, .. } = self.channel.identity;
        let max_units = self.max_units;
        let row = RequestRow { stack, node, request_hash, max_units, bounds, forward_price };
        let (waiter, paid) = oneshot::channel();
        let mut books = self.channel.books();
        books.ledger.issue(request_hash, self.max_units, bounds, forward_price);
        books.waiters.insert(request_hash, waiter);
        self.stage = Stage::Issued(request_hash);
        (row, paid)
    }

    /// The request that was sent, if it was.
    pub(crate) fn request(&self) -> Option<Hash32> {
        match self.stage {
            Stage::Issued(request_hash) => Some(request_hash),
            Stage::Reserved | Stage::Done => None,
        }
    }

    /// The request was [handed over](Channel::hand_over) to this channel.
    pub(crate) fn follow(&mut self, channel: Arc<Channel>) {
        self.channel = channel;
    }

    /// The whole answer was seen, and this is its receipt.
    pub(crate) fn complete(mut self, seen: Outcome, receipt: &Signed<Receipt>) -> Result<(), Disagreement> {
        if let Stage::Issued(request_hash) = self.stage {
            self.stage = Stage::Done;
            self.channel.finish(request_hash, seen)?;
            if receipt.message.request_hash != request_hash {
                return Err(self.channel.end(Disagreement::UnknownRequest(receipt.message.request_hash)));
            }
        }
        self.channel.absorb(receipt)
    }

    /// Says what was seen, and hands over the request whose receipt is still to come.
    pub(crate) fn leave(mut self, outcome: Outcome) -> Option<Hash32> {
        let Stage::Issued(request_hash) = self.stage else { return None };
        self.stage = Stage::Done;
        self.channel.finish(request_hash, outcome).ok()?;
        Some(request_hash)
    }

    /// The request certainly cost nothing; a receipt that comes all the same is still checked. Returns when a
    /// restart cannot forget it.
    pub(crate) async fn refuse(mut self, reason: &str) {
        if let Stage::Issued(request_hash) = self.stage {
            self.stage = Stage::Done;
            self.channel.refuse(&request_hash, reason).await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        match self.stage {
            Stage::Reserved => {
                self.channel.books().ledger.unreserve(self.max_units);
                self.channel.freed.notify_one();
            }
            Stage::Issued(request_hash) => {
                let _ = self.channel.finish(request_hash, Outcome::Unwitnessed);
                self.channel.give_up(&request_hash);
            }
            Stage::Done => {}
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

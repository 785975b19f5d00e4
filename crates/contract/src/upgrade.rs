//! The timelock around the package's upgrade cap: whoever does not like a proposed package can leave before it
//! holds. The delay is longer than a stack's life and a node's way out together, also if these grew since. A
//! proposal that is not used lapses: none is kept ready.

use crate::Result;
use crate::admin::{AdminCap, check_cap};
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::{check_bytes, ensure};
use atoma_types::onchain::Abort;
use atoma_types::onchain::event::{
    UpgradeAuthorized, UpgradeCancelled, UpgradeCommitted, UpgradeLocked, UpgradeProposed,
};
use atoma_types::{Address, Hash32};
use serde::{Deserialize, Serialize};

/// How long a proposal may be used once it is ready: 14 days.
pub const USE_MS: u64 = 14 * 24 * 3_600_000;

/// `sui::package::UpgradeCap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeCap {
    pub id: Address,
    pub package: Address,
    pub version: u64,
    pub policy: u8,
}

/// Holds the cap; shared, so that anyone can see what is proposed. There is no way to take the cap out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeLock {
    pub id: Address,
    pub db: Address,
    pub cap: UpgradeCap,
    pub proposal: Option<Proposal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Digest of the package's modules and dependencies.
    pub digest: Hash32,
    pub proposed_ms: u64,
    /// As it was then.
    pub timelock_ms: u64,
}

impl Proposal {
    /// When the package may be published: after the timelock of then or of now, whichever is longer.
    pub fn ready_ms(&self, timelock_ms: u64) -> Result<u64> {
        self.proposed_ms.checked_add(self.timelock_ms.max(timelock_ms)).ok_or(Abort::Arithmetic)
    }
}

/// `sui::package::UpgradeTicket`: must be used in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeTicket {
    pub cap: Address,
    pub package: Address,
    pub policy: u8,
    pub digest: Hash32,
}

/// `sui::package::UpgradeReceipt`: what publishing made of the ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeReceipt {
    pub cap: Address,
    pub package: Address,
}

/// Locks the cap away for good. The result is shared. `own` are the addresses of the packages that define the market,
/// which Move knows by itself: a cap of another would guard nothing.
pub fn lock(
    db: &AtomaDb,
    admin: &AdminCap,
    cap: UpgradeCap,
    own: &[Address],
    ctx: &mut TxContext,
) -> Result<UpgradeLock> {
    db.check_version()?;
    check_cap(admin, db.id)?;
    ensure(own.contains(&cap.package), Abort::BadArgument)?;

    let lock = UpgradeLock { id: ctx.fresh_id(), db: db.id, cap, proposal: None };
    ctx.emit(UpgradeLocked { lock: lock.id, cap: lock.cap.id });
    Ok(lock)
}

/// Announces a package. A proposal that stands must be cancelled first.
pub fn propose(
    db: &AtomaDb,
    lock: &mut UpgradeLock,
    admin: &AdminCap,
    digest: &[u8],
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(db, lock, admin)?;
    ensure(lock.proposal.is_none(), Abort::AlreadyDone)?;
    let digest = Hash32(check_bytes(digest)?);
    let timelock_ms = db.params_at(ctx.epoch()).timelock_ms;
    let proposal = Proposal { digest, proposed_ms: clock_ms, timelock_ms };
    let ready_ms = proposal.ready_ms(timelock_ms)?;

    lock.proposal = Some(proposal);
    ctx.emit(UpgradeProposed { lock: lock.id, digest, ready_ms });
    Ok(())
}

/// Lets the proposed package be published, once its time has come and for [`USE_MS`].
pub fn authorize(
    db: &AtomaDb,
    lock: &mut UpgradeLock,
    admin: &AdminCap,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<UpgradeTicket> {
    check(db, lock, admin)?;
    let proposal = lock.proposal.ok_or(Abort::NoProposal)?;
    let ready_ms = proposal.ready_ms(db.params_at(ctx.epoch()).timelock_ms)?;
    ensure(clock_ms >= ready_ms, Abort::TooEarly)?;
    let last_ms = ready_ms.checked_add(USE_MS).ok_or(Abort::Arithmetic)?;
    ensure(clock_ms <= last_ms, Abort::WindowClosed)?;

    lock.proposal = None;
    ctx.emit(UpgradeAuthorized { lock: lock.id, digest: proposal.digest });
    let UpgradeCap { id, package, policy, .. } = lock.cap;
    Ok(UpgradeTicket { cap: id, package, policy, digest: proposal.digest })
}

/// Takes note of the published package.
pub fn commit(lock: &mut UpgradeLock, receipt: UpgradeReceipt, ctx: &mut TxContext) -> Result {
    ensure(receipt.cap == lock.cap.id, Abort::NotAuthorized)?;
    let version = lock.cap.version.checked_add(1).ok_or(Abort::Arithmetic)?;

    lock.cap.package = receipt.package;
    lock.cap.version = version;
    ctx.emit(UpgradeCommitted { lock: lock.id, package: receipt.package });
    Ok(())
}

/// Withdraws the proposal.
pub fn cancel(db: &AtomaDb, lock: &mut UpgradeLock, admin: &AdminCap, ctx: &mut TxContext) -> Result {
    check(db, lock, admin)?;
    let proposal = lock.proposal.ok_or(Abort::NoProposal)?;

    lock.proposal = None;
    ctx.emit(UpgradeCancelled { lock: lock.id, digest: proposal.digest });
    Ok(())
}

fn check(db: &AtomaDb, lock: &UpgradeLock, admin: &AdminCap) -> Result {
    db.check_version()?;
    ensure(lock.db == db.id, Abort::WrongDb)?;
    check_cap(admin, db.id)
}

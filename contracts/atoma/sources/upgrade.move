/// The timelock around the package's upgrade cap: whoever does not like a proposed package can leave before it
/// holds. The delay is longer than a stack's life and a node's way out together.
module atoma::upgrade;

use atoma::admin::AdminCap;
use atoma::db::AtomaDb;
use atoma::errors::{Self, require};
use atoma::events;
use atoma::limits;
use atoma::math;
use sui::clock::Clock;
use sui::package::{UpgradeCap, UpgradeReceipt, UpgradeTicket};

/// Holds the cap; shared, so that anyone can see what is proposed. There is no way to take the cap out.
public struct UpgradeLock has key {
    id: UID,
    db: address,
    cap: UpgradeCap,
    proposal: Option<Proposal>,
}

public struct Proposal has copy, drop, store {
    /// Digest of the package's modules and dependencies.
    digest: vector<u8>,
    ready_ms: u64,
}

/// Locks the upgrade cap away for good. By the holder of both caps.
#[allow(lint(share_owned))]
public fun lock<T>(db: &AtomaDb<T>, admin: &AdminCap, cap: UpgradeCap, ctx: &mut TxContext) {
    transfer::share_object(lock_impl(db, admin, cap, ctx))
}

/// `lock` without sharing what it makes.
public(package) fun lock_impl<T>(
    db: &AtomaDb<T>,
    admin: &AdminCap,
    cap: UpgradeCap,
    ctx: &mut TxContext,
): UpgradeLock {
    db.check_version();
    admin.check(db.addr());

    let lock = UpgradeLock { id: object::new(ctx), db: db.addr(), cap, proposal: option::none() };
    events::upgrade_locked(lock.id.to_address(), object::id_address(&lock.cap));
    lock
}

/// Announces a package. A proposal that stands must be cancelled first, else `EAlreadyDone`.
public fun propose<T>(
    db: &AtomaDb<T>,
    lock: &mut UpgradeLock,
    admin: &AdminCap,
    digest: vector<u8>,
    clock: &Clock,
    ctx: &TxContext,
) {
    lock.check(db, admin);
    require(lock.proposal.is_none(), errors::already_done!());
    limits::check_hash(&digest);
    let ready_ms = math::add(clock.timestamp_ms(), db.params_at(ctx.epoch()).timelock_ms());

    lock.proposal = option::some(Proposal { digest, ready_ms });
    events::upgrade_proposed(lock.id.to_address(), digest, ready_ms);
}

/// Lets the proposed package be published, once its time has come, else `ETooEarly`.
public fun authorize<T>(
    db: &AtomaDb<T>,
    lock: &mut UpgradeLock,
    admin: &AdminCap,
    clock: &Clock,
): UpgradeTicket {
    lock.check(db, admin);
    require(lock.proposal.is_some(), errors::no_proposal!());
    let Proposal { digest, ready_ms } = *lock.proposal.borrow();
    require(clock.timestamp_ms() >= ready_ms, errors::too_early!());

    lock.proposal = option::none();
    events::upgrade_authorized(lock.id.to_address(), digest);
    let policy = lock.cap.policy();
    lock.cap.authorize(policy, digest)
}

/// Takes note of the published package. By anyone who holds the receipt.
public fun commit(lock: &mut UpgradeLock, receipt: UpgradeReceipt) {
    require(receipt.cap() == object::id(&lock.cap), errors::not_authorized!());
    let package = receipt.package().to_address();

    lock.cap.commit(receipt);
    events::upgrade_committed(lock.id.to_address(), package);
}

/// Withdraws the proposal, else `ENoProposal`.
public fun cancel<T>(db: &AtomaDb<T>, lock: &mut UpgradeLock, admin: &AdminCap) {
    lock.check(db, admin);
    require(lock.proposal.is_some(), errors::no_proposal!());
    let Proposal { digest, .. } = lock.proposal.extract();

    events::upgrade_cancelled(lock.id.to_address(), digest);
}

fun check<T>(self: &UpgradeLock, db: &AtomaDb<T>, admin: &AdminCap) {
    db.check_version();
    db.check_db(self.db);
    admin.check(db.addr());
}

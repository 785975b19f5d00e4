/// The timelock around the package's upgrade cap: whoever does not like a proposed package can leave before it
/// holds. The delay is longer than a stack's life and a node's way out together, also if these grew since. A proposal
/// that is not used lapses: none is kept ready.
module atoma::upgrade;

use atoma::admin::AdminCap;
use atoma::db::AtomaDb;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma_base::params::Params;
use std::ascii::String;
use std::type_name;
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
    proposed_ms: u64,
    /// As it was then.
    timelock_ms: u64,
}

/// How long a proposal may be used once it is ready: 14 days.
const USE_MS: u64 = 1_209_600_000;

/// Locks an upgrade cap away for good: that of this package, and of the one it is built on. By the holder of both caps.
#[allow(lint(share_owned))]
public fun lock<T>(db: &AtomaDb<T>, admin: &AdminCap, cap: UpgradeCap, ctx: &mut TxContext) {
    transfer::share_object(lock_impl(db, admin, cap, ctx))
}

/// `lock` without sharing what it makes. A cap of another package than these would guard nothing: `EBadArgument`.
public(package) fun lock_impl<T>(
    db: &AtomaDb<T>,
    admin: &AdminCap,
    cap: UpgradeCap,
    ctx: &mut TxContext,
): UpgradeLock {
    db.check_version();
    admin.check(db.addr());
    let package = cap.package().to_address().to_ascii_string();
    require(defines<UpgradeLock>(&package) || defines<Params>(&package), errors::bad_argument!());

    let lock = UpgradeLock { id: object::new(ctx), db: db.addr(), cap, proposal: option::none() };
    events::upgrade_locked(lock.id.to_address(), object::id_address(&lock.cap));
    lock
}

/// Whether the package is the one that defines this type.
fun defines<P>(package: &String): bool { type_name::with_defining_ids<P>().address_string() == *package }

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
    let (proposed_ms, timelock_ms) = (clock.timestamp_ms(), db.params_at(ctx.epoch()).timelock_ms());
    let ready_ms = math::add(proposed_ms, timelock_ms);

    lock.proposal = option::some(Proposal { digest, proposed_ms, timelock_ms });
    events::upgrade_proposed(lock.id.to_address(), digest, ready_ms);
}

/// Lets the proposed package be published, once its time has come, else `ETooEarly`, and for 14 days, else
/// `EWindowClosed`: after the timelock of then or of now, whichever is longer.
public fun authorize<T>(
    db: &AtomaDb<T>,
    lock: &mut UpgradeLock,
    admin: &AdminCap,
    clock: &Clock,
    ctx: &TxContext,
): UpgradeTicket {
    lock.check(db, admin);
    require(lock.proposal.is_some(), errors::no_proposal!());
    let Proposal { digest, proposed_ms, timelock_ms } = *lock.proposal.borrow();
    let ready_ms = math::add(proposed_ms, timelock_ms.max(db.params_at(ctx.epoch()).timelock_ms()));
    let clock_ms = clock.timestamp_ms();
    require(clock_ms >= ready_ms, errors::too_early!());
    require(clock_ms <= math::add(ready_ms, USE_MS), errors::window_closed!());

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

/// Typed events: one per state change, enough to rebuild every balance. Each struct is followed by the function
/// that emits it, its arguments being the fields.
///
/// In the events of claims and audits `target` is the object that holds the claim: a stack, `node` naming the
/// channel, or a dispute.
module atoma::events;

use std::string::String;
use sui::event;

// Administration.

/// `params` in the order of the parameters.
public struct MarketCreated has copy, drop { db: address, treasury: address, beacon: address, params: vector<u64> }
public(package) fun market_created(db: address, treasury: address, beacon: address, params: vector<u64>) {
    event::emit(MarketCreated { db, treasury, beacon, params })
}

public struct ParamsSet has copy, drop { params: vector<u64>, epoch: u64 }
public(package) fun params_set(params: vector<u64>, epoch: u64) { event::emit(ParamsSet { params, epoch }) }

public struct PauseSet has copy, drop { paused: bool }
public(package) fun pause_set(paused: bool) { event::emit(PauseSet { paused }) }

public struct Migrated has copy, drop { object: address, version: u64 }
public(package) fun migrated(object: address, version: u64) { event::emit(Migrated { object, version }) }

public struct ModelDisabled has copy, drop { model: u64 }
public(package) fun model_disabled(model: u64) { event::emit(ModelDisabled { model }) }

public struct TreasuryPaid has copy, drop { to: address, amount: u64 }
public(package) fun treasury_paid(to: address, amount: u64) { event::emit(TreasuryPaid { to, amount }) }

public struct UpgradeLocked has copy, drop { lock: address, cap: address }
public(package) fun upgrade_locked(lock: address, cap: address) { event::emit(UpgradeLocked { lock, cap }) }

public struct UpgradeProposed has copy, drop { lock: address, digest: vector<u8>, ready_ms: u64 }
public(package) fun upgrade_proposed(lock: address, digest: vector<u8>, ready_ms: u64) {
    event::emit(UpgradeProposed { lock, digest, ready_ms })
}

public struct UpgradeAuthorized has copy, drop { lock: address, digest: vector<u8> }
public(package) fun upgrade_authorized(lock: address, digest: vector<u8>) {
    event::emit(UpgradeAuthorized { lock, digest })
}

public struct UpgradeCommitted has copy, drop { lock: address, package: address }
public(package) fun upgrade_committed(lock: address, package: address) {
    event::emit(UpgradeCommitted { lock, package })
}

public struct UpgradeCancelled has copy, drop { lock: address, digest: vector<u8> }
public(package) fun upgrade_cancelled(lock: address, digest: vector<u8>) {
    event::emit(UpgradeCancelled { lock, digest })
}

// Nodes.

public struct NodeRegistered has copy, drop {
    node: u64, owner: address, payout: address, endpoint: String, receipt_key: vector<u8>, collateral: u64,
    fee: u64,
}
public(package) fun node_registered(
    node: u64, owner: address, payout: address, endpoint: String, receipt_key: vector<u8>, collateral: u64,
    fee: u64,
) {
    event::emit(NodeRegistered { node, owner, payout, endpoint, receipt_key, collateral, fee })
}

public struct NodeEndpointChanged has copy, drop { node: u64, endpoint: String }
public(package) fun node_endpoint_changed(node: u64, endpoint: String) {
    event::emit(NodeEndpointChanged { node, endpoint })
}

public struct NodePayoutChanged has copy, drop { node: u64, payout: address }
public(package) fun node_payout_changed(node: u64, payout: address) {
    event::emit(NodePayoutChanged { node, payout })
}

public struct AnswerIntervalChanged has copy, drop { node: u64, interval_ms: u64 }
public(package) fun answer_interval_changed(node: u64, interval_ms: u64) {
    event::emit(AnswerIntervalChanged { node, interval_ms })
}

public struct CollateralAdded has copy, drop { node: u64, amount: u64 }
public(package) fun collateral_added(node: u64, amount: u64) { event::emit(CollateralAdded { node, amount }) }

public struct ReceiptKeyRotated has copy, drop { node: u64, receipt_key: vector<u8> }
public(package) fun receipt_key_rotated(node: u64, receipt_key: vector<u8>) {
    event::emit(ReceiptKeyRotated { node, receipt_key })
}

public struct KeyRotated has copy, drop {
    node: u64, seal_key: vector<u8>, epoch: u64, old_until_ms: u64, evidence: vector<u8>, blob: vector<u8>,
    device_types: vector<u8>, counter: u64, expires_ms: u64,
}
public(package) fun key_rotated(
    node: u64, seal_key: vector<u8>, epoch: u64, old_until_ms: u64, evidence: vector<u8>, blob: vector<u8>,
    device_types: vector<u8>, counter: u64, expires_ms: u64,
) {
    event::emit(KeyRotated { node, seal_key, epoch, old_until_ms, evidence, blob, device_types, counter, expires_ms })
}

/// By its badge or by a conviction.
public struct NodeDisabled has copy, drop { node: u64, at_ms: u64, exit_ms: u64, exit_epoch: u64 }
public(package) fun node_disabled(node: u64, at_ms: u64, exit_ms: u64, exit_epoch: u64) {
    event::emit(NodeDisabled { node, at_ms, exit_ms, exit_epoch })
}

/// The collateral left. Bookings and pot were settled just before, in their own event.
public struct CollateralWithdrawn has copy, drop { node: u64, to: address, amount: u64 }
public(package) fun collateral_withdrawn(node: u64, to: address, amount: u64) {
    event::emit(CollateralWithdrawn { node, to, amount })
}

/// Reputation from `epoch` on, before it grows again.
public struct Fault has copy, drop { node: u64, reputation: u64, epoch: u64 }
public(package) fun fault(node: u64, reputation: u64, epoch: u64) {
    event::emit(Fault { node, reputation, epoch })
}

/// `amount` left the collateral (0 if only the pot paid): `burned` + `treasury` + `compensation` + what the
/// pot grew by; `pot` is the pot afterwards. The compensation is due to `to`, or `booked` for it.
public struct Slashed has copy, drop {
    node: u64, amount: u64, burned: u64, treasury: u64, compensation: u64, booked: bool, pot: u64, to: address,
}
public(package) fun slashed(
    node: u64, amount: u64, burned: u64, treasury: u64, compensation: u64, booked: bool, pot: u64, to: address,
) {
    event::emit(Slashed { node, amount, burned, treasury, compensation, booked, pot, to })
}

/// Bookings `to` were credited `amounts`; `treasury` is what the pot and forfeited bookings gave to it.
public struct BookingsSettled has copy, drop {
    node: u64, to: vector<address>, amounts: vector<u64>, treasury: u64,
}
public(package) fun bookings_settled(node: u64, to: vector<address>, amounts: vector<u64>, treasury: u64) {
    event::emit(BookingsSettled { node, to, amounts, treasury })
}

/// Out of the database.
public struct DuesWithdrawn has copy, drop { to: address, amount: u64 }
public(package) fun dues_withdrawn(to: address, amount: u64) { event::emit(DuesWithdrawn { to, amount }) }

/// Out of the database into the treasury.
public struct Collected has copy, drop { burned: u64, treasury: u64 }
public(package) fun collected(burned: u64, treasury: u64) { event::emit(Collected { burned, treasury }) }

// Models, tasks, offers.

public struct ModelAdded has copy, drop { model: u64, label: String, creator: address, creator_fee_permille: u64 }
public(package) fun model_added(model: u64, label: String, creator: address, creator_fee_permille: u64) {
    event::emit(ModelAdded { model, label, creator, creator_fee_permille })
}

public struct TaskCreated has copy, drop {
    task: u64, owner: address, role: u8, model: u64, level: u8, exact: bool, price_ceiling: u64, weight_input: u64,
    weight_output: u64, surcharge_permille: u64, min_collateral: u64, min_reputation: u64, echelons: vector<u64>,
    p_min_ppb: u64, p_stat_ppb: u64, verifiers: u64, records: u64, min_claim: u64, challenge_ms: u64, hold_ms: u64,
}
public(package) fun task_created(
    task: u64, owner: address, role: u8, model: u64, level: u8, exact: bool, price_ceiling: u64, weight_input: u64,
    weight_output: u64, surcharge_permille: u64, min_collateral: u64, min_reputation: u64, echelons: vector<u64>,
    p_min_ppb: u64, p_stat_ppb: u64, verifiers: u64, records: u64, min_claim: u64, challenge_ms: u64, hold_ms: u64,
) {
    event::emit(TaskCreated {
        task, owner, role, model, level, exact, price_ceiling, weight_input, weight_output, surcharge_permille,
        min_collateral, min_reputation, echelons, p_min_ppb, p_stat_ppb, verifiers, records, min_claim, challenge_ms,
        hold_ms,
    })
}

public struct TaskDeprecated has copy, drop { task: u64 }
public(package) fun task_deprecated(task: u64) { event::emit(TaskDeprecated { task }) }

public struct WhitelistSet has copy, drop { task: u64, nodes: vector<u64> }
public(package) fun whitelist_set(task: u64, nodes: vector<u64>) { event::emit(WhitelistSet { task, nodes }) }

/// In force from `from_epoch` on, as its `slot`.
public struct Subscribed has copy, drop {
    task: u64, node: u64, price: u64, max_units: u64, echelon: u64, slot: u64, from_epoch: u64,
}
public(package) fun subscribed(
    task: u64, node: u64, price: u64, max_units: u64, echelon: u64, slot: u64, from_epoch: u64,
) {
    event::emit(Subscribed { task, node, price, max_units, echelon, slot, from_epoch })
}

public struct Repriced has copy, drop {
    task: u64, node: u64, price: u64, max_units: u64, slot: u64, from_epoch: u64,
}
public(package) fun repriced(task: u64, node: u64, price: u64, max_units: u64, slot: u64, from_epoch: u64) {
    event::emit(Repriced { task, node, price, max_units, slot, from_epoch })
}

public struct Unsubscribed has copy, drop { task: u64, node: u64, until_epoch: u64 }
public(package) fun unsubscribed(task: u64, node: u64, until_epoch: u64) {
    event::emit(Unsubscribed { task, node, until_epoch })
}

public struct VerifierJoined has copy, drop {
    task: u64, node: u64, echelon: u64, slot: u64, weight: u64, since_ms: u64,
}
public(package) fun verifier_joined(task: u64, node: u64, echelon: u64, slot: u64, weight: u64, since_ms: u64) {
    event::emit(VerifierJoined { task, node, echelon, slot, weight, since_ms })
}

public struct VerifierLeft has copy, drop { task: u64, node: u64, until_ms: u64 }
public(package) fun verifier_left(task: u64, node: u64, until_ms: u64) {
    event::emit(VerifierLeft { task, node, until_ms })
}

/// What was dead of a node is out of the task's lists.
public struct Evicted has copy, drop { task: u64, node: u64, offers: bool, verifier: bool }
public(package) fun evicted(task: u64, node: u64, offers: bool, verifier: bool) {
    event::emit(Evicted { task, node, offers, verifier })
}

/// An offer moved into the gap that an evicted one left.
public struct SlotMoved has copy, drop { task: u64, echelon: u64, node: u64, from: u64, to: u64 }
public(package) fun slot_moved(task: u64, echelon: u64, node: u64, from: u64, to: u64) {
    event::emit(SlotMoved { task, echelon, node, from, to })
}

// Stacks.

public struct StackAcquired has copy, drop {
    stack: address, owner: address, task: u64, level: u8, request_key: vector<u8>, units: u64, max_price: u64,
    selection: u8, drawn: vector<u64>, echelons: vector<u64>, surcharge: u64, balance: u64, expires_ms: u64,
}
public(package) fun stack_acquired(
    stack: address, owner: address, task: u64, level: u8, request_key: vector<u8>, units: u64, max_price: u64,
    selection: u8, drawn: vector<u64>, echelons: vector<u64>, surcharge: u64, balance: u64, expires_ms: u64,
) {
    event::emit(StackAcquired {
        stack, owner, task, level, request_key, units, max_price, selection, drawn, echelons, surcharge, balance,
        expires_ms,
    })
}

/// `units` and `surcharge` more in all; `amount` is what was paid.
public struct StackToppedUp has copy, drop { stack: address, units: u64, surcharge: u64, amount: u64 }
public(package) fun stack_topped_up(stack: address, units: u64, surcharge: u64, amount: u64) {
    event::emit(StackToppedUp { stack, units, surcharge, amount })
}

public struct ChannelOpened has copy, drop {
    stack: address, node: u64, price: u64, echelon: u64, granted: u64, nonce: u64, by: address, open_fee: u64,
}
public(package) fun channel_opened(
    stack: address, node: u64, price: u64, echelon: u64, granted: u64, nonce: u64, by: address, open_fee: u64,
) {
    event::emit(ChannelOpened { stack, node, price, echelon, granted, nonce, by, open_fee })
}

/// By the owner. `price` 0 and nothing granted: the channel was not open and cannot be opened any more.
public struct ChannelRevoked has copy, drop { stack: address, node: u64, at_ms: u64 }
public(package) fun channel_revoked(stack: address, node: u64, at_ms: u64) {
    event::emit(ChannelRevoked { stack, node, at_ms })
}

/// By the node, or because it was convicted.
public struct ChannelReleased has copy, drop { stack: address, node: u64, at_ms: u64 }
public(package) fun channel_released(stack: address, node: u64, at_ms: u64) {
    event::emit(ChannelReleased { stack, node, at_ms })
}

/// What an ended channel did not use is free again.
public struct ChannelReclaimed has copy, drop { stack: address, node: u64, returned: u64 }
public(package) fun channel_reclaimed(stack: address, node: u64, returned: u64) {
    event::emit(ChannelReclaimed { stack, node, returned })
}

/// `paid` went to the node, `creator_fee` to the model's creator, `surcharge` to the treasury. Levels 0, 1.
public struct Settled has copy, drop {
    stack: address, node: u64, units: u64, count: u64, root: vector<u8>, paid: u64, creator_fee: u64,
    surcharge: u64,
}
public(package) fun settled(
    stack: address, node: u64, units: u64, count: u64, root: vector<u8>, paid: u64, creator_fee: u64,
    surcharge: u64,
) {
    event::emit(Settled { stack, node, units, count, root, paid, creator_fee, surcharge })
}

/// A dispute keeps `units` from now on.
public struct ReserveChanged has copy, drop { stack: address, dispute: address, node: u64, units: u64 }
public(package) fun reserve_changed(stack: address, dispute: address, node: u64, units: u64) {
    event::emit(ReserveChanged { stack, dispute, node, units })
}

public struct CloseRequested has copy, drop { stack: address, at_ms: u64 }
public(package) fun close_requested(stack: address, at_ms: u64) { event::emit(CloseRequested { stack, at_ms }) }

/// `credited` if somebody else than the owner called and the owner must withdraw.
public struct Refunded has copy, drop { stack: address, owner: address, amount: u64, credited: bool }
public(package) fun refunded(stack: address, owner: address, amount: u64, credited: bool) {
    event::emit(Refunded { stack, owner, amount, credited })
}

public struct Withdrawn has copy, drop { stack: address, to: address, amount: u64 }
public(package) fun withdrawn(stack: address, to: address, amount: u64) {
    event::emit(Withdrawn { stack, to, amount })
}

public struct Swept has copy, drop { stack: address, amount: u64 }
public(package) fun swept(stack: address, amount: u64) { event::emit(Swept { stack, amount }) }

public struct StackDeleted has copy, drop { stack: address }
public(package) fun stack_deleted(stack: address) { event::emit(StackDeleted { stack }) }

// Claims and audits.

public struct BeaconRound has copy, drop { round: u64, seed: vector<u8>, at_ms: u64 }
public(package) fun beacon_round(round: u64, seed: vector<u8>, at_ms: u64) {
    event::emit(BeaconRound { round, seed, at_ms })
}

public struct ClaimMade has copy, drop {
    target: address, node: u64, from_units: u64, to_units: u64, count: u64, root: vector<u8>, amount: u64,
    surcharge: u64, p_ppb: u64, round: u64,
}
public(package) fun claim_made(
    target: address, node: u64, from_units: u64, to_units: u64, count: u64, root: vector<u8>, amount: u64,
    surcharge: u64, p_ppb: u64, round: u64,
) {
    event::emit(ClaimMade { target, node, from_units, to_units, count, root, amount, surcharge, p_ppb, round })
}

public struct ClaimQueued has copy, drop { target: address, node: u64, units: u64, count: u64, root: vector<u8> }
public(package) fun claim_queued(target: address, node: u64, units: u64, count: u64, root: vector<u8>) {
    event::emit(ClaimQueued { target, node, units, count, root })
}

/// `fee` of the claim's money went to `resolver`, as a coin. `seats` are round 0's.
public struct AuditOpened has copy, drop {
    target: address, node: u64, offsets: vector<u64>, seats: vector<u64>, deadline_ms: u64, resolver: address,
    fee: u64,
}
public(package) fun audit_opened(
    target: address, node: u64, offsets: vector<u64>, seats: vector<u64>, deadline_ms: u64, resolver: address,
    fee: u64,
) {
    event::emit(AuditOpened { target, node, offsets, seats, deadline_ms, resolver, fee })
}

public struct ClaimHeld has copy, drop { target: address, node: u64, resolved_ms: u64 }
public(package) fun claim_held(target: address, node: u64, resolved_ms: u64) {
    event::emit(ClaimHeld { target, node, resolved_ms })
}

/// The claim's money left the escrow: `paid` to the node's payout, `creator_fee` to the creator,
/// `treasury` (the rest of its surcharge) to the treasury.
public struct ClaimPaid has copy, drop { target: address, node: u64, paid: u64, creator_fee: u64, treasury: u64 }
public(package) fun claim_paid(target: address, node: u64, paid: u64, creator_fee: u64, treasury: u64) {
    event::emit(ClaimPaid { target, node, paid, creator_fee, treasury })
}

/// Units count as settled; `amount` is escrow again: what was left of amount and surcharge.
public struct ClaimVoided has copy, drop { target: address, node: u64, amount: u64 }
public(package) fun claim_voided(target: address, node: u64, amount: u64) {
    event::emit(ClaimVoided { target, node, amount })
}

/// The queued voucher became nothing.
public struct QueueVoided has copy, drop { target: address, node: u64 }
public(package) fun queue_voided(target: address, node: u64) { event::emit(QueueVoided { target, node }) }

public struct ClaimChallenged has copy, drop {
    target: address, node: u64, leaf: vector<u8>, bond: u64, round: u64,
}
public(package) fun claim_challenged(target: address, node: u64, leaf: vector<u8>, bond: u64, round: u64) {
    event::emit(ClaimChallenged { target, node, leaf, bond, round })
}

/// Bond of a challenge: `returned` to the owner's dues, the rest to the node's.
public struct BondReleased has copy, drop { target: address, node: u64, returned: u64, to_node: u64 }
public(package) fun bond_released(target: address, node: u64, returned: u64, to_node: u64) {
    event::emit(BondReleased { target, node, returned, to_node })
}

public struct RecordRevealed has copy, drop {
    target: address, node: u64, round: u8, record: u64, bytes: vector<u8>, index: u64, location: vector<u8>,
    units: u64, total_units: u64,
}
public(package) fun record_revealed(
    target: address, node: u64, round: u8, record: u64, bytes: vector<u8>, index: u64, location: vector<u8>,
    units: u64, total_units: u64,
) {
    event::emit(RecordRevealed { target, node, round, record, bytes, index, location, units, total_units })
}

public struct RecordPart has copy, drop { target: address, node: u64, record: u64, part: vector<u8> }
public(package) fun record_part(target: address, node: u64, record: u64, part: vector<u8>) {
    event::emit(RecordPart { target, node, record, part })
}

/// Every record of this round is revealed: verifiers commit until `deadline_ms`.
public struct CommitsOpened has copy, drop { target: address, node: u64, round: u8, deadline_ms: u64 }
public(package) fun commits_opened(target: address, node: u64, round: u8, deadline_ms: u64) {
    event::emit(CommitsOpened { target, node, round, deadline_ms })
}

public struct VerdictCommitted has copy, drop {
    target: address, node: u64, round: u8, verifier: u64, commit: vector<u8>,
}
public(package) fun verdict_committed(target: address, node: u64, round: u8, verifier: u64, commit: vector<u8>) {
    event::emit(VerdictCommitted { target, node, round, verifier, commit })
}

/// Every seat committed: verdicts are revealed until `deadline_ms`.
public struct VerdictsOpened has copy, drop { target: address, node: u64, round: u8, deadline_ms: u64 }
public(package) fun verdicts_opened(target: address, node: u64, round: u8, deadline_ms: u64) {
    event::emit(VerdictsOpened { target, node, round, deadline_ms })
}

public struct VerdictRevealed has copy, drop {
    target: address, node: u64, round: u8, verifier: u64, verdicts: vector<u8>, digests: vector<u8>,
    salt: vector<u8>,
}
public(package) fun verdict_revealed(
    target: address, node: u64, round: u8, verifier: u64, verdicts: vector<u8>, digests: vector<u8>,
    salt: vector<u8>,
) {
    event::emit(VerdictRevealed { target, node, round, verifier, verdicts, digests, salt })
}

public struct SeatsReplaced has copy, drop {
    target: address, node: u64, round: u8, silent: vector<u64>, seated: vector<u64>, deadline_ms: u64,
}
public(package) fun seats_replaced(
    target: address, node: u64, round: u8, silent: vector<u64>, seated: vector<u64>, deadline_ms: u64,
) {
    event::emit(SeatsReplaced { target, node, round, silent, seated, deadline_ms })
}

public struct JurySeated has copy, drop { target: address, node: u64, jury: vector<u64>, deadline_ms: u64 }
public(package) fun jury_seated(target: address, node: u64, jury: vector<u64>, deadline_ms: u64) {
    event::emit(JurySeated { target, node, jury, deadline_ms })
}

/// The duty can still be done until `at_ms` + grace.
public struct MarkedLate has copy, drop { target: address, node: u64, at_ms: u64 }
public(package) fun marked_late(target: address, node: u64, at_ms: u64) {
    event::emit(MarkedLate { target, node, at_ms })
}

/// Credited to a verifier's payout from the claim's surcharge, amount or bond.
public struct VerifierPaid has copy, drop { target: address, node: u64, verifier: u64, to: address, amount: u64 }
public(package) fun verifier_paid(target: address, node: u64, verifier: u64, to: address, amount: u64) {
    event::emit(VerifierPaid { target, node, verifier, to, amount })
}

/// `outcome`: 0 passed, 1 convicted, 2 undecided, 3 void for want of verifiers, 4 not revealed, 5 failed in a
/// statistical task.
public struct AuditConcluded has copy, drop { target: address, node: u64, round: u8, outcome: u8 }
public(package) fun audit_concluded(target: address, node: u64, round: u8, outcome: u8) {
    event::emit(AuditConcluded { target, node, round, outcome })
}

public struct Convicted has copy, drop { target: address, node: u64, convictions: u64 }
public(package) fun convicted(target: address, node: u64, convictions: u64) {
    event::emit(Convicted { target, node, convictions })
}

// Disputes.

public struct DisputeOpened has copy, drop {
    dispute: address, stack: address, node: u64, opener: address, request_hash: vector<u8>, nonce: u64,
    body_hash: vector<u8>, max_units: u64, blob: vector<u8>, blob_object: address, bond: u64, deadline_ms: u64,
}
public(package) fun dispute_opened(
    dispute: address, stack: address, node: u64, opener: address, request_hash: vector<u8>, nonce: u64,
    body_hash: vector<u8>, max_units: u64, blob: vector<u8>, blob_object: address, bond: u64, deadline_ms: u64,
) {
    event::emit(DisputeOpened {
        dispute, stack, node, opener, request_hash, nonce, body_hash, max_units, blob, blob_object, bond, deadline_ms,
    })
}

/// `amount` left the stack's escrow: below level 2 paid at once, at level 2 moved into the dispute.
public struct DisputeAnswered has copy, drop {
    dispute: address, units: u64, response_hash: vector<u8>, blob: vector<u8>, amount: u64, paid: u64,
    creator_fee: u64, fee: u64,
}
public(package) fun dispute_answered(
    dispute: address, units: u64, response_hash: vector<u8>, blob: vector<u8>, amount: u64, paid: u64,
    creator_fee: u64, fee: u64,
) {
    event::emit(DisputeAnswered { dispute, units, response_hash, blob, amount, paid, creator_fee, fee })
}

public struct DisputeRefused has copy, drop { dispute: address, reason: u8, fee: u64 }
public(package) fun dispute_refused(dispute: address, reason: u8, fee: u64) {
    event::emit(DisputeRefused { dispute, reason, fee })
}

public struct DisputeAcknowledged has copy, drop { dispute: address, fee: u64 }
public(package) fun dispute_acknowledged(dispute: address, fee: u64) {
    event::emit(DisputeAcknowledged { dispute, fee })
}

public struct BodyDemanded has copy, drop { dispute: address, deadline_ms: u64 }
public(package) fun body_demanded(dispute: address, deadline_ms: u64) {
    event::emit(BodyDemanded { dispute, deadline_ms })
}

public struct BodyPart has copy, drop { dispute: address, offset: u64, part: vector<u8> }
public(package) fun body_part(dispute: address, offset: u64, part: vector<u8>) {
    event::emit(BodyPart { dispute, offset, part })
}

public struct BodyPosted has copy, drop { dispute: address, deadline_ms: u64 }
public(package) fun body_posted(dispute: address, deadline_ms: u64) {
    event::emit(BodyPosted { dispute, deadline_ms })
}

/// `duty`: 0 the answer, 1 the body.
public struct DisputeExpired has copy, drop { dispute: address, duty: u8 }
public(package) fun dispute_expired(dispute: address, duty: u8) { event::emit(DisputeExpired { dispute, duty }) }

/// What became of the bond.
public struct DisputeEnded has copy, drop { dispute: address, to_opener: u64, to_node: u64 }
public(package) fun dispute_ended(dispute: address, to_opener: u64, to_node: u64) {
    event::emit(DisputeEnded { dispute, to_opener, to_node })
}

public struct DisputeWithdrawn has copy, drop { dispute: address, to: address, amount: u64 }
public(package) fun dispute_withdrawn(dispute: address, to: address, amount: u64) {
    event::emit(DisputeWithdrawn { dispute, to, amount })
}

public struct DisputeDeleted has copy, drop { dispute: address }
public(package) fun dispute_deleted(dispute: address) { event::emit(DisputeDeleted { dispute }) }

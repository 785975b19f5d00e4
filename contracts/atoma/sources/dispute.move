/// Disputes over delivery: a signed request that was made available is answered, refused at a price, shown to have
/// been answered already, or costs the silent node.
///
/// A dispute keeps units of the channel's grant until it ends, and holds the opener's bond. Its units are counted apart
/// from the transcript. At level 2 an answer is a claim of one record inside the dispute, with the same audit, hold and
/// challenge as a channel's.
module atoma::dispute;

use atoma::beacon::Beacon;
use atoma::claim_audit;
use atoma::claim_state;
use atoma::db::{Self, AtomaDb};
use atoma::dispute_answer;
use atoma::dispute_state::{Self, DisputeState};
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::math;
use atoma_base::message;
use atoma::node::NodeBadge;
use atoma::stack::{Self, Stack};
use atoma_base::stored_blob::StoredBlob;
use sui::balance::Balance;
use sui::clock::Clock;
use sui::coin::Coin;
use walrus::blob::Blob;

/// One disputed request, shared.
public struct Dispute<phantom T> has key {
    id: UID,
    state: DisputeState,
    /// Bond, the claim's money and dues.
    balance: Balance<T>,
}

/// Asks the node on chain for the answer to a request that was made available on Walrus, and shares the dispute. By the
/// stack's owner; the arguments from `node` on are those of the `RequestAuth` beside its stack. Keeps `max_units` of
/// the channel's free grant. The coin pays the bond; the rest goes back to the sender. Aborts `EDisputeOver`,
/// `EAlreadyDisputed`, `EBadSignature`, `ETooManyDisputes`, `ENoFreeUnits`, `EBadBlob`, `EInsufficientPayment`.
public fun open<T>(
    db: &mut AtomaDb<T>,
    stack: &mut Stack<T>,
    blob: &Blob,
    mut coin: Coin<T>,
    node: u64,
    hops: u8,
    nonce: u64,
    body_hash: vector<u8>,
    max_units: u64,
    expires_ms: u64,
    signature: vector<u8>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let dispute = open_impl(
        db,
        stack,
        dispute_state::read(blob),
        &mut coin,
        node,
        hops,
        nonce,
        body_hash,
        max_units,
        expires_ms,
        signature,
        clock,
        ctx,
    );
    transfer::share_object(dispute);
    stack::return_change(coin, ctx)
}

/// `open` with what was read of Walrus in hand. Takes the bond out of the coin; nothing is shared.
public(package) fun open_impl<T>(
    db: &mut AtomaDb<T>,
    stack: &mut Stack<T>,
    blob: StoredBlob,
    coin: &mut Coin<T>,
    node: u64,
    hops: u8,
    nonce: u64,
    body_hash: vector<u8>,
    max_units: u64,
    expires_ms: u64,
    signature: vector<u8>,
    clock: &Clock,
    ctx: &mut TxContext,
): Dispute<T> {
    let (stack_id, now, paid) = (stack.addr(), clock.timestamp_ms(), coin.value());
    let state = stack.state_mut();
    let request =
        message::request_auth(state.db(), stack_id, node, hops, nonce, body_hash, max_units, expires_ms);
    let (draft, tail_ms) = dispute_state::opened(
        db,
        stack_id,
        state,
        &blob,
        paid,
        &request,
        &signature,
        now,
        ctx,
    );

    let balance = coin.balance_mut().split(draft.bond());
    let dispute = Dispute { id: object::new(ctx), state: draft, balance };
    dispute_state::register(db, state, dispute.addr(), &dispute.state, tail_ms);
    dispute
}

/// The node answered on Walrus, with this record as the first and only one of its transcript. By its badge. Below level
/// 2 the answer is credited at once; at level 2 its price moves into the dispute as a claim. The opener's bond pays the
/// answer fee. Aborts `EWrongState`, `EBadRecord`, `EOverClaimed`, `EBadBlob`, `EConvicted`.
public fun answer_served<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    stack: &mut Stack<T>,
    dispute: &mut Dispute<T>,
    badge: &NodeBadge,
    blob: &Blob,
    record: vector<u8>,
    clock: &Clock,
) {
    check_open(db, stack, dispute, badge);
    let (id, now) = (dispute.addr(), clock.timestamp_ms());
    let state = stack.state_mut();
    let blob = dispute_state::read(blob);
    let amount = dispute_answer::served(db, beacon, state, id, &mut dispute.state, &blob, record, now);
    dispute.put(stack.take(amount))
}

/// The node declines, by its badge: the opener has the bond back, the treasury the answer fee out of the coin, whose
/// rest goes back to the sender; the node loses a point of reputation, once an epoch. Neither fee nor point if its queue
/// was full. Aborts `EWrongState`, `EInsufficientPayment`.
public fun answer_refused<T>(
    db: &mut AtomaDb<T>,
    stack: &mut Stack<T>,
    dispute: &mut Dispute<T>,
    badge: &NodeBadge,
    mut coin: Coin<T>,
    reason: u8,
    ctx: &TxContext,
) {
    check_open(db, stack, dispute, badge);
    let (id, paid) = (dispute.addr(), coin.value());
    let fee = dispute_answer::refused(db, stack.state_mut(), id, &mut dispute.state, paid, reason, ctx);
    db.join_pool(coin.balance_mut().split(fee));
    stack::return_change(coin, ctx)
}

/// The node shows a voucher that the user signed for it, or for the `node` that it passed the request on to, and the
/// record of this request under its root. By its badge. The bond pays the answer fee. Aborts `EWrongState`, `EBadSignature`, `EBadRecord`, `EBadProof`.
public fun show_acknowledged<T>(
    db: &mut AtomaDb<T>,
    stack: &mut Stack<T>,
    dispute: &mut Dispute<T>,
    badge: &NodeBadge,
    node: u64,
    units: u64,
    count: u64,
    root: vector<u8>,
    signature: vector<u8>,
    record: vector<u8>,
    index: u64,
    proof: vector<vector<u8>>,
) {
    check_open(db, stack, dispute, badge);
    let (id, state) = (dispute.addr(), stack.state_mut());
    let dispute = &mut dispute.state;
    dispute_answer::acknowledged(db, state, id, dispute, node, units, count, root, &signature, record, index, &proof)
}

/// The opener must post the body on chain in `body_window_ms`, else the bond is the node's. By the node's badge, once.
/// Aborts `EWrongDb`, `EWrongState`, `EAlreadyDone`.
public fun demand_body<T>(db: &AtomaDb<T>, dispute: &mut Dispute<T>, badge: &NodeBadge, clock: &Clock) {
    dispute_state::check_db(db, &dispute.state);
    dispute.state.check_badge(badge.badge_db(), badge.badge_id());
    dispute_state::demand_body(dispute.addr(), &mut dispute.state, clock.timestamp_ms())
}

/// Posts a part of the demanded body, by the opener; what was posted from `offset` on is replaced. The last one must
/// complete what the request signed, else `EBadBody`; then the node has the answer's window again. Aborts
/// `EWrongState`, `EBadArgument`.
public fun post_body<T>(
    dispute: &mut Dispute<T>,
    offset: u64,
    part: vector<u8>,
    is_last: bool,
    clock: &Clock,
    ctx: &TxContext,
) {
    dispute.state.check_version();
    dispute_state::post_body(dispute.addr(), &mut dispute.state, offset, part, is_last, clock.timestamp_ms(), ctx)
}

/// Notes that the deadline of the answer, or of the body, has passed. By anyone; the duty can still be done for the
/// grace. Aborts `EWrongState`, `EAlreadyDone`, `ENotLate`.
public fun mark_late<T>(dispute: &mut Dispute<T>, clock: &Clock) {
    dispute.state.check_version();
    dispute_state::mark_late(dispute.addr(), &mut dispute.state, clock.timestamp_ms())
}

/// The effect of a duty marked late, `grace_ms` later: without a body the bond is the node's; without an answer it is
/// the opener's, the node is slashed and the opener compensated. By anyone. Aborts `EWrongState`, `ENotLate`.
public fun expire<T>(
    db: &mut AtomaDb<T>,
    stack: &mut Stack<T>,
    dispute: &mut Dispute<T>,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (stack_id, id, now) = (stack.addr(), dispute.addr(), clock.timestamp_ms());
    dispute_state::check_case(db, stack_id, stack.state(), &dispute.state);
    dispute_state::expire(db, stack.state_mut(), id, &mut dispute.state, now, ctx)
}

/// Moves a dispute to the database's version. By anyone: at an older version no duty of it could be done.
public fun migrate<T>(db: &AtomaDb<T>, dispute: &mut Dispute<T>) {
    db.check_version();
    db.check_db(dispute.state.db());
    let version = db::newer(dispute.state.version());
    dispute.state.set_version(version);
    events::migrated(dispute.addr(), version);
}

/// Pays what the sender is due, at any version, else `ENothingDue`. Deletes a dispute that is over and empty.
#[allow(lint(share_owned))]
public fun withdraw<T>(mut dispute: Dispute<T>, ctx: &mut TxContext) {
    let is_over = dispute.pay_due(ctx);
    dispute.put_back(is_over)
}

/// Pays the sender what it is due; says whether the dispute can be deleted.
public(package) fun pay_due<T>(dispute: &mut Dispute<T>, ctx: &mut TxContext): bool {
    let (id, to) = (dispute.addr(), ctx.sender());
    let amount = dispute.state.due_of(to);
    let is_over = dispute.state.is_ended() && dispute.balance.value() == amount;
    require(is_over || amount > 0, errors::nothing_due!());

    dispute.state.clear_due(to);
    dispute.pay(amount, ctx);
    if (amount > 0) events::dispute_withdrawn(id, to, amount);
    if (is_over) events::dispute_deleted(id);
    is_over
}

// The claim of an answer at level 2.

/// See `claim::resolve_pay`.
public fun resolve_pay<T>(db: &AtomaDb<T>, beacon: &Beacon, dispute: &mut Dispute<T>, clock: &Clock) {
    let (id, state) = (dispute.addr(), &mut dispute.state);
    dispute_state::check_claim(db, beacon, state);
    let terms = dispute_state::terms(id, state);
    claim_state::resolve_pay(beacon, &terms, state.claim_mut(), clock.timestamp_ms())
}

/// See `claim::resolve_audit`.
public fun resolve_audit<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    dispute: &mut Dispute<T>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let (id, state) = (dispute.addr(), &mut dispute.state);
    dispute_state::check_claim(db, beacon, state);
    let terms = dispute_state::terms(id, state);
    let step = claim_audit::open(db, beacon, &terms, state.claim_mut(), clock.timestamp_ms(), ctx);
    dispute_state::finish(id, state, &step);
    dispute.pay(step.to_caller(), ctx)
}

/// See `claim::challenge_record`; by the opener.
public fun challenge_record<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    dispute: &mut Dispute<T>,
    mut coin: Coin<T>,
    record: vector<u8>,
    index: u64,
    proof: vector<vector<u8>>,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, state, now) = (dispute.addr(), &mut dispute.state, clock.timestamp_ms());
    dispute_state::check_claim(db, beacon, state);
    require(ctx.sender() == state.opener(), errors::not_authorized!());
    let terms = dispute_state::terms(id, state);
    let claim = state.claim_mut();
    let bond = claim_state::challenge(db, beacon, &terms, claim, record, index, &proof, coin.value(), now);
    dispute.put(coin.balance_mut().split(bond));
    stack::return_change(coin, ctx)
}

/// Pays the claim after its hold, or returns it to the opener if the node was convicted since. By anyone. Credits;
/// moves no coin. Aborts `ENoClaim`, `ETooEarly`.
public fun release_claim<T>(db: &AtomaDb<T>, dispute: &mut Dispute<T>, clock: &Clock) {
    let (id, state) = (dispute.addr(), &mut dispute.state);
    dispute_state::check_db(db, state);
    dispute_state::release(db, id, state, clock.timestamp_ms())
}

/// See `audit::reveal_record`.
public fun reveal_record<T>(
    dispute: &mut Dispute<T>,
    badge: &NodeBadge,
    which: u64,
    record: vector<u8>,
    index: u64,
    proof: vector<vector<u8>>,
    location: vector<u8>,
    clock: &Clock,
) {
    let (id, state, now) = (dispute.addr(), &mut dispute.state, clock.timestamp_ms());
    state.check_version();
    state.check_badge(badge.badge_db(), badge.badge_id());
    let terms = dispute_state::terms(id, state);
    state.claim_mut().reveal_record(&terms, which, record, index, &proof, location, now)
}

/// See `audit::post_record_part`.
public fun post_record_part<T>(dispute: &Dispute<T>, badge: &NodeBadge, which: u64, part: vector<u8>) {
    let state = &dispute.state;
    state.check_version();
    state.check_badge(badge.badge_db(), badge.badge_id());
    let terms = dispute_state::terms(dispute.addr(), state);
    state.claim().running().post_part(&terms, which, part)
}

/// See `audit::commit_verdict`.
public fun commit_verdict<T>(dispute: &mut Dispute<T>, badge: &NodeBadge, hash: vector<u8>, clock: &Clock) {
    let (id, state) = (dispute.addr(), &mut dispute.state);
    state.check_version();
    require(badge.badge_db() == state.db(), errors::wrong_db!());
    let terms = dispute_state::terms(id, state);
    state.claim_mut().running_mut().commit_verdict(&terms, badge.badge_id(), hash, clock.timestamp_ms())
}

/// See `audit::reveal_verdict`.
public fun reveal_verdict<T>(
    db: &mut AtomaDb<T>,
    dispute: &mut Dispute<T>,
    badge: &NodeBadge,
    verdicts: vector<u8>,
    digests: vector<u8>,
    salt: vector<u8>,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, state, now) = (dispute.addr(), &mut dispute.state, clock.timestamp_ms());
    dispute_state::check_db(db, state);
    require(badge.badge_db() == state.db(), errors::wrong_db!());
    let terms = dispute_state::terms(id, state);
    let verifier = badge.badge_id();
    let step = claim_audit::reveal_verdict(db, &terms, state.claim_mut(), verifier, verdicts, digests, salt, now, ctx);
    dispute_state::finish(id, state, &step);
    db.join_pool(dispute.take(step.to_pool()))
}

/// See `audit::mark_late`.
public fun mark_audit_late<T>(dispute: &mut Dispute<T>, clock: &Clock) {
    let (id, state) = (dispute.addr(), &mut dispute.state);
    state.check_version();
    let terms = dispute_state::terms(id, state);
    state.claim_mut().running_mut().mark_late(&terms, clock.timestamp_ms())
}

/// See `audit::expire`.
public fun expire_audit<T>(db: &mut AtomaDb<T>, dispute: &mut Dispute<T>, clock: &Clock, ctx: &TxContext) {
    let (id, state) = (dispute.addr(), &mut dispute.state);
    dispute_state::check_db(db, state);
    let terms = dispute_state::terms(id, state);
    let step = claim_audit::expire(db, &terms, state.claim_mut(), clock.timestamp_ms(), ctx);
    dispute_state::finish(id, state, &step);
    db.join_pool(dispute.take(step.to_pool()))
}

public(package) fun addr<T>(self: &Dispute<T>): address { self.id.to_address() }

fun check_open<T>(db: &AtomaDb<T>, stack: &Stack<T>, dispute: &Dispute<T>, badge: &NodeBadge) {
    let (badge_db, node) = (badge.badge_db(), badge.badge_id());
    dispute_state::check_duty(db, stack.addr(), stack.state(), &dispute.state, badge_db, node)
}

fun put<T>(self: &mut Dispute<T>, balance: Balance<T>) {
    math::add(self.balance.value(), balance.value());
    self.balance.join(balance);
}

/// Pays the sender.
fun pay<T>(self: &mut Dispute<T>, amount: u64, ctx: &mut TxContext) {
    if (amount > 0) transfer::public_transfer(self.take(amount).into_coin(ctx), ctx.sender())
}

fun take<T>(self: &mut Dispute<T>, amount: u64): Balance<T> {
    math::sub(self.balance.value(), amount);
    self.balance.split(amount)
}

#[allow(lint(share_owned))]
fun put_back<T>(self: Dispute<T>, is_over: bool) {
    if (is_over) {
        let Dispute { id, state: _, balance } = self;
        balance.destroy_zero();
        id.delete();
    } else {
        transfer::share_object(self);
    }
}

#[test_only]
public fun set_version_for_testing<T>(self: &mut Dispute<T>, version: u64) {
    self.state.set_version(version)
}

#[test_only]
public fun balance<T>(self: &Dispute<T>): u64 { self.balance.value() }

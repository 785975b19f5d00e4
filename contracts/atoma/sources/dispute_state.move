/// What a dispute stores beside its id and its coins, and all steps on it. `dispute` has the object and the entry points.
module atoma::dispute_state;

use atoma::beacon::Beacon;
use atoma::claim_state::{Self, Claim};
use atoma::db::{Self, AtomaDb};
use atoma::draw;
use atoma_base::dues::{Self, Due};
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma_base::message::{Self, Record, RequestAuth};
use atoma::node;
use atoma_base::params::{Self, Params, Step, Terms};
use atoma_base::rows::Node;
use atoma::stack_state::{Channel, StackState};
use atoma_base::stored_blob::{Self, StoredBlob};
use std::bcs;
use sui::hash;
use walrus::blob::Blob;

/// A request that the user made available and asks the chain to see answered.
public struct DisputeState has copy, drop, store {
    version: u64,
    db: address,
    stack: address,
    node: u64,
    /// As the channel's.
    payout: address,
    opener: address,
    request_hash: vector<u8>,
    nonce: u64,
    body_hash: vector<u8>,
    max_units: u64,
    /// Walrus id of the blob that holds the request, and the object that certifies it.
    blob: vector<u8>,
    blob_object: address,
    /// Walrus epoch in which the request's blob was certified: blobs must stay for two from there on.
    walrus_epoch: u32,
    opened_ms: u64,
    deadline_ms: u64,
    /// The node's queue was full when it was opened: refusing costs nothing.
    is_overflow: bool,
    /// When the duty was marked late; 0 if it was not.
    late_ms: u64,
    state: u8,
    /// Parts of the body as far as posted; dropped when complete.
    body_bytes: vector<u8>,
    /// Bodies are demanded once.
    body_demanded: bool,
    task: u64,
    level: u8,
    exact: bool,
    echelons: vector<u64>,
    price: u64,
    creator: address,
    creator_fee_permille: u64,
    /// As the stack's.
    params: Params,
    /// The answer as a claim of one record (level 2).
    claim: Option<Claim>,
    dues: vector<Due>,
    bond: u64,
}

// What a dispute waits for.

/// The node's answer.
const OPEN: u8 = 0;
/// The opener's body.
const BODY_DEMANDED: u8 = 1;
/// Answered; at level 2 the answer is a claim.
const ANSWERED: u8 = 2;
/// Nothing more but withdrawals.
const ENDED: u8 = 3;

/// A dispute with the stack's terms.
public(package) fun new(
    stack: address,
    state: &StackState,
    channel: &Channel,
    request_hash: vector<u8>,
    nonce: u64,
    body_hash: vector<u8>,
    max_units: u64,
    blob: &StoredBlob,
    walrus_epoch: u32,
    opened_ms: u64,
    deadline_ms: u64,
    is_overflow: bool,
): DisputeState {
    let params = *state.params();
    DisputeState {
        version: db::package_version!(),
        db: state.db(),
        stack,
        node: channel.node(),
        payout: channel.payout(),
        opener: state.owner(),
        request_hash,
        nonce,
        body_hash,
        max_units,
        blob: *blob.blob_id(),
        blob_object: blob.object(),
        walrus_epoch,
        opened_ms,
        deadline_ms,
        is_overflow,
        late_ms: 0,
        state: OPEN,
        body_bytes: vector[],
        body_demanded: false,
        task: state.task(),
        level: state.level(),
        exact: state.exact(),
        echelons: *state.echelons(),
        price: channel.price(),
        creator: state.creator(),
        creator_fee_permille: state.creator_fee_permille(),
        params,
        claim: option::none(),
        dues: vector[],
        bond: params.bond(),
    }
}

// Checks.

public(package) fun check_version(self: &DisputeState) { db::check_package_version(self.version) }

/// By the node that must answer.
public(package) fun check_badge(self: &DisputeState, badge_db: address, node: u64) {
    require(badge_db == self.db, errors::wrong_db!());
    require(node == self.node, errors::not_authorized!());
}

/// It waits for the node or for the body, else `EWrongState`.
public(package) fun check_waiting(self: &DisputeState) { require(self.state <= BODY_DEMANDED, errors::wrong_state!()) }

public(package) fun check_open(self: &DisputeState) { require(self.state == OPEN, errors::wrong_state!()) }

public(package) fun check_body_demanded(self: &DisputeState) {
    require(self.state == BODY_DEMANDED, errors::wrong_state!())
}

// Changes.

/// The node's answer is due by then.
public(package) fun await_answer(self: &mut DisputeState, deadline_ms: u64) {
    self.body_bytes = vector[];
    self.state = OPEN;
    self.deadline_ms = deadline_ms;
    self.late_ms = 0;
}

/// The opener's body is due by then.
public(package) fun await_body(self: &mut DisputeState, deadline_ms: u64) {
    self.state = BODY_DEMANDED;
    self.body_demanded = true;
    self.deadline_ms = deadline_ms;
    self.late_ms = 0;
}

/// The duty to answer is over. With a claim it goes on.
public(package) fun close(self: &mut DisputeState) {
    self.bond = 0;
    self.state = if (self.claim.is_some()) ANSWERED else ENDED;
    self.body_bytes = vector[];
}

public(package) fun set_claim(self: &mut DisputeState, claim: Claim) { self.claim = option::some(claim) }

/// The claim is over, and with it the dispute.
public(package) fun end_claim(self: &mut DisputeState) {
    self.claim = option::none();
    self.state = ENDED;
}

// Money.

public(package) fun credit(self: &mut DisputeState, to: address, amount: u64) {
    dues::credit(&mut self.dues, to, amount)
}

public(package) fun due_of(self: &DisputeState, to: address): u64 { dues::of(&self.dues, to) }

public(package) fun clear_due(self: &mut DisputeState, to: address) { dues::clear(&mut self.dues, to) }

/// What an answered request costs its opener: the fee, as far as the bond has it.
public(package) fun answer_fee(self: &DisputeState): u64 { self.params.answer_fee().min(self.bond) }

// Fields.

public(package) fun db(self: &DisputeState): address { self.db }

public(package) fun stack(self: &DisputeState): address { self.stack }

public(package) fun opener(self: &DisputeState): address { self.opener }

public(package) fun node(self: &DisputeState): u64 { self.node }

public(package) fun payout(self: &DisputeState): address { self.payout }

public(package) fun level(self: &DisputeState): u8 { self.level }

/// The node's queue was full when it was opened: refusing costs nothing.
public(package) fun is_overflow(self: &DisputeState): bool { self.is_overflow }

/// What refusing costs the node.
public(package) fun refusal_fee(self: &DisputeState): u64 { if (self.is_overflow) 0 else self.params.answer_fee() }

public(package) fun request_hash(self: &DisputeState): &vector<u8> { &self.request_hash }

public(package) fun is_body_demanded(self: &DisputeState): bool { self.state == BODY_DEMANDED }

public(package) fun is_ended(self: &DisputeState): bool { self.state == ENDED }

/// The answer's claim, else `ENoClaim`.
public(package) fun claim(self: &DisputeState): &Claim {
    require(self.claim.is_some(), errors::no_claim!());
    self.claim.borrow()
}

public(package) fun claim_mut(self: &mut DisputeState): &mut Claim {
    require(self.claim.is_some(), errors::no_claim!());
    self.claim.borrow_mut()
}

public(package) fun bond(self: &DisputeState): u64 { self.bond }

public(package) fun version(self: &DisputeState): u64 { self.version }

public(package) fun set_version(self: &mut DisputeState, version: u64) { self.version = version }

/// What the contract asks of a blob is `stored_blob`'s; that it is Walrus's own `Blob` and not another package's, its
/// type says.
public(package) fun read(blob: &Blob): StoredBlob {
    stored_blob::new(
        object::id_address(blob),
        bcs::to_bytes(&blob.blob_id()),
        blob.size(),
        blob.encoding_type(),
        *blob.certified_epoch(),
        blob.end_epoch(),
        blob.is_deletable(),
    )
}

// Opening a dispute, and closing the duty to answer.

/// Disputes open at a time, and ever, in one stack.
const OPEN_MAX: u64 = 4;
const DISPUTES_MAX: u64 = 64;
/// The longest life of a `RequestAuth`.
const AUTH_LIFE_MAX_MS: u64 = 600_000;

/// The dispute that may be opened over this request of the stack, and when the node will have answered every dispute.
/// `paid` is what the opener's coin is worth.
public(package) fun opened<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &StackState,
    blob: &StoredBlob,
    paid: u64,
    request: &RequestAuth,
    signature: &vector<u8>,
    clock_ms: u64,
    ctx: &TxContext,
): (DisputeState, u64) {
    db.check_version();
    state.check(db);
    require(ctx.sender() == state.owner(), errors::not_authorized!());
    limits::check_hash(request.body_hash());
    let channel = state.channel(request.node());
    let node = db.node(request.node());
    check_window(state, channel, node, request, clock_ms);
    let request_hash = check_request(state, request, signature);
    check_room(state, channel, request);
    let cost = math::cost(request.max_units(), channel.price());
    let is_covered = draw::is_covered(state.params(), state.exact(), cost, node.collateral());
    require(state.level() != 2 || is_covered, errors::claim_too_large!());
    let walrus_epoch = blob.epoch();
    blob.check(walrus_epoch);
    let params = state.params();
    require(paid >= params.bond(), errors::insufficient_payment!());
    let (tail_ms, is_full) = queue(params, node, clock_ms);
    let deadline_ms = math::add(tail_ms, params.answer_window_ms());
    let dispute = new(
        stack,
        state,
        channel,
        request_hash,
        request.nonce(),
        *request.body_hash(),
        request.max_units(),
        blob,
        walrus_epoch,
        clock_ms,
        deadline_ms,
        is_full,
    );
    (dispute, tail_ms)
}

/// Keeps the units, and counts the dispute with its node and stack.
public(package) fun register<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &DisputeState,
    tail_ms: u64,
) {
    state.disputed_mut().open(id, dispute.node, dispute.max_units, dispute.nonce);
    let node = db.node_mut(dispute.node);
    let open_disputes = math::add(node.open_disputes(), 1);
    node.set_open_disputes(open_disputes);
    node.set_queue_tail_ms(tail_ms);
    events::dispute_opened(
        id,
        dispute.stack,
        dispute.node,
        dispute.opener,
        dispute.request_hash,
        dispute.nonce,
        dispute.body_hash,
        dispute.max_units,
        dispute.blob,
        dispute.blob_object,
        dispute.bond,
        dispute.deadline_ms,
    );
}

/// Credits the bond and ends the duty to answer: the stack gets its reserve back, the node one dispute less. With a
/// claim the dispute goes on.
public(package) fun end_duty<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    to_opener: u64,
    to_node: u64,
) {
    let payout = dispute.payout;
    let opener = dispute.opener;
    dispute.credit(opener, to_opener);
    dispute.credit(payout, to_node);
    state.disputed_mut().end(id);
    let node = db.node_mut(dispute.node);
    let open_disputes = math::sub(node.open_disputes(), 1);
    node.set_open_disputes(open_disputes);
    dispute.close();
    events::dispute_ended(id, to_opener, to_node);
}

/// A request can be disputed until `dispute_window_ms` after it expired, and after the channel, the node or the stack
/// ended.
fun check_window(state: &StackState, channel: &Channel, node: &Node, request: &RequestAuth, clock_ms: u64) {
    let latest_ms = math::add(clock_ms, AUTH_LIFE_MAX_MS);
    let is_bounded = request.expires_ms() <= latest_ms && request.expires_ms() <= state.expires_ms();
    require(is_bounded, errors::bad_argument!());
    let until_ms = request.expires_ms().min(state.channel_end_ms(channel, node));
    let until_ms = math::add(until_ms, state.params().dispute_window_ms());
    require(clock_ms <= until_ms, errors::dispute_over!());
}

/// The user signed it for this node, and it was not disputed before. Returns its hash.
fun check_request(state: &StackState, request: &RequestAuth, signature: &vector<u8>): vector<u8> {
    require(request.hops() <= 1, errors::bad_argument!());
    require(!state.disputed().has_nonce(request.nonce()), errors::already_disputed!());
    let bytes = message::request_auth_bytes(request);
    require(message::verifies(&bytes, signature, state.request_key()), errors::bad_signature!());
    hash::blake2b256(&bytes)
}

/// There is room for one more, in disputes and in units.
fun check_room(state: &StackState, channel: &Channel, request: &RequestAuth) {
    require(state.disputed().opened() < OPEN_MAX, errors::too_many_disputes!());
    require(state.disputed().ever() < DISPUTES_MAX, errors::too_many_disputes!());
    require(request.max_units() > 0, errors::bad_argument!());
    require(request.max_units() <= state.free(channel), errors::no_free_units!());
}

/// When the node will have answered this dispute, too, and whether its queue is full. The dispute queues behind the
/// node's others, at the node's declared rate, by at most `queue_max_ms`: a node cannot put off everybody by disputing
/// itself. One that is opened when the queue is full the node may refuse for nothing: nobody earns from refusals, or
/// slashes, by flooding it.
fun queue(params: &Params, node: &Node, clock_ms: u64): (u64, bool) {
    let interval_ms = node.answer_interval_ms().min(params.answer_interval_max_ms());
    let wanted_ms = math::add(node.queue_tail_ms().max(clock_ms), interval_ms);
    let latest_ms = math::add(clock_ms, params.queue_max_ms());
    (wanted_ms.min(latest_ms), wanted_ms > latest_ms)
}

// Whom a dispute waits for, and what answers it. The answers are `dispute_answer`'s.

/// Both are of this version, and the dispute is the stack's, else `EWrongDispute`.
public(package) fun check_case<T>(db: &AtomaDb<T>, stack: address, state: &StackState, dispute: &DisputeState) {
    db.check_version();
    state.check(db);
    dispute.check_version();
    require(dispute.stack == stack, errors::wrong_dispute!());
}

/// The dispute waits for this node.
public(package) fun check_duty<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &StackState,
    dispute: &DisputeState,
    badge_db: address,
    node: u64,
) {
    check_case(db, stack, state, dispute);
    dispute.check_badge(badge_db, node);
    dispute.check_waiting();
}

/// The record answers this request with no more than it may cost, and is stored long enough.
public(package) fun check_answer(dispute: &DisputeState, blob: &StoredBlob, bytes: vector<u8>): Record {
    let record = message::decode(bytes);
    let units = record.units();
    require(record.request_hash() == dispute.request_hash(), errors::bad_record!());
    // What cannot be served is refused: an answer earns the fee.
    require(record.is_billable(), errors::bad_record!());
    // Without units there would be nothing to audit.
    require(dispute.level != 2 || units > 0, errors::bad_record!());
    require(record.count() == 1 && record.total_units() == units, errors::bad_record!());
    require(units <= dispute.max_units, errors::over_claimed!());
    blob.check(dispute.walrus_epoch);
    record
}

// The claim that an answer is at level 2: what becomes of it and of its money. The same functions as on a channel's
// claim; entry points in `dispute`.

public(package) fun check_claim<T>(db: &AtomaDb<T>, beacon: &Beacon, dispute: &DisputeState) {
    check_db(db, dispute);
    beacon.check(db);
}

/// Both are of this version, and the dispute is of this database.
public(package) fun check_db<T>(db: &AtomaDb<T>, dispute: &DisputeState) {
    db.check_version();
    dispute.check_version();
    db.check_db(dispute.db);
}

public(package) fun terms(id: address, dispute: &DisputeState): Terms {
    params::new_terms(
        id,
        dispute.opener,
        dispute.node,
        dispute.payout,
        dispute.task,
        dispute.exact,
        dispute.price,
        dispute.echelons,
        dispute.params,
    )
}

/// Applies a step to the dispute: credits, and the claim's end if it ended. The caller's coin is the entry point's.
public(package) fun finish(id: address, dispute: &mut DisputeState, step: &Step) {
    let (to, amounts) = step.credits();
    to.length().do!(|i| dispute.credit(to[i], amounts[i]));
    if (step.is_over()) void(id, dispute);
}

/// Pays the claim after its hold, or returns it to the opener if the node was convicted since.
public(package) fun release<T>(db: &AtomaDb<T>, id: address, dispute: &mut DisputeState, clock_ms: u64) {
    let terms = terms(id, dispute);
    let claim: Claim = *dispute.claim();
    if (!claim_state::check_release(db, &terms, &claim, clock_ms)) return void(id, dispute);
    let creator_fee = math::share(claim.amount(), dispute.creator_fee_permille);
    let (to_node, to_creator, fee_left) = claim_state::parts(&claim, creator_fee);
    // What audits left of the answer fee is the node's.
    let to_node = math::add(to_node, fee_left);
    let (node, creator) = (dispute.node, dispute.creator);
    let payout = dispute.payout;
    dispute.credit(payout, to_node);
    dispute.credit(creator, to_creator);

    dispute.end_claim();
    events::claim_paid(id, node, to_node, to_creator, 0);
}

/// What is left of the claim is the opener's.
fun void(id: address, dispute: &mut DisputeState) {
    let (amount, opener) = (dispute.claim().money(), dispute.opener);
    dispute.credit(opener, amount);
    dispute.end_claim();
    events::claim_voided(id, dispute.node, amount);
}

// The duties of a dispute: the body, which the opener posts on chain once if the node cannot read the request's blob,
// and what becomes of a duty that is not done.

// `duty` of `DisputeExpired`.

const ANSWER: u8 = 0;
const BODY: u8 = 1;

/// The opener must post the body in `body_window_ms`, else the bond is the node's. Once: it restarts the answer's
/// clock.
public(package) fun demand_body(id: address, dispute: &mut DisputeState, clock_ms: u64) {
    dispute.check_open();
    require(!dispute.body_demanded, errors::already_done!());
    let deadline_ms = math::add(clock_ms, dispute.params.body_window_ms());

    dispute.await_body(deadline_ms);
    events::body_demanded(id, deadline_ms);
}

/// Posts a part of the demanded body; what was posted from `offset` on is replaced. The last one must complete what
/// the request signed; then the node has the answer's window again.
public(package) fun post_body(
    id: address,
    dispute: &mut DisputeState,
    offset: u64,
    part: vector<u8>,
    is_last: bool,
    clock_ms: u64,
    ctx: &TxContext,
) {
    require(ctx.sender() == dispute.opener, errors::not_authorized!());
    dispute.check_body_demanded();
    require(part.length() <= limits::part_bytes_max!(), errors::bad_argument!());
    require(offset <= dispute.body_bytes.length(), errors::bad_argument!());
    let mut body = dispute.body_bytes;
    while (body.length() > offset) { body.pop_back(); };
    body.append(part);
    require(body.length() <= limits::body_bytes_max!(), errors::bad_argument!());
    require(!is_last || &hash::blake2b256(&body) == &dispute.body_hash, errors::bad_body!());
    let deadline_ms = math::add(clock_ms, dispute.params.answer_window_ms());

    events::body_part(id, offset, part);
    if (!is_last) {
        dispute.body_bytes = body;
        return
    };
    // Whoever needs the body reads it from the events.
    dispute.await_answer(deadline_ms);
    events::body_posted(id, deadline_ms);
}

/// Notes that the deadline of the answer, or of the body, has passed.
public(package) fun mark_late(id: address, dispute: &mut DisputeState, clock_ms: u64) {
    dispute.check_waiting();
    require(dispute.late_ms == 0, errors::already_done!());
    require(clock_ms > dispute.deadline_ms, errors::not_late!());

    dispute.late_ms = clock_ms;
    events::marked_late(id, dispute.node, clock_ms);
}

/// The effect: who posts no body loses the bond to the node, who does not answer is slashed and the opener has the
/// bond back and compensation.
public(package) fun expire<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    clock_ms: u64,
    ctx: &TxContext,
) {
    dispute.check_waiting();
    dispute.params.check_expired(dispute.late_ms, clock_ms);
    let bond = dispute.bond;
    if (dispute.is_body_demanded()) {
        events::dispute_expired(id, BODY);
        end_duty(db, state, id, dispute, 0, bond);
        return
    };
    let cost = math::cost(dispute.max_units, dispute.price);

    events::dispute_expired(id, ANSWER);
    end_duty(db, state, id, dispute, bond, 0);
    node::timeout(db, dispute.node, &dispute.params, cost, dispute.opener, clock_ms, ctx);
}

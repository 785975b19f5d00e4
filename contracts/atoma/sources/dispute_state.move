/// What a dispute stores beside its id and its coins. Data alone; the modules `dispute_*` have the rules, `dispute` has
/// the object and the entry points.
module atoma::dispute_state;

use atoma::claim_state::Claim;
use atoma::db;
use atoma::errors;
use atoma::params::Params;
use atoma::stack_state::{Self, Channel, Due, StackState};
use atoma::stored_blob::StoredBlob;

/// A request that the user made available and asks the chain to see answered.
public struct DisputeState has copy, drop, store {
    version: u64,
    db: address,
    stack: address,
    node: u64,
    opener: address,
    request_hash: vector<u8>,
    nonce: u64,
    body_hash: vector<u8>,
    max_units: u64,
    /// Walrus id of the blob that holds the request, and the object that certifies it.
    blob: vector<u8>,
    blob_object: address,
    /// Walrus epoch when opened: blobs must stay for two from there on.
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
        version: db::package_version(),
        db: state.db(),
        stack,
        node: channel.node(),
        opener: state.owner(),
        request_hash,
        nonce,
        body_hash,
        max_units,
        blob: blob.blob_id(),
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
    assert!(badge_db == self.db, errors::wrong_db());
    assert!(node == self.node, errors::not_authorized());
}

/// It waits for the node or for the body, else `EWrongState`.
public(package) fun check_waiting(self: &DisputeState) { assert!(self.state <= BODY_DEMANDED, errors::wrong_state()) }

public(package) fun check_open(self: &DisputeState) { assert!(self.state == OPEN, errors::wrong_state()) }

public(package) fun check_body_demanded(self: &DisputeState) {
    assert!(self.state == BODY_DEMANDED, errors::wrong_state())
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

public(package) fun set_body_bytes(self: &mut DisputeState, bytes: vector<u8>) { self.body_bytes = bytes }

public(package) fun set_late_ms(self: &mut DisputeState, late_ms: u64) { self.late_ms = late_ms }

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
    stack_state::credit_in(&mut self.dues, to, amount)
}

public(package) fun due_of(self: &DisputeState, to: address): u64 { stack_state::due_in(&self.dues, to) }

public(package) fun clear_due(self: &mut DisputeState, to: address) { stack_state::clear_in(&mut self.dues, to) }

/// What an answered request costs its opener: the fee, as far as the bond has it.
public(package) fun answer_fee(self: &DisputeState): u64 { self.params.answer_fee().min(self.bond) }

// Fields.

public(package) fun db(self: &DisputeState): address { self.db }

public(package) fun stack(self: &DisputeState): address { self.stack }

public(package) fun node(self: &DisputeState): u64 { self.node }

public(package) fun opener(self: &DisputeState): address { self.opener }

public(package) fun request_hash(self: &DisputeState): &vector<u8> { &self.request_hash }

public(package) fun nonce(self: &DisputeState): u64 { self.nonce }

public(package) fun body_hash(self: &DisputeState): &vector<u8> { &self.body_hash }

public(package) fun max_units(self: &DisputeState): u64 { self.max_units }

public(package) fun blob(self: &DisputeState): &vector<u8> { &self.blob }

public(package) fun blob_object(self: &DisputeState): address { self.blob_object }

public(package) fun walrus_epoch(self: &DisputeState): u32 { self.walrus_epoch }

public(package) fun deadline_ms(self: &DisputeState): u64 { self.deadline_ms }

public(package) fun is_overflow(self: &DisputeState): bool { self.is_overflow }

public(package) fun late_ms(self: &DisputeState): u64 { self.late_ms }

public(package) fun is_body_demanded(self: &DisputeState): bool { self.state == BODY_DEMANDED }

public(package) fun is_ended(self: &DisputeState): bool { self.state == ENDED }

public(package) fun body_bytes(self: &DisputeState): &vector<u8> { &self.body_bytes }

/// Whether the body was demanded before.
public(package) fun was_body_demanded(self: &DisputeState): bool { self.body_demanded }

public(package) fun task(self: &DisputeState): u64 { self.task }

public(package) fun level(self: &DisputeState): u8 { self.level }

public(package) fun exact(self: &DisputeState): bool { self.exact }

public(package) fun echelons(self: &DisputeState): &vector<u64> { &self.echelons }

public(package) fun price(self: &DisputeState): u64 { self.price }

public(package) fun creator(self: &DisputeState): address { self.creator }

public(package) fun creator_fee_permille(self: &DisputeState): u64 { self.creator_fee_permille }

public(package) fun params(self: &DisputeState): &Params { &self.params }

/// The answer's claim, else `ENoClaim`.
public(package) fun claim(self: &DisputeState): &Claim {
    assert!(self.claim.is_some(), errors::no_claim());
    self.claim.borrow()
}

public(package) fun claim_mut(self: &mut DisputeState): &mut Claim {
    assert!(self.claim.is_some(), errors::no_claim());
    self.claim.borrow_mut()
}

public(package) fun bond(self: &DisputeState): u64 { self.bond }

public(package) fun version(self: &DisputeState): u64 { self.version }

public(package) fun set_version(self: &mut DisputeState, version: u64) { self.version = version }

/// What is signed or hashed off chain and checked here. The messages of users and nodes: signed bytes are ASCII
/// `atoma/1/<Name>`, a zero byte, then BCS of the struct, under pure ed25519. The transcript of a channel: its records
/// and proofs that they are under a root. Nothing here reads or moves anything; callers decide what a valid signature
/// or proof permits.
module atoma_base::message;

use atoma_base::errors::{Self, require};
use sui::bcs::{Self, BCS};
use sui::ed25519;
use sui::hash;

const PREFIX: vector<u8> = b"atoma/1/";
/// R is the neutral element, s is zero.
const NEUTRAL: vector<u8> =
    x"01000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

public struct Grant has copy, drop {
    db: address,
    stack: address,
    node: u64,
    units: u64,
    max_price: u64,
    nonce: u64,
}

public struct RequestAuth has copy, drop {
    db: address,
    stack: address,
    node: u64,
    hops: u8,
    nonce: u64,
    body_hash: vector<u8>,
    max_units: u64,
    expires_ms: u64,
}

public struct Voucher has copy, drop {
    db: address,
    stack: address,
    node: u64,
    units: u64,
    count: u64,
    root: vector<u8>,
}

public fun grant(db: address, stack: address, node: u64, units: u64, max_price: u64, nonce: u64): Grant {
    Grant { db, stack, node, units, max_price, nonce }
}

public fun request_auth(
    db: address,
    stack: address,
    node: u64,
    hops: u8,
    nonce: u64,
    body_hash: vector<u8>,
    max_units: u64,
    expires_ms: u64,
): RequestAuth {
    RequestAuth { db, stack, node, hops, nonce, body_hash, max_units, expires_ms }
}

public fun voucher(db: address, stack: address, node: u64, units: u64, count: u64, root: vector<u8>): Voucher {
    Voucher { db, stack, node, units, count, root }
}

// What was asked for.

public fun node(self: &RequestAuth): u64 { self.node }

public fun hops(self: &RequestAuth): u8 { self.hops }

public fun nonce(self: &RequestAuth): u64 { self.nonce }

public fun body_hash(self: &RequestAuth): &vector<u8> { &self.body_hash }

public fun max_units(self: &RequestAuth): u64 { self.max_units }

public fun expires_ms(self: &RequestAuth): u64 { self.expires_ms }

// What is signed.

public fun grant_bytes(message: &Grant): vector<u8> { signed_bytes(b"Grant", bcs::to_bytes(message)) }

public fun request_auth_bytes(message: &RequestAuth): vector<u8> {
    signed_bytes(b"RequestAuth", bcs::to_bytes(message))
}

public fun voucher_bytes(message: &Voucher): vector<u8> { signed_bytes(b"Voucher", bcs::to_bytes(message)) }

/// Whether `signature` over `bytes` verifies under `key`. Malformed keys and signatures do not.
public fun verifies(bytes: &vector<u8>, signature: &vector<u8>, key: &vector<u8>): bool {
    signature.length() == 64 && key.length() == 32 && ed25519::ed25519_verify(signature, key, bytes)
}

/// Whether `key` is a point of small order, for which this one signature, with R the neutral element and s zero,
/// verifies whatever the message.
public(package) fun is_small_order(key: &vector<u8>): bool {
    let neutral = NEUTRAL;
    verifies(&vector[], &neutral, key)
}

fun signed_bytes(name: vector<u8>, body: vector<u8>): vector<u8> {
    let mut bytes = PREFIX;
    bytes.append(name);
    bytes.push_back(0);
    bytes.append(body);
    bytes
}

// Inclusion proofs for a channel's transcript: an RFC 6962 tree over BLAKE2b-256, leaf prefix 0x00, inner
// prefix 0x01. The root is the one the user signed in a voucher.

/// Longest proof that is read: trees of up to 2^40 leaves.
const PROOF_HASHES_MAX: u64 = 40;

public fun leaf_hash(record: vector<u8>): vector<u8> {
    let mut bytes = x"00";
    bytes.append(record);
    hash::blake2b256(&bytes)
}

/// Whether `leaf` is leaf `index` (from 0) of the tree with `count` leaves and this `root`.
public fun includes(
    leaf: vector<u8>,
    index: u64,
    count: u64,
    proof: &vector<vector<u8>>,
    root: &vector<u8>,
): bool {
    if (index >= count || proof.length() > PROOF_HASHES_MAX) return false;
    let mut position = index;
    let mut last = count - 1;
    let mut hash = leaf;
    let mut i = 0;
    while (i < proof.length()) {
        if (last == 0) return false;
        if (position % 2 == 1 || position == last) {
            hash = inner_hash(proof[i], hash);
            while (position % 2 == 0 && position != 0) {
                position = position >> 1;
                last = last >> 1;
            }
        } else {
            hash = inner_hash(hash, proof[i]);
        };
        position = position >> 1;
        last = last >> 1;
        i = i + 1;
    };
    last == 0 && &hash == root
}

fun inner_hash(left: vector<u8>, right: vector<u8>): vector<u8> {
    let mut bytes = x"01";
    bytes.append(left);
    bytes.append(right);
    hash::blake2b256(&bytes)
}

// Records as they are shown on chain: the bytes of a leaf, and a proof that the transcript has it. Nothing here reads
// or moves anything.

/// BCS of a record: three hashes with their length, five `u64`, one `u8`.
const RECORD_BYTES: u64 = 140;
const HASH_BYTES: u64 = 32;
/// The length of a hash, as BCS writes it.
const HASH_PREFIX: u8 = 32;
/// Complete, aborted, failed, refused.
const STATUS_MAX: u8 = 3;
/// Aborted: the highest status with units to pay.
const BILLABLE_MAX: u8 = 1;

/// A leaf of a transcript.
public struct Record has copy, drop {
    leaf: vector<u8>,
    request_hash: vector<u8>,
    response_hash: vector<u8>,
    units: u64,
    total_units: u64,
    count: u64,
    status: u8,
    work: vector<u8>,
}

/// The record of these bytes, else `EBadRecord`. Only the canonical ones have the right length.
public fun decode(bytes: vector<u8>): Record {
    require(bytes.length() == RECORD_BYTES, errors::bad_record!());
    let mut reader = bcs::new(bytes);
    let request_hash = peel_hash(&mut reader);
    let response_hash = peel_hash(&mut reader);
    // Input and output, which units are made of.
    reader.peel_u64();
    reader.peel_u64();
    let units = reader.peel_u64();
    let total_units = reader.peel_u64();
    let count = reader.peel_u64();
    let status = reader.peel_u8();
    require(status <= STATUS_MAX, errors::bad_record!());
    let work = peel_hash(&mut reader);
    let leaf = leaf_hash(bytes);
    Record { leaf, request_hash, response_hash, units, total_units, count, status, work }
}

fun peel_hash(reader: &mut BCS): vector<u8> {
    require(reader.peel_u8() == HASH_PREFIX, errors::bad_record!());
    bcs::to_bytes(&reader.peel_address())
}

/// The shown record, if it is leaf `index` under `root`, else `EBadRecord` or `EBadProof`.
public fun prove(
    bytes: vector<u8>,
    index: u64,
    proof: &vector<vector<u8>>,
    count: u64,
    root: &vector<u8>,
): Record {
    let record = decode(bytes);
    require(proof.length() <= PROOF_HASHES_MAX, errors::bad_proof!());
    require(proof.all!(|hash| hash.length() == HASH_BYTES), errors::bad_proof!());
    require(includes(record.leaf, index, count, proof, root), errors::bad_proof!());
    record
}

public fun leaf(self: &Record): &vector<u8> { &self.leaf }

public fun request_hash(self: &Record): &vector<u8> { &self.request_hash }

public fun response_hash(self: &Record): &vector<u8> { &self.response_hash }

public fun units(self: &Record): u64 { self.units }

public fun total_units(self: &Record): u64 { self.total_units }

/// Whether its units can be a claim's up to `to_units`: no more than came with it in all, and those within the claim.
/// Absurd numbers would leave no verifiers' pay in range.
public fun fits(self: &Record, to_units: u64): bool {
    self.units <= self.total_units && self.total_units <= to_units
}

public fun count(self: &Record): u64 { self.count }

public fun work(self: &Record): &vector<u8> { &self.work }

/// Whether units may be charged.
public fun is_billable(self: &Record): bool { self.status <= BILLABLE_MAX }

/// Records as they are shown on chain: the bytes of a leaf, and a proof that the transcript has it. Nothing here reads
/// or moves anything.
module atoma::audit_record;

use atoma::errors;
use atoma::transcript;
use sui::bcs::{Self, BCS};

/// BCS of a record: three hashes with their length, five `u64`, one `u8`.
const RECORD_BYTES: u64 = 140;
const HASH_BYTES: u64 = 32;
/// The length of a hash, as BCS writes it.
const HASH_PREFIX: u8 = 32;
/// Longest proof that is read: trees of up to 2^40 leaves.
const PROOF_HASHES_MAX: u64 = 40;
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
public(package) fun decode(bytes: vector<u8>): Record {
    assert!(bytes.length() == RECORD_BYTES, errors::bad_record());
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
    assert!(status <= STATUS_MAX, errors::bad_record());
    let work = peel_hash(&mut reader);
    let leaf = transcript::leaf_hash(bytes);
    Record { leaf, request_hash, response_hash, units, total_units, count, status, work }
}

fun peel_hash(reader: &mut BCS): vector<u8> {
    assert!(reader.peel_u8() == HASH_PREFIX, errors::bad_record());
    bcs::to_bytes(&reader.peel_address())
}

/// The shown record, if it is leaf `index` under `root`, else `EBadRecord` or `EBadProof`.
public(package) fun prove(
    bytes: vector<u8>,
    index: u64,
    proof: &vector<vector<u8>>,
    count: u64,
    root: &vector<u8>,
): Record {
    let record = decode(bytes);
    assert!(proof.length() <= PROOF_HASHES_MAX, errors::bad_proof());
    assert!(proof.all!(|hash| hash.length() == HASH_BYTES), errors::bad_proof());
    assert!(transcript::includes(record.leaf, index, count, proof, root), errors::bad_proof());
    record
}

public(package) fun leaf(self: &Record): &vector<u8> { &self.leaf }

public(package) fun request_hash(self: &Record): &vector<u8> { &self.request_hash }

public(package) fun response_hash(self: &Record): &vector<u8> { &self.response_hash }

public(package) fun units(self: &Record): u64 { self.units }

public(package) fun total_units(self: &Record): u64 { self.total_units }

public(package) fun count(self: &Record): u64 { self.count }

public(package) fun work(self: &Record): &vector<u8> { &self.work }

/// Whether units may be charged.
public(package) fun is_billable(self: &Record): bool { self.status <= BILLABLE_MAX }

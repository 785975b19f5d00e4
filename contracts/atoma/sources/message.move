/// The messages that users and nodes sign off chain and the contract checks: signed bytes are ASCII
/// `atoma/1/<Name>`, a zero byte, then BCS of the struct, under pure ed25519. Nothing here reads or moves
/// anything; callers decide what a valid signature permits.
module atoma::message;

use std::bcs;
use sui::ed25519;

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

/// Inclusion proofs for a channel's transcript: an RFC 6962 tree over BLAKE2b-256, leaf prefix 0x00, inner
/// prefix 0x01. The root is the one the user signed in a voucher.
module atoma::transcript;

use sui::hash;

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

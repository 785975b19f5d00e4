// The part of the Sui framework that the package uses; see MoveStdlib.

module sui::hash {
    native public fun blake2b256(data: &vector<u8>): vector<u8>;
}

module sui::ed25519 {
    native public fun ed25519_verify(signature: &vector<u8>, public_key: &vector<u8>, msg: &vector<u8>): bool;
}

// A type of one's own that looks like a certified blob.
// refused: Invalid argument for parameter 'blob'
module attacker::a_blob_is_walrus_own;

use atoma::beacon::Beacon;
use atoma::db::AtomaDb;
use atoma::dispute::{Self, Dispute};
use atoma::node::NodeBadge;
use atoma::stack::Stack;
use sui::clock::Clock;
use sui::sui::SUI;

public struct Blob has key, store {
    id: UID,
    registered_epoch: u32,
    blob_id: u256,
    size: u64,
    encoding_type: u8,
    certified_epoch: Option<u32>,
}

public fun a_blob_is_walrus_own(
    db: &mut AtomaDb<SUI>,
    beacon: &Beacon,
    stack: &mut Stack<SUI>,
    dispute: &mut Dispute<SUI>,
    badge: &NodeBadge,
    blob: &Blob,
    clock: &Clock,
) {
    dispute::answer_served(db, beacon, stack, dispute, badge, blob, vector[], clock)
}

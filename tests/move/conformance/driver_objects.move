/// Objects as bytes, as the model writes them.
#[test_only]
module atoma::driver_objects;

use atoma::beacon::Beacon;
use atoma::db::AtomaDb;
use atoma_base::slots::{Self, SlotList};
use std::bcs;
use sui::sui::SUI;
use sui::table::Table;

public fun node(db: &AtomaDb<SUI>, id: u64): vector<u8> { bcs::to_bytes(db.node(id)) }

public fun model(db: &AtomaDb<SUI>, id: u64): vector<u8> { bcs::to_bytes(db.model(id)) }

public fun task(db: &AtomaDb<SUI>, id: u64): vector<u8> { bcs::to_bytes(db.task(id)) }

/// The market's own bytes, then both lists of every echelon of its task with all their slots.
public fun market(db: &AtomaDb<SUI>, task: u64): vector<u8> {
    let market = db.market(task);
    let mut bytes = bcs::to_bytes(market);
    db.task(task).echelons().do_ref!(|echelon| {
        append_list(market.lists(), *echelon, &mut bytes);
        append_list(market.verifiers(), *echelon, &mut bytes);
    });
    bytes
}

fun append_list(lists: &Table<u64, SlotList>, echelon: u64, bytes: &mut vector<u8>) {
    let list = slots::list(lists, echelon);
    bytes.append(bcs::to_bytes(list));
    list.size().do!(|position| bytes.append(bcs::to_bytes(list.slot(position))));
}

public fun subscription(db: &AtomaDb<SUI>, task: u64, node: u64): vector<u8> {
    bcs::to_bytes(db.market(task).subscription(node))
}

public fun owned(db: &AtomaDb<SUI>, task: u64, owner: address): vector<u8> {
    bcs::to_bytes(&db.market(task).verifiers_owned(owner))
}

public fun due(db: &AtomaDb<SUI>, to: address): vector<u8> { bcs::to_bytes(&db.due_of(to)) }

/// The beacon's own bytes, then all seeds.
public fun beacon(beacon: &Beacon): vector<u8> {
    let mut bytes = bcs::to_bytes(beacon);
    beacon.round().do!(|round| bytes.append(*beacon.seed(round + 1)));
    bytes
}

/// A step as the model writes it: BCS of sender, time and call; and its transaction.
#[test_only]
module atoma::driver_args;

use std::string::String;
use sui::bcs::BCS;
use sui::coin::{Self, Coin};
use sui::package::{Self, UpgradeCap};
use sui::sui::SUI;
use walrus::blob::{Self, Blob};
use walrus::storage_resource;

/// Whose transaction it is, and when.
public struct Tx has copy, drop {
    tx: u64,
    sender: address,
    epoch: u64,
    clock_ms: u64,
}

/// A claim's place: a channel, or a dispute if `node` is none.
public struct Target has copy, drop {
    id: address,
    node: Option<u64>,
}

public fun peel_tx(b: &mut BCS): Tx {
    let (tx, sender, epoch, clock_ms) = (b.peel_u64(), b.peel_address(), b.peel_u64(), b.peel_u64());
    Tx { tx, sender, epoch, clock_ms }
}

public fun sender(self: &Tx): address { self.sender }

public fun clock_ms(self: &Tx): u64 { self.clock_ms }

/// Makes the transaction's context. What else takes ids must be made before.
public fun begin(self: &Tx): TxContext { tx_context::new(self.sender, digest(self.tx, 0), self.epoch, 0, 0) }

/// The coin that the sender hands in.
public fun coin(value: u64): Coin<SUI> {
    let mut ctx = tx_context::new(@0x0, digest(0, 0xc0), 0, 0, 0);
    coin::mint_for_testing(value, &mut ctx)
}

/// The publisher's cap.
public fun upgrade_cap(self: &Tx, package: address): UpgradeCap {
    let mut ctx = tx_context::new(@0x0, digest(self.tx, 0xca), 0, 0, 0);
    package::test_publish(package.to_id(), &mut ctx)
}

/// A Walrus blob.
public fun peel_blob(self: &Tx, b: &mut BCS): Blob {
    let blob_id = b.peel_u256();
    let size = b.peel_u64();
    let encoding_type = b.peel_u8();
    let registered_epoch = b.peel_u32();
    let certified_epoch = b.peel_option!(|b| b.peel_u32());
    let end_epoch = b.peel_u32();
    let deletable = b.peel_bool();
    let mut ctx = tx_context::new(@0x0, digest(self.tx, 0xb2), 0, 0, 0);
    let storage = storage_resource::create_for_test(0, end_epoch, size, &mut ctx);
    let mut ctx = tx_context::new(@0x0, digest(self.tx, 0xb1), 0, 0, 0);
    blob::create_for_test(
        registered_epoch,
        blob_id,
        size,
        encoding_type,
        certified_epoch,
        storage,
        deletable,
        &mut ctx,
    )
}

/// The number of the transaction, and 24 bytes that say what for.
fun digest(tx: u64, purpose: u8): vector<u8> {
    let mut bytes = std::bcs::to_bytes(&tx);
    24u64.do!(|_| bytes.push_back(purpose));
    bytes
}

public fun peel_target(b: &mut BCS): Target {
    let is_channel = b.peel_enum_tag() == 0;
    let id = b.peel_address();
    Target { id, node: if (is_channel) option::some(b.peel_u64()) else option::none() }
}

public fun id(self: &Target): address { self.id }

public fun is_channel(self: &Target): bool { self.node.is_some() }

public fun node(self: &Target): u64 { *self.node.borrow() }

public fun peel_index(b: &mut BCS): u64 { b.peel_u8() as u64 }

public fun peel_badge(b: &mut BCS): u64 { b.peel_u16() as u64 }

public fun peel_string(b: &mut BCS): String { b.peel_vec_u8().to_string() }

/// 32 bytes without their length.
public fun peel_32(b: &mut BCS): vector<u8> { vector::tabulate!(32, |_| b.peel_u8()) }

//! Bytes as they are on chain, and the chain's signature rule.

use crate::harness::*;
use atoma_contract::stack::{Opening, Purchase, Settlement};
use atoma_contract::{AtomaDb, Coin, NodeBadge, Result, TxContext, ed25519, params, stack};
use atoma_types::onchain::{Params, Stack};
use atoma_types::{Address, Amount, NodeId, PublicKey, SecretKey, Units};

#[test]
fn the_database_is_a_header_of_table_ids_and_sizes() {
    let market = Market::with_nodes(&[COIN, COIN]);
    let db = &market.world.db;
    let bytes = db.header_bytes().unwrap();
    let mut expected = Vec::new();
    expected.extend(db.id.as_bytes());
    expected.extend(1u64.to_le_bytes());
    expected.push(0);
    for value in params::devnet().values() {
        expected.extend(value.to_le_bytes());
    }
    expected.push(0);
    let tables =
        [(db.nodes.id, 2u64), (db.models.id, 1), (db.tasks.id, 1), (db.markets.id, 1), (db.dues.id, 0)];
    for (id, size) in tables {
        expected.extend(id.as_bytes());
        expected.extend(size.to_le_bytes());
    }
    for amount in [2_000 * COIN, 0, 0, 0] {
        expected.extend(amount.to_le_bytes());
    }
    assert_eq!(bytes, expected);
}

/// Fields in the order of the specification, which Move may nest but not reorder.
#[test]
fn parameters_are_their_values_in_order() {
    let params = params::public();
    let values = params.values();
    assert_eq!((values.len(), Params::NAMES.len()), (41, 41));
    assert_eq!(Params::from_values(&values), Some(params.clone()));
    assert_eq!(Params::from_values(&values[1..]), None);
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(bcs::to_bytes(&params).unwrap(), bytes);
    assert_eq!((Params::NAMES[17], Params::NAMES[27]), ("min_collateral", "fraud_permille"));
}

#[test]
fn everything_stored_survives_a_round_trip() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let id = market.buy(purchase(SINGLE));
    let bytes = bcs::to_bytes(&market.world.db).unwrap();
    assert_eq!(bcs::from_bytes::<AtomaDb>(&bytes).unwrap(), market.world.db);
    let bytes = bcs::to_bytes(market.stack(id)).unwrap();
    assert_eq!(&bcs::from_bytes::<Stack>(&bytes).unwrap(), market.stack(id));
}

#[test]
fn owned_objects_are_plain_fields() {
    let badge = NodeBadge { id: Address::TWO, db: Address::THREE, node: NodeId(5) };
    let expected = [Address::TWO.as_bytes(), Address::THREE.as_bytes(), &5u64.to_le_bytes()].concat();
    assert_eq!(bcs::to_bytes(&badge).unwrap(), expected);
    let coin = Coin { id: Address::TWO, balance: Amount(9) };
    assert_eq!(bcs::to_bytes(&coin).unwrap().len(), 40);
}

#[test]
fn ids_are_derived_from_the_transaction() {
    let mut market = Market::with_nodes(&[]);
    let ctx = market.register(1, Amount(1_001 * COIN)).unwrap();
    assert_eq!(ctx.ids_created(), 1);
    let other = market.register(2, Amount(1_001 * COIN)).unwrap();
    assert_ne!(ctx.transfers[0].object.id(), other.transfers[0].object.id());
}

#[test]
fn honest_signatures_verify_and_flipped_bits_do_not() {
    let key = SecretKey::from_seed([3; 32]);
    let signature = key.sign_bytes(b"message").0;
    assert!(ed25519::verify(&key.public_key(), b"message", &signature));
    assert!(!ed25519::verify(&key.public_key(), b"massage", &signature));
    for bit in 0..512 {
        let mut flipped = signature;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!ed25519::verify(&key.public_key(), b"message", &flipped), "bit {bit}");
    }
    assert!(!ed25519::verify(&key.public_key(), b"message", &signature[..63]));
    assert!(!ed25519::verify(&SecretKey::from_seed([4; 32]).public_key(), b"message", &signature));
}

/// The chain accepts small-order and non-canonical points, strict verification does not.
#[test]
fn the_rule_is_zip_215() {
    let identity = PublicKey([[1].as_slice(), &[0; 31]].concat().try_into().unwrap());
    let mut non_canonical = [0xff; 32];
    non_canonical[0] = 0xee;
    non_canonical[31] = 0x7f;
    for key in [identity, PublicKey(non_canonical)] {
        let signature = [key.0, [0; 32]].concat();
        assert!(ed25519::verify(&key, b"anything", &signature));
        let fixed: [u8; 64] = signature.try_into().unwrap();
        assert!(key.verify_bytes(b"anything", &atoma_types::Signature(fixed)).is_err());
    }
    // A scalar of the group's order is not canonical.
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    assert!(!ed25519::verify(&identity, b"anything", &[identity.0, order].concat()));
}

/// What the compiler proves: the hot path cannot write the database.
#[test]
fn the_hot_path_reads_the_database_only() {
    type Hot<A> = fn(&AtomaDb, &mut Stack, A, u64, &mut TxContext) -> Result;
    let _: fn(&AtomaDb, &[u8; 32], Coin, Purchase, u64, &mut TxContext) -> Result = stack::acquire;
    let _: Hot<Opening> = stack::open_channel;
    let _: Hot<Settlement> = stack::settle;
    let _: fn(&AtomaDb, &mut Stack, &NodeBadge, u64, &mut TxContext) -> Result = stack::release_channel;
    let _: fn(&AtomaDb, &mut Stack, NodeId, u64, &mut TxContext) -> Result = stack::reclaim;
    let _: fn(&AtomaDb, &mut Stack, Coin, Units, u64, &mut TxContext) -> Result = stack::top_up;
    let _: fn(&mut Stack, u64, &mut TxContext) -> Result = stack::refund;
}

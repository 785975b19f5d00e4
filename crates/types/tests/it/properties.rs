use crate::arbitrary;
use atoma_types::message::Message;
use atoma_types::onchain::{Event, Stack};
use atoma_types::wire::{self, Authorization};
use atoma_types::{Forward, Grant, NodeId, Receipt, Record, RequestAuth, SecretKey, Signed, Voucher};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// BCS and JSON give the value back, signatures hold, and one flipped bit anywhere breaks them.
fn round_trip<M: Message + PartialEq + Debug>(message: &M, seed: [u8; 32], flip: usize) {
    encodings(message);
    let key = SecretKey::from_seed(seed);
    let signed = message.clone().sign(&key);
    assert!(signed.verify(&key.public_key()).is_ok());
    assert_eq!(wire::decode::<Signed<M>>(&wire::encode(&signed)).unwrap(), signed);

    let mut bytes = message.signed_bytes();
    let bit = flip % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    assert!(key.public_key().verify_bytes(&bytes, &signed.signature).is_err());
    let other = SecretKey::from_seed(seed.map(|byte| !byte));
    assert!(signed.verify(&other.public_key()).is_err());
}

fn encodings<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    assert_eq!(&bcs::from_bytes::<T>(&bcs::to_bytes(value).unwrap()).unwrap(), value);
    assert_eq!(&serde_json::from_str::<T>(&serde_json::to_string(value).unwrap()).unwrap(), value);
}

/// Whatever decodes encodes to the same bytes: BCS has one form per value.
fn canonical<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(value) = bcs::from_bytes::<T>(bytes) {
        assert_eq!(bcs::to_bytes(&value).unwrap(), bytes);
    }
}

proptest! {
    #[test]
    fn grants(message in arbitrary::grant(), seed: [u8; 32], flip: usize) { round_trip(&message, seed, flip); }
    #[test]
    fn request_auths(message in arbitrary::auth(), seed: [u8; 32], flip: usize) { round_trip(&message, seed, flip); }
    #[test]
    fn forwards(message in arbitrary::forward(), seed: [u8; 32], flip: usize) { round_trip(&message, seed, flip); }
    #[test]
    fn vouchers(message in arbitrary::voucher(), seed: [u8; 32], flip: usize) { round_trip(&message, seed, flip); }
    #[test]
    fn receipts(message in arbitrary::receipt(), seed: [u8; 32], flip: usize) {
        round_trip(&message, seed, flip);
        encodings(&message.record());
    }

    #[test]
    fn a_message_never_verifies_as_another(voucher in arbitrary::voucher(), seed: [u8; 32]) {
        let key = SecretKey::from_seed(seed);
        let signed = voucher.clone().sign(&key);
        let grant_domain = [b"atoma/1/Grant\0".as_slice(), &bcs::to_bytes(&voucher).unwrap()].concat();
        prop_assert!(key.public_key().verify_bytes(&grant_domain, &signed.signature).is_err());
    }

    #[test]
    fn decoding_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), text in ".{0,200}", name in "[A-Za-z]{0,20}") {
        canonical::<Signed<Grant>>(&bytes);
        canonical::<Signed<RequestAuth>>(&bytes);
        canonical::<Signed<Forward>>(&bytes);
        canonical::<Signed<Voucher>>(&bytes);
        canonical::<Signed<Receipt>>(&bytes);
        canonical::<Record>(&bytes);
        canonical::<Authorization>(&bytes);
        canonical::<Stack>(&bytes);
        let _ = Event::decode(&name, &bytes);
        let _ = Event::decode("Settled", &bytes);
        let _ = Authorization::decode(&text);
        let _ = wire::decode_nodes(&text);
    }

    #[test]
    fn up_to_eight_nodes_are_named(ids in prop::collection::vec(any::<u64>(), 1..20)) {
        let nodes: Vec<NodeId> = ids.into_iter().map(NodeId).collect();
        let kept = &nodes[..nodes.len().min(wire::ALTERNATES_MAX)];
        prop_assert_eq!(wire::decode_nodes(&wire::encode_nodes(&nodes)).unwrap(), kept);
        let all = nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        prop_assert_eq!(wire::decode_nodes(&all).is_some(), nodes.len() <= wire::ALTERNATES_MAX);
    }

    #[test]
    fn a_forward_is_of_one_request(auth in arbitrary::auth(), other in arbitrary::auth(), to in any::<u64>()) {
        let auth = RequestAuth { hops: 1, ..auth };
        let RequestAuth { db, stack, node: from, .. } = auth;
        let forward = Forward { db, stack, request_hash: auth.signed_hash(), from, to: NodeId(to) };
        prop_assert_eq!(forward.is_of(&auth), from.0 != to);
        let stays = RequestAuth { hops: 0, ..auth.clone() };
        prop_assert!(!forward.is_of(&stays));
        prop_assert!(other == auth || !forward.is_of(&other));
    }

    #[test]
    fn decoding_damaged_messages_never_panics(receipt in arbitrary::receipt(), at: usize, byte: u8, cut: usize) {
        let key = SecretKey::from_seed([9; 32]);
        let mut bytes = bcs::to_bytes(&receipt.sign(&key)).unwrap();
        let length = bytes.len();
        bytes[at % length] = byte;
        canonical::<Signed<Receipt>>(&bytes);
        canonical::<Signed<Receipt>>(&bytes[..cut % length]);
    }
}

#[test]
fn hops_other_than_zero_or_one_are_refused() {
    let auth = RequestAuth {
        db: atoma_types::Address::ZERO,
        stack: atoma_types::Address::ZERO,
        node: atoma_types::NodeId(1),
        hops: 1,
        nonce: 0,
        body_hash: atoma_types::Hash32::ZERO,
        max_units: atoma_types::Units(1),
        expires_ms: 1,
    };
    let mut bytes = bcs::to_bytes(&auth).unwrap();
    assert!(bcs::from_bytes::<RequestAuth>(&bytes).is_ok());
    bytes[72] = 2;
    assert!(bcs::from_bytes::<RequestAuth>(&bytes).is_err());
}

#[test]
fn small_order_keys_verify_nothing() {
    let identity = atoma_types::PublicKey({
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    });
    assert!(!identity.is_usable());
    let mut forged = [0; 64];
    forged[0] = 1;
    assert!(identity.verify_bytes(b"anything", &atoma_types::Signature(forged)).is_err());
}

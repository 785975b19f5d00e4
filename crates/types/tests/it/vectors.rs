//! Known answers. `vectors/messages.json` is what other implementations test against; the bytes are
//! rebuilt here by hand, so that a change of layout cannot slip through a round trip.

use atoma_types::message::Message;
use atoma_types::{
    Address, Forward, Grant, Hash32, NodeId, Price, Receipt, RequestAuth, SecretKey, Status, Transcript,
    Units, Voucher,
};
use serde_json::{Value, json};

const SEED: [u8; 32] = [7; 32];

fn db() -> Address {
    Address::new([0xd0; 32])
}

fn stack() -> Address {
    Address::new([0x57; 32])
}

fn grant() -> Grant {
    Grant {
        db: db(),
        stack: stack(),
        node: NodeId(3),
        units: Units(1_000_000),
        max_price: Price(250),
        nonce: 1,
    }
}

fn auth() -> RequestAuth {
    RequestAuth {
        db: db(),
        stack: stack(),
        node: NodeId(3),
        hops: 1,
        nonce: 42,
        body_hash: Hash32::of(b"{\"model\":\"m\"}"),
        max_units: Units(512),
        expires_ms: 1_790_000_060_000,
    }
}

fn forward() -> Forward {
    Forward { db: db(), stack: stack(), request_hash: auth().signed_hash(), from: NodeId(3), to: NodeId(4) }
}

fn receipts() -> Vec<Receipt> {
    let mut transcript = Transcript::new();
    let mut total = Units::ZERO;
    (1..=5u64)
        .map(|count| {
            let status = if count == 4 { Status::Failed } else { Status::Complete };
            let units = if status.is_billable() { Units(10 * count) } else { Units::ZERO };
            total = total.add(units).unwrap();
            let mut receipt = Receipt {
                db: db(),
                stack: stack(),
                node: NodeId(3),
                request_hash: Hash32::of(&count.to_le_bytes()),
                response_hash: Hash32::of(b"data: {}\n\n"),
                input: 7 * count,
                output: 3 * count,
                units,
                total_units: total,
                count,
                root: Hash32::ZERO,
                work: Hash32::ZERO,
                replica_hash: Hash32::ZERO,
                status,
                finished_ms: 1_790_000_000_000 + count,
            };
            receipt.root = transcript.append(&receipt.record());
            receipt
        })
        .collect()
}

fn voucher() -> Voucher {
    let last = receipts().pop().unwrap();
    Voucher {
        db: db(),
        stack: stack(),
        node: NodeId(3),
        units: last.total_units,
        count: last.count,
        root: last.root,
    }
}

fn vector<M: Message>(message: M) -> Value {
    let key = SecretKey::from_seed(SEED);
    let fields = serde_json::to_value(&message).unwrap();
    let bytes = message.signed_bytes();
    let signed = message.sign(&key);
    json!({
        "name": M::NAME,
        "fields": fields,
        "signed_bytes": hex::encode(&bytes),
        "hash": Hash32::of(&bytes),
        "signature": signed.signature,
    })
}

fn transcript() -> Value {
    let mut tree = Transcript::new();
    let steps: Vec<Value> = receipts()
        .iter()
        .map(|receipt| {
            let root = tree.append(&receipt.record());
            json!({ "record": hex::encode(receipt.record().to_bytes()), "root": root })
        })
        .collect();
    json!({
        "empty_root": Transcript::new().root(),
        "steps": steps,
        "inclusion_of_2_in_5": tree.inclusion_proof(2, 5).unwrap(),
        "consistency_of_3_with_5": tree.consistency_proof(3, 5).unwrap(),
    })
}

fn all() -> Value {
    json!({
        "seed": hex::encode(SEED),
        "public_key": SecretKey::from_seed(SEED).public_key(),
        "messages": [vector(grant()), vector(auth()), vector(forward()), vector(voucher()), vector(receipts().remove(0))],
        "transcript": transcript(),
    })
}

#[test]
fn known_answers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/messages.json");
    let current = format!("{:#}\n", all());
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        current,
        "signed bytes changed: every party would have to"
    );
}

/// The same vectors as Move tests, run on the real VM.
fn move_tests() -> String {
    let key = SecretKey::from_seed(SEED);
    let hex_of = |bytes: &[u8]| format!("x\"{}\"", hex::encode(bytes));
    let (g, a, v) = (grant(), auth(), voucher());
    let case = |name: &str, build: String, bytes: &[u8]| {
        format!(
            "#[test]\nfun {name}_bytes_and_signature() {{\n    let key = KEY;\n    let bytes = message::{name}_bytes(&{build});\n    \
             assert!(bytes == {}, 0);\n    assert!(message::verifies(&bytes, &{}, &key), 1);\n    \
             assert!(!message::verifies(&x\"00\", &{}, &key), 2);\n    assert!(!message::verifies(&bytes, &x\"00\", &key), 3);\n}}\n\n",
            hex_of(bytes),
            hex_of(&key.sign_bytes(bytes).0),
            hex_of(&key.sign_bytes(bytes).0),
        )
    };
    let (db, stack) = (format!("@{}", db()), format!("@{}", stack()));
    let mut tree = Transcript::new();
    let records: Vec<_> = receipts().iter().map(Receipt::record).collect();
    for record in &records {
        tree.append(record);
    }
    let proof: Vec<String> =
        tree.inclusion_proof(2, 5).unwrap().iter().map(|hash| hex_of(hash.as_bytes())).collect();
    [
        "// Written by the tests of the types crate from the vectors in its folder.\n#[test_only]\nmodule atoma_base::message_tests;\n\nuse atoma_base::message;\n\n".to_owned(),
        format!("const KEY: vector<u8> = {};\n\n", hex_of(&key.public_key().0)),
        case("grant", format!("message::grant({db}, {stack}, {}, {}, {}, {})", g.node, g.units, g.max_price, g.nonce), &g.signed_bytes()),
        case(
            "request_auth",
            format!(
                "message::request_auth({db}, {stack}, {}, {}, {}, {}, {}, {})",
                a.node, a.hops, a.nonce, hex_of(a.body_hash.as_bytes()), a.max_units, a.expires_ms
            ),
            &a.signed_bytes(),
        ),
        case(
            "voucher",
            format!("message::voucher({db}, {stack}, {}, {}, {}, {})", v.node, v.units, v.count, hex_of(v.root.as_bytes())),
            &v.signed_bytes(),
        ),
        format!(
            "#[test]\nfun inclusion_under_the_signed_root() {{\n    let leaf = message::leaf_hash({});\n    let proof = vector[{}];\n    \
             let root = {};\n    assert!(message::includes(leaf, 2, 5, &proof, &root), 0);\n    \
             assert!(!message::includes(leaf, 1, 5, &proof, &root), 1);\n    assert!(!message::includes(leaf, 2, 4, &proof, &root), 2);\n    \
             assert!(!message::includes(leaf, 2, 5, &vector[], &root), 3);\n}}\n",
            hex_of(&records[2].to_bytes()),
            proof.join(", "),
            hex_of(v.root.as_bytes()),
        ),
    ]
    .concat()
}

#[test]
fn move_tests_hold_the_same_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/atoma_base/tests/message_tests.move");
    let current = move_tests();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), current);
}

/// BCS by hand: integers little-endian, byte vectors with their length, addresses bare.
#[derive(Default)]
struct ByHand(Vec<u8>);

impl ByHand {
    fn domain(name: &str) -> Self {
        Self([b"atoma/1/", name.as_bytes(), &[0]].concat())
    }
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }
    fn hash(self, hash: Hash32) -> Self {
        self.raw(&[32]).raw(hash.as_bytes())
    }
}

#[test]
fn signed_bytes_are_as_specified() {
    let start = |name| ByHand::domain(name).raw(&[0xd0; 32]).raw(&[0x57; 32]);
    let g = start("Grant").u64(3).u64(1_000_000).u64(250).u64(1);
    assert_eq!(grant().signed_bytes(), g.0);

    let a = auth();
    let by_hand = start("RequestAuth").u64(3).raw(&[1]).u64(42).hash(a.body_hash).u64(512).u64(a.expires_ms);
    assert_eq!(a.signed_bytes(), by_hand.0);

    let f = forward();
    assert_eq!(f.signed_bytes(), start("Forward").hash(f.request_hash).u64(3).u64(4).0);

    let v = voucher();
    assert_eq!(v.signed_bytes(), start("Voucher").u64(3).u64(v.units.0).u64(v.count).hash(v.root).0);

    let r = receipts().remove(0);
    let by_hand = start("Receipt")
        .u64(3)
        .hash(r.request_hash)
        .hash(r.response_hash)
        .u64(7)
        .u64(3)
        .u64(10)
        .u64(10)
        .u64(1)
        .hash(r.root)
        .hash(r.work)
        .hash(r.replica_hash)
        .raw(&[0])
        .u64(r.finished_ms);
    assert_eq!(r.signed_bytes(), by_hand.0);

    let record = ByHand::default()
        .hash(r.request_hash)
        .hash(r.response_hash)
        .u64(7)
        .u64(3)
        .u64(10)
        .u64(10)
        .u64(1)
        .raw(&[0])
        .hash(r.work);
    assert_eq!(r.record().to_bytes(), record.0);
    let leaf = Hash32::of_parts(&[&[0], &record.0]);
    assert_eq!(r.root, leaf, "a tree of one leaf");
}

#[test]
fn abort_codes_are_distinct_and_named() {
    use atoma_types::onchain::Abort;
    for abort in Abort::ALL {
        assert_eq!(Abort::from_code(abort.code()), Some(*abort));
        assert!(abort.name().starts_with('E'));
    }
    assert_eq!(Abort::from_code(0), None);
}

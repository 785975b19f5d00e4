//! What the parties of a play know off chain: keys, transcripts, requests, sealed verdicts.

use crate::dice::Dice;
use crate::op::{Shown, Signed, Target};
use atoma_contract::audit::Opened;
use atoma_types::message::Message;
use atoma_types::{
    Address, Grant, Hash32, NodeId, Price, PublicKey, Record, RequestAuth, SecretKey, Status, Transcript,
    Units, Voucher,
};
use std::collections::BTreeMap;

/// Everything that is not on chain.
#[derive(Debug)]
pub(crate) struct Known {
    keys: Vec<SecretKey>,
    served: BTreeMap<(Address, u64), Served>,
    /// What sealed verdicts say, by claim, round and verifier.
    pub(crate) sealed: BTreeMap<(Target, u64, u8, u64), Opened>,
    pub(crate) scripts: BTreeMap<(Target, u64, u8), Script>,
    pub(crate) asked: BTreeMap<Address, Asked>,
    pub(crate) nonce: u64,
}

/// A channel's transcript as its node has it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) records: Vec<Record>,
    tree: Transcript,
}

/// What becomes of a round of an audit, if nothing comes between.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) reveals: bool,
    pub(crate) seats: Vec<Seatwork>,
}

/// What a verifier does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seatwork {
    /// The same verdict on every record.
    All(u8),
    /// A verdict of its own for each.
    Mixed,
    NoCommit,
    NoReveal,
    /// Commits to what cannot be revealed.
    Impossible,
}

/// A request that is disputed.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) body: Vec<u8>,
    pub(crate) plan: Plan,
    /// The node's answer.
    pub(crate) record: Option<Record>,
}

/// What the node does about a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Answer,
    Refuse,
    Acknowledge,
    Demand,
    Nothing,
}

/// The digest that re-execution of a record gives in a round.
pub(crate) fn digest(request_hash: Hash32, round: u8) -> Hash32 {
    Hash32::of_parts(&[b"digest", &[round], request_hash.as_bytes()])
}

/// `work` of a record that was executed.
pub(crate) fn work(request_hash: Hash32) -> Hash32 {
    let hash = |round| Hash32::of(digest(request_hash, round).as_bytes());
    Hash32::of_parts(&[hash(0).as_bytes(), hash(1).as_bytes()])
}

/// A record that answers `request_hash`, first of its transcript.
pub(crate) fn record_of(request_hash: Hash32, units: u64) -> Record {
    Record {
        request_hash,
        response_hash: Hash32::of(request_hash.as_bytes()),
        input: 1,
        output: units,
        units: Units(units),
        total_units: Units(units),
        count: 1,
        status: if units == 0 { Status::Failed } else { Status::Complete },
        work: work(request_hash),
    }
}

impl Known {
    pub(crate) fn new() -> Self {
        let keys = (0..4).map(|n| SecretKey::from_seed([0x50 + n; 32])).collect();
        Self {
            keys,
            served: BTreeMap::new(),
            sealed: BTreeMap::new(),
            scripts: BTreeMap::new(),
            asked: BTreeMap::new(),
            nonce: 0,
        }
    }

    pub(crate) fn next_nonce(&mut self) -> u64 {
        self.nonce += 1;
        self.nonce
    }

    /// The request key of a user.
    pub(crate) fn key(&self, user: usize) -> &SecretKey {
        &self.keys[user % self.keys.len()]
    }

    /// The secret of a public request key; that of somebody else if it is not known.
    pub(crate) fn secret(&self, key: &PublicKey) -> &SecretKey {
        self.keys.iter().find(|secret| secret.public_key() == *key).unwrap_or(&self.keys[0])
    }

    pub(crate) fn served(&self, stack: Address, node: u64) -> Option<&Served> {
        self.served.get(&(stack, node))
    }

    pub(crate) fn served_mut(&mut self, stack: Address, node: u64) -> &mut Served {
        self.served.entry((stack, node)).or_default()
    }
}

impl Served {
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.records.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn total(&self) -> u64 {
        self.records.last().map_or(0, |record| record.total_units.0)
    }

    /// Appends a record, its place in the transcript filled in.
    pub(crate) fn append(&mut self, record: Record) {
        let total_units = Units(self.total() + record.units.0);
        let record = Record { total_units, count: self.count() + 1, ..record };
        self.tree.append(&record);
        self.records.push(record);
    }

    /// Total units and root of the first `count` records.
    pub(crate) fn at(&self, count: u64) -> Option<(u64, Hash32)> {
        let count = usize::try_from(count).ok()?;
        let last = count.checked_sub(1)?;
        Some((self.records.get(last)?.total_units.0, self.tree.root_at(count).ok()?))
    }

    /// The `index`-th record, proven under the root of the first `count`.
    pub(crate) fn proven(&self, index: u64, count: u64) -> Option<Shown> {
        let at = usize::try_from(index).ok()?;
        let proof = self.tree.inclusion_proof(at, usize::try_from(count).ok()?).ok()?;
        Some(Shown {
            record: self.records.get(at)?.to_bytes(),
            index,
            proof: proof.iter().map(|hash| hash.0.to_vec()).collect(),
        })
    }

    /// The index of the record that a unit belongs to.
    pub(crate) fn holder(&self, offset: u64) -> Option<u64> {
        let position = self.records.iter().position(|record| offset <= record.total_units.0)?;
        u64::try_from(position).ok()
    }

    pub(crate) fn request_at(&self, total: Units) -> Option<Hash32> {
        let ends = |record: &&Record| record.total_units == total && !record.units.is_zero();
        self.records.iter().find(ends).map(|record| record.request_hash)
    }

    pub(crate) fn index_of(&self, request: Hash32) -> Option<u64> {
        let position = self.records.iter().position(|record| record.request_hash == request)?;
        u64::try_from(position).ok()
    }
}

/// A voucher signed with `key`.
pub(crate) fn voucher(
    key: &SecretKey,
    (db, stack, node): (Address, Address, u64),
    (units, count, root): (u64, u64, Vec<u8>),
) -> Signed {
    let hash = Hash32(root.clone().try_into().unwrap_or_default());
    let voucher = Voucher { db, stack, node: NodeId(node), units: Units(units), count, root: hash };
    Signed { units, count, root, signature: voucher.sign(key).signature.0.to_vec() }
}

/// The signature of a grant.
pub(crate) fn grant(
    key: &SecretKey,
    (db, stack, node): (Address, Address, u64),
    (units, max_price, nonce): (u64, u64, u64),
) -> Vec<u8> {
    let (units, max_price) = (Units(units), Price(max_price));
    let grant = Grant { db, stack, node: NodeId(node), units, max_price, nonce };
    grant.sign(key).signature.0.to_vec()
}

/// The signature of a request, and its hash.
pub(crate) fn request(key: &SecretKey, auth: &RequestAuth) -> (Vec<u8>, Hash32) {
    let bytes = auth.signed_bytes();
    (key.sign_bytes(&bytes).0.to_vec(), Hash32::of(&bytes))
}

impl Script {
    /// A round's course: most often one verdict of all, sometimes a quarrel.
    pub(crate) fn roll(dice: &mut Dice, round: u8) -> Self {
        let reveals = !dice.one_in(if round == 0 { 8 } else { 12 });
        let mood = dice.below(10);
        let usual = match mood {
            0..=3 => Seatwork::All(0),
            4 | 5 => Seatwork::All(1),
            6 => Seatwork::All(3),
            _ => Seatwork::Mixed,
        };
        let seats = (0..16).map(|_| Self::seat(dice, usual, mood >= 7)).collect();
        Self { reveals, seats }
    }

    fn seat(dice: &mut Dice, usual: Seatwork, is_quarrel: bool) -> Seatwork {
        let odd = if is_quarrel { 2 } else { 8 };
        if !dice.one_in(odd) {
            return usual;
        }
        match dice.below(9) {
            0 | 1 => Seatwork::All(0),
            2 => Seatwork::All(1),
            3 => Seatwork::All(2),
            4 => Seatwork::All(3),
            5 => Seatwork::Mixed,
            6 => Seatwork::NoCommit,
            7 => Seatwork::NoReveal,
            _ => Seatwork::Impossible,
        }
    }
}

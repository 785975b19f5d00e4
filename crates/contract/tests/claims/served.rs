//! A node's transcript as a user and a verifier know it.

use atoma_contract::audit::Proven;
use atoma_types::{Address, Hash32, NodeId, Record, Status, Transcript, Units};
use std::collections::BTreeMap;

/// The transcripts of all channels, by stack and node.
#[derive(Clone, Default)]
pub(crate) struct Served {
    channels: BTreeMap<(Address, NodeId), Channel>,
}

#[derive(Clone, Default)]
struct Channel {
    records: Vec<Record>,
    tree: Transcript,
}

/// What re-execution of the `count`-th record of a transcript gives, for round 1 or 2.
pub(crate) fn digest(request_hash: Hash32, round: u8) -> Hash32 {
    Hash32::of_parts(&[b"digest", &[round], request_hash.as_bytes()])
}

/// `work` of a record that was executed.
pub(crate) fn work(request_hash: Hash32) -> Hash32 {
    let hash = |round| Hash32::of(digest(request_hash, round).as_bytes());
    Hash32::of_parts(&[hash(1).as_bytes(), hash(2).as_bytes()])
}

/// A record that answers `request_hash`, first of its transcript.
pub(crate) fn record_of(request_hash: Hash32, units: u64) -> Record {
    Record {
        request_hash,
        response_hash: Hash32::of(b"response"),
        input: 1,
        output: units,
        units: Units(units),
        total_units: Units(units),
        count: 1,
        status: Status::Complete,
        work: work(request_hash),
    }
}

impl Served {
    /// Appends a record of `units`.
    pub(crate) fn serve(&mut self, stack: Address, node: NodeId, units: u64) {
        let count = self.count(stack, node) + 1;
        let request = Hash32::of_parts(&[stack.as_bytes(), &node.0.to_le_bytes(), &count.to_le_bytes()]);
        self.append(stack, node, record_of(request, units));
    }

    /// Appends a record, its place in the transcript filled in.
    pub(crate) fn append(&mut self, stack: Address, node: NodeId, record: Record) {
        let channel = self.channels.entry((stack, node)).or_default();
        let total = channel.records.last().map_or(0, |last| last.total_units.0) + record.units.0;
        let count = u64::try_from(channel.records.len()).unwrap() + 1;
        let record = Record { total_units: Units(total), count, ..record };
        channel.tree.append(&record);
        channel.records.push(record);
    }

    pub(crate) fn count(&self, stack: Address, node: NodeId) -> u64 {
        self.channels.get(&(stack, node)).map_or(0, |channel| u64::try_from(channel.records.len()).unwrap())
    }

    /// Total units and root of the first `count` records.
    pub(crate) fn at(&self, stack: Address, node: NodeId, count: u64) -> (u64, Hash32) {
        let channel = &self.channels[&(stack, node)];
        let count = usize::try_from(count).unwrap();
        (channel.records[count - 1].total_units.0, channel.tree.root_at(count).unwrap())
    }

    /// The `index`-th record, proven under the root of the first `count`.
    pub(crate) fn proven(&self, stack: Address, node: NodeId, index: usize, count: u64) -> Proven {
        let channel = &self.channels[&(stack, node)];
        let proof = channel.tree.inclusion_proof(index, usize::try_from(count).unwrap()).unwrap();
        Proven {
            record: channel.records[index].to_bytes(),
            index: u64::try_from(index).unwrap(),
            proof: proof.iter().map(|hash| hash.0.to_vec()).collect(),
        }
    }

    /// The index of the record that unit `offset` belongs to.
    pub(crate) fn holder(&self, stack: Address, node: NodeId, offset: u64) -> usize {
        let records = &self.channels[&(stack, node)].records;
        records.iter().position(|record| offset <= record.total_units.0).unwrap()
    }

    /// The request whose record ends at `total`.
    pub(crate) fn request_at(&self, stack: Address, node: NodeId, total: Units) -> Hash32 {
        let records = &self.channels[&(stack, node)].records;
        records
            .iter()
            .find(|record| record.total_units == total && !record.units.is_zero())
            .unwrap()
            .request_hash
    }
}

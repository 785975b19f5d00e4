//! The transcript of a channel: an append-only Merkle tree over [`Record`]s in the node's order.
//!
//! BLAKE2b-256 in the shape of RFC 6962 section 2.1: a leaf is `H(0x00 ‖ record)`, an inner node
//! `H(0x01 ‖ left ‖ right)`, the left subtree the largest power of two below the size. The root of
//! nothing is H of the empty string. Appending and any past root cost O(log n).

use crate::{Hash32, Record};

const LEAF: &[u8] = &[0];
const INNER: &[u8] = &[1];

/// Longest proof that a verifier reads: trees of up to 2^40 leaves.
pub const PROOF_HASHES_MAX: usize = 40;

/// A tree with the hashes of every complete subtree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// `levels[h][i]` is the hash of leaves `i << h .. (i + 1) << h`.
    levels: Vec<Vec<Hash32>>,
}

/// A range or index past the end of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transcript has {count} records, not {wanted}")]
pub struct OutOfRange {
    pub count: usize,
    pub wanted: usize,
}

impl Transcript {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn count(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Appends a record and returns the new root.
    pub fn append(&mut self, record: &Record) -> Hash32 {
        self.append_leaf(leaf_hash(record))
    }

    /// Appends a leaf known by its hash only.
    pub fn append_leaf(&mut self, leaf: Hash32) -> Hash32 {
        let mut hash = leaf;
        for height in 0.. {
            if self.levels.len() == height {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[height];
            level.push(hash);
            let [.., left, right] = level.as_slice() else { break };
            if level.len() % 2 == 1 {
                break;
            }
            hash = inner_hash(left, right);
        }
        self.root()
    }

    pub fn root(&self) -> Hash32 {
        self.range(0, self.count())
    }

    /// The root when the tree had `count` leaves.
    pub fn root_at(&self, count: usize) -> Result<Hash32, OutOfRange> {
        self.check(count)?;
        Ok(self.range(0, count))
    }

    /// The root after appending `record`, without appending it.
    pub fn root_with(&self, record: &Record) -> Hash32 {
        let count = self.count();
        let mut hash = leaf_hash(record);
        for height in 0..usize::BITS as usize {
            if count >> height & 1 == 1 {
                let left = self.levels[height][(count >> height) - 1];
                hash = inner_hash(&left, &hash);
            }
        }
        hash
    }

    /// Audit path of leaf `index` in the tree of the first `count` leaves (RFC 6962, 2.1.1).
    pub fn inclusion_proof(&self, index: usize, count: usize) -> Result<Vec<Hash32>, OutOfRange> {
        self.check(count)?;
        if index >= count {
            return Err(OutOfRange { count, wanted: index.saturating_add(1) });
        }
        let mut proof = Vec::new();
        let (mut start, mut end) = (0, count);
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                proof.push(self.range(middle, end));
                end = middle;
            } else {
                proof.push(self.range(start, middle));
                start = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// Proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 6962, 2.1.2).
    pub fn consistency_proof(&self, old: usize, new: usize) -> Result<Vec<Hash32>, OutOfRange> {
        self.check(new)?;
        if old > new {
            return Err(OutOfRange { count: new, wanted: old });
        }
        let mut proof = Vec::new();
        if old == 0 {
            return Ok(proof);
        }
        let (mut start, mut end, mut whole) = (0, new, true);
        while old != end {
            let middle = start + split(end - start);
            if old <= middle {
                proof.push(self.range(middle, end));
                end = middle;
            } else {
                proof.push(self.range(start, middle));
                start = middle;
                whole = false;
            }
        }
        if !whole {
            proof.push(self.range(start, end));
        }
        proof.reverse();
        Ok(proof)
    }

    /// Hash of leaves `start..end`, where `start` is a multiple of the range's leading power of two.
    fn range(&self, start: usize, end: usize) -> Hash32 {
        let size = end - start;
        if size == 0 {
            return Hash32::of(&[]);
        }
        if size.is_power_of_two() {
            let height = size.trailing_zeros() as usize;
            return self.levels[height][start >> height];
        }
        let middle = start + split(size);
        inner_hash(&self.range(start, middle), &self.range(middle, end))
    }

    fn check(&self, count: usize) -> Result<(), OutOfRange> {
        if count > self.count() {
            return Err(OutOfRange { count: self.count(), wanted: count });
        }
        Ok(())
    }
}

pub fn leaf_hash(record: &Record) -> Hash32 {
    Hash32::of_parts(&[LEAF, &record.to_bytes()])
}

fn inner_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    Hash32::of_parts(&[INNER, left.as_bytes(), right.as_bytes()])
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: usize) -> usize {
    1 << (usize::BITS - 1 - (size - 1).leading_zeros())
}

/// Whether `leaf` is leaf `index` of the tree with `count` leaves and this `root`.
pub fn verify_inclusion(leaf: Hash32, index: u64, count: u64, proof: &[Hash32], root: &Hash32) -> bool {
    if index >= count || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    let (mut position, mut last, mut hash) = (index, count - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if position % 2 == 1 || position == last {
            hash = inner_hash(sibling, &hash);
            while position % 2 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = inner_hash(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the tree (`old`, `old_root`) is a prefix of (`new`, `new_root`).
pub fn verify_consistency(
    old: u64,
    old_root: &Hash32,
    new: u64,
    new_root: &Hash32,
    proof: &[Hash32],
) -> bool {
    if proof.len() > PROOF_HASHES_MAX || old > new {
        return false;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == Hash32::of(&[]);
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let (mut position, mut last) = (old - 1, new - 1);
    while position % 2 == 1 {
        position >>= 1;
        last >>= 1;
    }
    let mut rest = proof.iter();
    let first = if old.is_power_of_two() {
        *old_root
    } else {
        match rest.next() {
            Some(hash) => *hash,
            None => return false,
        }
    };
    let (mut from_old, mut from_new) = (first, first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if position % 2 == 1 || position == last {
            from_old = inner_hash(sibling, &from_old);
            from_new = inner_hash(sibling, &from_new);
            while position % 2 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            from_new = inner_hash(&from_new, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && from_old == *old_root && from_new == *new_root
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(count: usize) -> Transcript {
        let mut tree = Transcript::new();
        for i in 0..count {
            tree.append_leaf(Hash32::of(&i.to_le_bytes()));
        }
        tree
    }

    /// RFC 6962 written down directly.
    fn naive_root(leaves: &[Hash32]) -> Hash32 {
        match leaves {
            [] => Hash32::of(&[]),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                inner_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    #[test]
    fn roots_match_the_definition_at_every_size() {
        let leaves: Vec<Hash32> = (0..70usize).map(|i| Hash32::of(&i.to_le_bytes())).collect();
        let tree = tree(leaves.len());
        for count in 0..=leaves.len() {
            assert_eq!(tree.root_at(count).unwrap(), naive_root(&leaves[..count]));
        }
        assert!(tree.root_at(71).is_err());
    }

    #[test]
    fn every_proof_of_small_trees_verifies_and_no_wrong_one_does() {
        let tree = tree(33);
        for count in 1..=33usize {
            let root = tree.root_at(count).unwrap();
            for index in 0..count {
                let leaf = tree.levels[0][index];
                let proof = tree.inclusion_proof(index, count).unwrap();
                assert!(verify_inclusion(leaf, index as u64, count as u64, &proof, &root));
                for wrong in (0..count).filter(|wrong| *wrong != index) {
                    assert!(!verify_inclusion(leaf, wrong as u64, count as u64, &proof, &root));
                }
            }
            for old in 0..=count {
                let old_root = tree.root_at(old).unwrap();
                let proof = tree.consistency_proof(old, count).unwrap();
                assert!(
                    verify_consistency(old as u64, &old_root, count as u64, &root, &proof),
                    "{old} {count}"
                );
                if old > 0 && old < count {
                    let other = Hash32::of(b"other history");
                    assert!(!verify_consistency(old as u64, &other, count as u64, &root, &proof));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn verifying_any_bytes_never_panics(index: u64, count: u64, old: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..44)) {
            let hashes: Vec<Hash32> = hashes.into_iter().map(Hash32).collect();
            let root = Hash32::of(b"root");
            prop_assert!(!verify_inclusion(Hash32::ZERO, index, count, &hashes, &root));
            let _ = verify_consistency(old, &root, count, &Hash32::ZERO, &hashes);
        }

        #[test]
        fn root_with_is_the_root_after_append(count in 0..200usize, units: u64) {
            let mut tree = tree(count);
            let record = Record {
                request_hash: Hash32::ZERO, response_hash: Hash32::ZERO, input: 1, output: 2,
                units: crate::Units(units), total_units: crate::Units(units), count: 1,
                status: crate::Status::Complete, work: Hash32::ZERO,
            };
            let expected = tree.root_with(&record);
            prop_assert_eq!(tree.append(&record), expected);
        }
    }
}

//! Records as they are shown on chain: the bytes of a leaf, and a proof that the transcript has it.

use crate::Result;
use crate::limits::{self, ensure};
use atoma_types::onchain::Abort;
use atoma_types::transcript::{self, PROOF_HASHES_MAX};
use atoma_types::{Hash32, Record, Units};

/// BCS of a [`Record`]: three hashes with their length, five `u64`, one `u8`.
pub const RECORD_BYTES: usize = 140;

/// A leaf as a caller shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// BCS of the [`Record`].
    pub record: Vec<u8>,
    pub index: u64,
    pub proof: Vec<Vec<u8>>,
}

/// The record of these bytes. Only the canonical ones have the right length.
pub(crate) fn decode(bytes: &[u8]) -> Result<Record> {
    ensure(bytes.len() == RECORD_BYTES, Abort::BadRecord)?;
    bcs::from_bytes(bytes).map_err(|_| Abort::BadRecord)
}

/// The shown record, if it is a leaf under `root`.
pub(crate) fn prove(shown: &Proven, count: u64, root: &Hash32) -> Result<Record> {
    let record = decode(&shown.record)?;
    ensure(shown.proof.len() <= PROOF_HASHES_MAX, Abort::BadProof)?;
    let hash = |bytes: &Vec<u8>| limits::check_bytes(bytes).map(Hash32).map_err(|_| Abort::BadProof);
    let proof = shown.proof.iter().map(hash).collect::<Result<Vec<_>>>()?;
    let leaf = transcript::leaf_hash(&record);
    let is_leaf = transcript::verify_inclusion(leaf, shown.index, count, &proof, root);
    ensure(is_leaf, Abort::BadProof)?;
    Ok(record)
}

/// Whether the record's units can be a claim's: no more than came with it in all, and those within the claim. Absurd
/// numbers would leave no verifiers' pay in range.
pub(crate) fn fits(units: Units, total: Units, to: Units) -> bool {
    units <= total && total <= to
}

/// Whether unit `offset` belongs to the record that ends at `total` and has `units`.
pub(crate) fn contains(units: Units, total: Units, offset: u64) -> bool {
    offset <= total.0 && offset > total.0.saturating_sub(units.0)
}

//! The proof of work: a digest that only running the model over prompt and answer gives.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};

type Hash = Blake2b<U32>;

/// BLAKE2b-256 of the parts, one after the other.
pub(crate) fn hash_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Hash::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// BLAKE2b-256 of the little-endian bytes of some logits.
pub(crate) fn hash_logits(logits: &[f32]) -> [u8; 32] {
    let mut hash = Hash::new();
    let mut buffer = [0u8; 4096];
    for chunk in logits.chunks(buffer.len() / 4) {
        for (bytes, logit) in buffer.as_chunks_mut::<4>().0.iter_mut().zip(chunk) {
            *bytes = logit.to_le_bytes();
        }
        hash.update(&buffer[..chunk.len() * 4]);
    }
    hash.finalize().into()
}

/// One output token and the hash of the logits after feeding it.
pub(crate) type Position = (u32, [u8; 32]);

/// The digests of one answer.
///
/// The stream is `H(last prompt logits)` and then, choice by choice, per output position
/// `u32_le(token) ‖ H(f32_le logits after feeding that token)`; H is BLAKE2b-256.
/// `D_j = H(u8 j ‖ stream)` for j = 1, 2 and `work = H(H(D_1) ‖ H(D_2))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    rounds: [[u8; 32]; 2],
}

impl Work {
    pub(crate) fn new<'a>(prompt: &[u8; 32], choices: impl Iterator<Item = &'a [Position]>) -> Self {
        let mut first = Hash::new();
        first.update([1]);
        first.update(prompt);
        let mut second = Hash::new();
        second.update([2]);
        second.update(prompt);
        for (token, logits) in choices.flatten() {
            for hash in [&mut first, &mut second] {
                hash.update(token.to_le_bytes());
                hash.update(logits);
            }
        }
        Self { rounds: [first.finalize().into(), second.finalize().into()] }
    }

    /// `D_1` and `D_2`, which the two rounds of an audit reveal.
    pub fn rounds(&self) -> [[u8; 32]; 2] {
        self.rounds
    }

    /// What the record and the receipt carry.
    pub fn digest(&self) -> [u8; 32] {
        let [first, second] = self.rounds.map(|round| hash_parts(&[&round]));
        hash_parts(&[&first, &second])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_formula() {
        let prompt = hash_logits(&[1.0, -2.0]);
        assert_eq!(prompt, hash_parts(&[&1.0f32.to_le_bytes(), &(-2.0f32).to_le_bytes()]));
        let choices: [&[Position]; 2] = [&[(7, [1; 32])], &[(8, [2; 32]), (9, [3; 32])]];
        let work = Work::new(&prompt, choices.into_iter());
        let mut stream = prompt.to_vec();
        for (token, hash) in choices.concat() {
            stream.extend(token.to_le_bytes());
            stream.extend(hash);
        }
        let rounds = [hash_parts(&[&[1], &stream]), hash_parts(&[&[2], &stream])];
        assert_eq!(work.rounds(), rounds);
        assert_eq!(work.digest(), hash_parts(&[&hash_parts(&[&rounds[0]]), &hash_parts(&[&rounds[1]])]));
    }
}

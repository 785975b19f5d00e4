//! The signature check that the chain does.

use atoma_types::PublicKey;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};

/// `sui::ed25519::ed25519_verify`: the rule of ZIP 215, as the chain's crypto library applies it.
///
/// The scalar must be canonical; the key and R may be any encodings of points, non-canonical ones and
/// small order included; the equation is the cofactored `[8][s]B = [8]R + [8][k]A`. Everything that strict
/// verification accepts off chain is accepted here, not the other way round.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    crate::meter::check_signature();
    verifies(key, message, signature).unwrap_or(false)
}

fn verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> Option<bool> {
    let (r_bytes, s_bytes) = signature.split_first_chunk::<32>()?;
    let s_bytes: [u8; 32] = s_bytes.try_into().ok()?;
    let s: Option<Scalar> = Scalar::from_canonical_bytes(s_bytes).into();
    let a = CompressedEdwardsY(key.0).decompress()?;
    let r = CompressedEdwardsY(*r_bytes).decompress()?;
    let challenge = Sha512::new().chain_update(r_bytes).chain_update(key.0).chain_update(message);
    let k = Scalar::from_bytes_mod_order_wide(&challenge.finalize().into());
    let r_expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-a, &s?);
    Some((r_expected - r).mul_by_cofactor().is_identity())
}

//! Ed25519 keys and signatures of the protocol's messages. Wallet keys that sign Sui transactions live
//! with the chain client; these sign grants, requests, vouchers and receipts.

use crate::hash::{deserialize_bytes, serialize_bytes};
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signer as _, Verifier as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// A signature did not verify, or the key is not a valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct SignatureError;

/// An ed25519 public key: 32 bytes, in BCS a `vector<u8>`, in JSON hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

/// A pure ed25519 signature: 64 bytes, in BCS a `vector<u8>`, in JSON hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

/// An ed25519 signing key. Never printed; wiped when dropped.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The 32-byte seed, for a keystore to write.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    pub fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}

impl PublicKey {
    /// Strict verification: refuses small-order keys and non-canonical encodings.
    pub fn verify_bytes(&self, bytes: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let key = self.dalek()?;
        // What `verify_strict` does, without decompressing the point R: it must be, byte for byte, what is computed.
        if key.is_weak() || signature.has_small_order() {
            return Err(SignatureError);
        }
        key.verify(bytes, &ed25519_dalek::Signature::from_bytes(&signature.0)).map_err(|_| SignatureError)
    }

    /// Whether the bytes are a point that can verify anything: not malformed, not of small order.
    pub fn is_usable(&self) -> bool {
        self.dalek().is_ok_and(|key| !key.is_weak())
    }

    fn dalek(&self) -> Result<ed25519_dalek::VerifyingKey, SignatureError> {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| SignatureError)
    }
}

/// The canonical encodings of the points of small order.
static SMALL_ORDER: LazyLock<[CompressedEdwardsY; 8]> =
    LazyLock::new(|| EIGHT_TORSION.map(|point| point.compress()));

impl Signature {
    /// Whether its point R is of small order, if it is canonical.
    fn has_small_order(&self) -> bool {
        SMALL_ORDER.iter().any(|point| self.0.starts_with(&point.0))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

macro_rules! byte_string {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_bytes(&self.0, serializer)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_bytes(deserializer).map(Self)
            }
        }
    };
}

byte_string!(PublicKey);
byte_string!(Signature);

impl FromStr for PublicKey {
    type Err = hex::FromHexError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(s.strip_prefix("0x").unwrap_or(s), &mut bytes)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use curve25519_dalek::scalar::Scalar;
    use sha2::{Digest as _, Sha512};

    /// What the library's strict verification says.
    fn strictly(key: &PublicKey, bytes: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.dalek().is_ok_and(|key| key.verify_strict(bytes, &signature).is_ok())
    }

    /// A signature whose R is the neutral element, which plain verification takes.
    fn with_small_order(key: &SecretKey, bytes: &[u8]) -> Signature {
        let r = SMALL_ORDER[0].0;
        let challenge = Sha512::new().chain_update(r).chain_update(key.public_key().0).chain_update(bytes);
        let s = Scalar::from_bytes_mod_order_wide(&challenge.finalize().into()) * key.0.to_scalar();
        Signature([r, s.to_bytes()].concat().try_into().unwrap())
    }

    #[test]
    fn a_signature_with_a_point_of_small_order_is_refused() {
        let key = SecretKey::from_seed([3; 32]);
        let forged = with_small_order(&key, b"message");
        let plain = ed25519_dalek::Signature::from_bytes(&forged.0);
        assert!(key.0.verifying_key().verify(b"message", &plain).is_ok());
        assert!(!strictly(&key.public_key(), b"message", &forged));
        assert!(key.public_key().verify_bytes(b"message", &forged).is_err());
    }

    #[test]
    fn every_changed_bit_is_seen_as_strict_verification_sees_it() {
        let key = SecretKey::from_seed([4; 32]);
        let signature = key.sign_bytes(b"message");
        assert!(key.public_key().verify_bytes(b"message", &signature).is_ok());
        for bit in 0..512 {
            let mut changed = signature;
            changed.0[bit / 8] ^= 1 << (bit % 8);
            let accepted = key.public_key().verify_bytes(b"message", &changed).is_ok();
            assert_eq!(
                (accepted, strictly(&key.public_key(), b"message", &changed)),
                (false, false),
                "bit {bit}"
            );
        }
        for point in SMALL_ORDER.iter() {
            let mut changed = signature;
            changed.0[..32].copy_from_slice(&point.0);
            let weak = PublicKey(point.0);
            assert!(key.public_key().verify_bytes(b"message", &changed).is_err());
            assert!(
                weak.verify_bytes(b"message", &changed).is_err() && !strictly(&weak, b"message", &changed)
            );
        }
    }
}

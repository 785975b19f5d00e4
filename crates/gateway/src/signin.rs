//! Proofs of who somebody is: how often they may be tried, and a signature by a Sui address.

use crate::rates::{Full, Window};
use atoma_client::ApiError;
use atoma_types::Address;
use http::StatusCode;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use sui_crypto::SuiVerifier as _;
use sui_crypto::simple::SimpleVerifier;
use sui_sdk_types::{PersonalMessage, SimpleSignature, UserSignature};

/// Names that are counted at once.
const NAMES_MAX: usize = 8_192;
/// Longest signature that is looked at, in base64.
const SIGNATURE_MAX: usize = 1_024;

/// Counts tries per name, in the last minute.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    windows: Mutex<HashMap<String, Box<Window>>>,
}

impl Limiter {
    /// Counts a try, unless there were too many.
    pub(crate) fn count(&self, name: String, limit: u64, now_s: u64) -> Result<(), ApiError> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= NAMES_MAX {
            windows.retain(|_, window| window.standing(1, now_s).remaining == 0);
        }
        if windows.len() >= NAMES_MAX && !windows.contains_key(&name) {
            return Err(ApiError::unavailable("overloaded", "too many sign-ins at once: try again"));
        }
        let window = windows.entry(name).or_default();
        match window.check(limit, 1, now_s) {
            Ok(()) => {
                window.take(1, now_s);
                Ok(())
            }
            Err(Full { retry_s, .. }) => Err(ApiError {
                retry_after: retry_s,
                ..ApiError::busy("too many tries to sign in: try again later")
            }),
        }
    }
}

/// Checks that an address signed a text: a `Signature` of Sui in base64, over the text as a personal message.
pub(crate) fn check_signature(address: Address, text: &str, signature: &str) -> Result<(), ApiError> {
    let refuse = |message: &str| {
        Err(ApiError {
            kind: "invalid_request_error",
            ..ApiError::new(StatusCode::UNAUTHORIZED, "invalid_signature", message)
        })
    };
    if signature.len() > SIGNATURE_MAX {
        return refuse("only ed25519 signatures are taken: sign with an ed25519 key");
    }
    let Ok(signature) = UserSignature::from_base64(signature) else {
        return refuse("not a Sui signature in base64: flag, signature and public key");
    };
    let UserSignature::Simple(SimpleSignature::Ed25519 { public_key, .. }) = &signature else {
        return refuse("only ed25519 signatures are taken: sign with an ed25519 key");
    };
    if public_key.derive_address() != address {
        return refuse("the signature is by another address");
    }
    let message = PersonalMessage(text.as_bytes().into());
    match SimpleVerifier.verify_personal_message(&message, &signature) {
        Ok(()) => Ok(()),
        Err(_) => refuse("the signature is not of the challenge"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sui_crypto::SuiSigner as _;
    use sui_crypto::ed25519::Ed25519PrivateKey;

    fn signed(text: &str) -> PersonalMessage<'_> {
        PersonalMessage(text.as_bytes().into())
    }

    #[test]
    fn only_the_addresss_own_signature_of_the_text_counts() {
        let key = Ed25519PrivateKey::new([7; 32]);
        let address = key.public_key().derive_address();
        let signature = key.sign_personal_message(&signed("hello")).unwrap().to_base64();
        check_signature(address, "hello", &signature).unwrap();
        let code = |address, text: &str, signature: &str| {
            check_signature(address, text, signature).unwrap_err().message
        };
        assert!(code(address, "hullo", &signature).contains("not of the challenge"));
        assert!(code(Address::TWO, "hello", &signature).contains("another address"));
        assert!(code(address, "hello", "AAAA").contains("not a Sui signature"));
        // Flag 1 is secp256k1.
        let other = STANDARD.encode([&[1u8][..], &[2; 64], &[2; 33]].concat());
        assert!(code(address, "hello", &other).contains("only ed25519"));
    }

    #[test]
    fn tries_are_counted_by_name() {
        let limiter = Limiter::default();
        for _ in 0..3 {
            limiter.count("a".into(), 3, 100).unwrap();
        }
        assert_eq!(limiter.count("a".into(), 3, 100).unwrap_err().retry_after, Some(61));
        limiter.count("b".into(), 3, 100).unwrap();
        limiter.count("a".into(), 3, 161).unwrap();
    }
}

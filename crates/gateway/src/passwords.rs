//! Passwords, hashed with argon2id off the threads that serve, few at once.

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use atoma_client::ApiError;
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

const LENGTH_MIN: usize = 8;
const LENGTH_MAX: usize = 256;
/// Memory in KiB, passes and lanes.
const COST: (u32, u32, u32) = (19_456, 2, 1);
/// Who may wait for a place, per place.
const WAITING: usize = 16;

/// What the password of a login that does not exist is compared with, so that it takes as long.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash("nobody's password").ok());

/// Hashes and checks passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Passwords {
    pub(crate) fn new(at_once: usize) -> Self {
        let waiting = Semaphore::new(at_once.saturating_mul(WAITING));
        Self { places: Arc::new(Semaphore::new(at_once)), waiting }
    }

    pub(crate) async fn hash(&self, password: String) -> Result<String, ApiError> {
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&password.len()) {
            let message = format!("a password has {LENGTH_MIN} to {LENGTH_MAX} bytes");
            return Err(ApiError::bad_request("invalid_password", message));
        }
        self.run(move || hash(&password)).await?
    }

    /// Whether it is the password; takes as long where there is none.
    pub(crate) async fn check(&self, password: String, known: Option<String>) -> Result<bool, ApiError> {
        if password.len() > LENGTH_MAX {
            return Ok(false);
        }
        self.run(move || {
            let nobody = NOBODY.as_deref();
            let is_known = known.is_some();
            let Some(hash) = known.as_deref().or(nobody) else { return false };
            let Ok(hash) = PasswordHash::new(hash) else { return false };
            argon().is_ok_and(|argon| argon.verify_password(password.as_bytes(), &hash).is_ok()) && is_known
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let busy = |_| ApiError::unavailable("overloaded", "too many sign-ins at once: try again");
        let _waiting = self.waiting.try_acquire().map_err(busy)?;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| internal())?;
        let work = move || {
            let done = work();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| internal())
    }
}

fn argon() -> Result<Argon2<'static>, ApiError> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|_| internal())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, ApiError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| internal())?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| internal())?;
    let hash = argon()?.hash_password(password.as_bytes(), &salt).map_err(|_| internal())?;
    Ok(hash.to_string())
}

fn internal() -> ApiError {
    ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the password cannot be checked")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_opens_only_its_own_hash() {
        let passwords = Passwords::new(1);
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse".into()).await.unwrap());
        assert!(passwords.check("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.check("wrong horse".into(), Some(hash)).await.unwrap());
        for nobody in ["nobody's password", "wrong horse"] {
            assert!(!passwords.check(nobody.into(), None).await.unwrap());
        }
        assert_eq!(passwords.hash("short".into()).await.unwrap_err().code, "invalid_password");
        assert!(!passwords.check("x".repeat(300), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_flood_is_refused_and_not_queued() {
        let passwords = Passwords::new(1);
        let all = (0..WAITING + 4).map(|_| passwords.check("some password".into(), None));
        let refused = futures::future::join_all(all).await.into_iter().filter(Result::is_err).count();
        assert_eq!(refused, 4);
    }
}

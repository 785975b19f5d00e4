//! API keys and their budgets. A key is shown once and kept as a hash; a budget is reserved before a
//! request and settled after it, so that requests in flight together never exceed it.

use atoma_client::ApiError;
use atoma_types::{Amount, Hash32};
use http::{HeaderMap, StatusCode, header};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What every key starts with.
pub const PREFIX: &str = "atoma-";
/// Longest header value that is looked at.
const HEADER_MAX: usize = 256;
/// Leading bytes of a key's hash by which it is found; the rest is compared in constant time.
const INDEX_BYTES: usize = 8;

/// Number of a key in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct KeyId(pub i64);

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    pub name: String,
    /// Base units of the coin it may spend; everything if `None`.
    pub budget: Option<Amount>,
}

/// A new key. The secret is nowhere else.
#[derive(Clone)]
pub struct CreatedKey {
    pub id: KeyId,
    pub secret: String,
    pub last4: String,
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CreatedKey({}, …{})", self.id.0, self.last4)
    }
}

/// Why no secret could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no randomness")]
pub struct NoRandomness;

/// A fresh secret of 256 random bits.
pub(crate) fn new_secret() -> Result<String, NoRandomness> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(format!("{PREFIX}{}", hex::encode(bytes)))
}

/// What is kept of a secret.
pub(crate) fn hash_of(secret: &str) -> Hash32 {
    Hash32::of(secret.as_bytes())
}

pub(crate) fn last4(secret: &str) -> String {
    let skip = secret.chars().count().saturating_sub(4);
    secret.chars().skip(skip).collect()
}

/// A key as the store has it.
#[derive(Clone, Debug)]
pub struct KeyRow {
    pub id: KeyId,
    pub hash: Hash32,
    pub last4: String,
    pub name: String,
    pub budget: Option<Amount>,
    pub disabled: bool,
    pub spent: Amount,
}

/// A key in use.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) last4: String,
    hash: Hash32,
    disabled: AtomicBool,
    account: Mutex<Account>,
    /// Places for its bodies.
    bodies: Arc<Semaphore>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    budget: Option<Amount>,
    spent: Amount,
    reserved: Amount,
}

/// A key's money at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) budget: Option<Amount>,
    pub(crate) spent: Amount,
    pub(crate) reserved: Amount,
}

impl Key {
    pub(crate) fn new(row: KeyRow, bodies: usize) -> Self {
        let account = Account { budget: row.budget, spent: row.spent, reserved: Amount::ZERO };
        Self {
            id: row.id,
            last4: row.last4,
            hash: row.hash,
            disabled: AtomicBool::new(row.disabled),
            account: Mutex::new(account),
            bodies: Arc::new(Semaphore::new(bodies)),
        }
    }

    /// A place for a body, until it is dropped.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.bodies).try_acquire_owned();
        place.map_err(|_| ApiError::busy("the key has too many requests in flight: try again"))
    }

    pub(crate) fn balance(&self) -> Balance {
        let Account { budget, spent, reserved } = *self.account();
        Balance { budget, spent, reserved }
    }

    /// Sets aside the most that a request can cost.
    pub(crate) fn reserve(self: &Arc<Self>, most: Amount) -> Result<Hold, ApiError> {
        let account = self.account();
        let used = account.spent.add(account.reserved).and_then(|used| used.add(most));
        let within = match (used, account.budget) {
            (Ok(used), Some(budget)) => used <= budget,
            (Ok(_), None) => true,
            (Err(_), _) => false,
        };
        if !within {
            return Err(exhausted(&account, most));
        }
        Ok(self.hold(account, most))
    }

    /// Sets aside again what was set aside before a crash, whatever the budget is now.
    pub(crate) fn reserve_again(self: &Arc<Self>, most: Amount) -> Hold {
        self.hold(self.account(), most)
    }

    fn hold(self: &Arc<Self>, mut account: MutexGuard<'_, Account>, amount: Amount) -> Hold {
        account.reserved = Amount(account.reserved.0.saturating_add(amount.0));
        Hold { key: Arc::clone(self), amount }
    }

    /// Follows what an operator changed.
    fn update(&self, row: &KeyRow) {
        self.disabled.store(row.disabled, Ordering::Relaxed);
        self.account().budget = row.budget;
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn exhausted(account: &Account, most: Amount) -> ApiError {
    let message = format!(
        "the key's budget does not cover this request: it may cost {most}, {} is spent and {} is reserved of {}",
        account.spent,
        account.reserved,
        account.budget.unwrap_or(Amount::MAX)
    );
    ApiError {
        kind: "insufficient_quota",
        ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", message)
    }
}

/// Money of a key that a request in flight may use. Dropped, it gives everything back.
#[derive(Debug)]
pub(crate) struct Hold {
    key: Arc<Key>,
    amount: Amount,
}

impl Hold {
    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    pub(crate) fn amount(&self) -> Amount {
        self.amount
    }

    /// Keeps it set aside until the process ends.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }

    /// Spends what the request cost, never more than was set aside, and gives back the rest.
    pub(crate) fn settle(self, cost: Amount) {
        let cost = cost.min(self.amount);
        let mut account = self.key.account();
        account.spent = Amount(account.spent.0.saturating_add(cost.0));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut account = self.key.account();
        account.reserved = account.reserved.saturating_sub(self.amount);
    }
}

type Index = HashMap<[u8; INDEX_BYTES], Vec<Arc<Key>>>;

/// Every key, found by its secret.
#[derive(Debug)]
pub(crate) struct Keys {
    index: RwLock<Index>,
    bodies_per_key: usize,
}

impl Keys {
    pub(crate) fn new(bodies_per_key: usize) -> Self {
        Self { index: RwLock::default(), bodies_per_key }
    }

    /// Adds new keys and follows changes of known ones.
    pub(crate) fn load(&self, rows: Vec<KeyRow>) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let bucket = index.entry(index_of(&row.hash)).or_default();
            match bucket.iter().find(|key| key.id == row.id) {
                Some(key) => key.update(&row),
                None => bucket.push(Arc::new(Key::new(row, self.bodies_per_key))),
            }
        }
    }

    pub(crate) fn by_id(&self, id: KeyId) -> Option<Arc<Key>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.values().flatten().find(|key| key.id == id).cloned()
    }

    /// The key with this secret, unless it is disabled.
    pub(crate) fn find(&self, secret: &str) -> Option<Arc<Key>> {
        let hash = hash_of(secret);
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let bucket = index.get(&index_of(&hash))?;
        let key = bucket.iter().find(|key| bool::from(key.hash.0.ct_eq(&hash.0)))?;
        (!key.disabled.load(Ordering::Relaxed)).then(|| Arc::clone(key))
    }
}

fn index_of(hash: &Hash32) -> [u8; INDEX_BYTES] {
    let mut index = [0; INDEX_BYTES];
    index.copy_from_slice(&hash.0[..INDEX_BYTES]);
    index
}

/// The secret in a request's `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let refuse = |message: &str| {
        Err(ApiError {
            kind: "invalid_request_error",
            ..ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
        })
    };
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return refuse("no API key: send it as Authorization: Bearer atoma-…");
    };
    let secret = value
        .to_str()
        .ok()
        .filter(|value| value.len() <= HEADER_MAX)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, secret)| secret.trim());
    match secret {
        Some(secret) if secret.starts_with(PREFIX) => Ok(secret),
        _ => refuse("not an API key of this gateway: send it as Authorization: Bearer atoma-…"),
    }
}

/// The answer to an unknown or disabled key.
pub(crate) fn unknown_key(secret: &str) -> ApiError {
    let message = format!("unknown or disabled API key ending in {}", last4(secret));
    ApiError {
        kind: "invalid_request_error",
        ..ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(secret: &str, budget: Option<u64>) -> KeyRow {
        KeyRow {
            id: KeyId(1),
            hash: hash_of(secret),
            last4: last4(secret),
            name: String::new(),
            budget: budget.map(Amount),
            disabled: false,
            spent: Amount::ZERO,
        }
    }

    #[test]
    fn a_secret_finds_its_key_until_it_is_disabled() {
        let (keys, secret) = (Keys::new(1), new_secret().unwrap());
        assert_eq!(secret.len(), PREFIX.len() + 64);
        keys.load(vec![row(&secret, None)]);
        assert!(secret.ends_with(&keys.find(&secret).unwrap().last4));
        assert!(keys.find(&new_secret().unwrap()).is_none());
        keys.load(vec![KeyRow { disabled: true, ..row(&secret, None) }]);
        assert!(keys.find(&secret).is_none());
    }

    #[test]
    fn only_bearer_keys_of_ours_are_looked_up() {
        let with = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&with("Bearer atoma-1")).unwrap(), "atoma-1");
        assert_eq!(bearer(&with("bearer  atoma-1")).unwrap(), "atoma-1");
        for bad in ["atoma-1", "Basic atoma-1", "Bearer sk-1", "Bearer", &"x".repeat(300)] {
            assert_eq!(bearer(&with(bad)).unwrap_err().code, "invalid_api_key");
        }
        assert_eq!(bearer(&HeaderMap::new()).unwrap_err().status, StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn what_was_in_flight_before_a_crash_counts_in_full() {
        let key = Arc::new(Key::new(row("atoma-x", Some(100)), 1));
        let before = key.reserve_again(Amount(60));
        assert!(key.reserve(Amount(41)).is_err());
        let now = key.reserve(Amount(40)).unwrap();
        drop(now);
        before.settle(Amount(10));
        let unknown = key.reserve(Amount(90)).unwrap();
        unknown.keep();
        assert!(key.reserve(Amount(1)).is_err());
    }

    proptest! {
        #[test]
        fn a_budget_is_never_exceeded_and_nothing_is_lost(
            budget in 0..10_000u64,
            steps in prop::collection::vec((0..2_000u64, 0..2_500u64, 0..3u8), 0..60),
        ) {
            let key = Arc::new(Key::new(row("atoma-x", Some(budget)), 1));
            let (mut holds, mut spent) = (Vec::new(), 0);
            for (most, cost, then) in steps {
                if let Ok(hold) = key.reserve(Amount(most)) {
                    holds.push((hold, cost));
                }
                match then {
                    0 => {}
                    1 => drop(holds.pop()),
                    _ => if let Some((hold, cost)) = holds.pop() {
                        spent += cost.min(hold.amount.0);
                        hold.settle(Amount(cost));
                    }
                }
                let balance = key.balance();
                prop_assert_eq!(balance.spent.0, spent);
                prop_assert_eq!(balance.reserved.0, holds.iter().map(|(hold, _)| hold.amount.0).sum::<u64>());
                prop_assert!(balance.spent.0 + balance.reserved.0 <= budget);
            }
            drop(holds);
            prop_assert_eq!(key.balance().reserved, Amount::ZERO);
        }
    }
}

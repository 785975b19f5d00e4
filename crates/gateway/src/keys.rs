//! API keys. A key is shown once and kept as a hash; what it, or its account, may spend is reserved before a
//! request and settled after it (see [`crate::money`]), so that requests in flight together never exceed it.

use crate::metrics::Leases;
use crate::money::Owner;
use crate::store::{AccountRow, Correct, Grant, Limits, PurseId};
use atoma_client::ApiError;
use atoma_types::{Amount, Hash32};
use http::{HeaderMap, StatusCode, header};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What every key starts with.
pub const PREFIX: &str = "atoma-";
/// Longest header value that is looked at.
const HEADER_MAX: usize = 256;
/// Leading bytes of a key's hash by which it is found; the rest is compared in constant time.
const INDEX_BYTES: usize = 8;
/// About how many leases are given back in one commit.
const IDLE_MAX: usize = 256;

/// Number of a key in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub i64);

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(i64);

impl Scopes {
    /// Asking models.
    pub const INFERENCE: Self = Self(1);
    /// Reading what the key, or its account, paid.
    pub const USAGE: Self = Self(2);
    /// Reading the account: its balance, deposits and keys.
    pub const ACCOUNT: Self = Self(4);
    pub const ALL: Self = Self(7);

    const NAMES: [(&'static str, Self); 3] =
        [("inference", Self::INFERENCE), ("usage", Self::USAGE), ("account", Self::ACCOUNT)];

    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(_, scope)| self.has(*scope)).map(|(name, _)| *name).collect()
    }

    /// `None` if one is unknown or there is none.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut bits = 0;
        for name in names {
            bits |= Self::NAMES.iter().find(|(known, _)| *known == name)?.1.0;
        }
        (bits != 0).then_some(Self(bits))
    }

    pub(crate) fn bits(self) -> i64 {
        self.0
    }

    pub(crate) fn from_bits(bits: i64) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl Default for Scopes {
    fn default() -> Self {
        Self::ALL
    }
}

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    pub name: String,
    /// Base units of the coin it may spend; everything if `None`.
    pub budget: Option<Amount>,
    /// Whose money it spends; the operator's if `None`.
    pub account: Option<i64>,
    pub scopes: Scopes,
    pub expires_ms: Option<u64>,
    pub limits: Limits,
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
pub(crate) struct KeyRow {
    pub(crate) id: KeyId,
    pub(crate) hash: Hash32,
    pub(crate) last4: String,
    pub(crate) name: String,
    pub(crate) budget: Option<Amount>,
    pub(crate) disabled: bool,
    pub(crate) account: Option<i64>,
    pub(crate) scopes: Scopes,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) limits: Limits,
    pub(crate) created_ms: u64,
}

/// A key in use.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) last4: String,
    pub(crate) scopes: Scopes,
    hash: Hash32,
    expires_ms: Option<u64>,
    disabled: AtomicBool,
    purse: Owner,
    account: Option<Arc<Account>>,
    /// Places for its bodies.
    bodies: Arc<Semaphore>,
    /// Whoever leases money for it; the others wait for what that brings.
    pub(crate) leasing: Arc<tokio::sync::Mutex<()>>,
}

/// An account in use.
#[derive(Debug)]
pub(crate) struct Account {
    purse: Owner,
    disabled: AtomicBool,
}

impl Key {
    fn new(row: KeyRow, account: Option<Arc<Account>>, bodies: usize) -> Self {
        Self {
            id: row.id,
            last4: row.last4,
            scopes: row.scopes,
            hash: row.hash,
            expires_ms: row.expires_ms,
            disabled: AtomicBool::new(row.disabled),
            purse: Owner::new(row.id.0, false, row.limits),
            account,
            bodies: Arc::new(Semaphore::new(bodies)),
            leasing: Arc::default(),
        }
    }

    /// A place for a body, until it is dropped.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.bodies).try_acquire_owned();
        place.map_err(|_| ApiError::busy("the key has too many requests in flight: try again"))
    }

    /// Who pays, in the order in which they are locked.
    pub(crate) fn owners(&self) -> Vec<&Owner> {
        std::iter::once(&self.purse).chain(self.account()).collect()
    }

    pub(crate) fn account(&self) -> Option<&Owner> {
        self.account.as_ref().map(|account| &account.purse)
    }

    fn is_usable(&self) -> bool {
        let is_over = self.expires_ms.is_some_and(|end| crate::store::now_ms() >= end);
        let account_off =
            self.account.as_ref().is_some_and(|account| account.disabled.load(Ordering::Relaxed));
        !is_over && !account_off && !self.disabled.load(Ordering::Relaxed)
    }

    /// Follows what was changed.
    fn update(&self, row: &KeyRow) {
        self.disabled.store(row.disabled, Ordering::Relaxed);
        self.purse.set_limits(row.limits);
    }
}

/// Every key, found by its secret, and every account.
#[derive(Debug)]
pub(crate) struct Keys {
    state: RwLock<Index>,
    bodies_per_key: usize,
}

#[derive(Debug, Default)]
struct Index {
    by_hash: HashMap<[u8; INDEX_BYTES], Vec<Arc<Key>>>,
    by_id: HashMap<KeyId, Arc<Key>>,
    accounts: HashMap<i64, Arc<Account>>,
}

impl Keys {
    pub(crate) fn new(bodies_per_key: usize) -> Self {
        Self { state: RwLock::default(), bodies_per_key }
    }

    /// Adds new accounts and keys and follows changes of known ones. A key whose account is not known waits for
    /// the next look.
    pub(crate) fn load(&self, accounts: Vec<AccountRow>, rows: Vec<KeyRow>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        for row in accounts {
            let new = || {
                Arc::new(Account {
                    purse: Owner::new(row.id, true, row.limits),
                    disabled: AtomicBool::new(row.disabled),
                })
            };
            let account = state.accounts.entry(row.id).or_insert_with(new);
            account.disabled.store(row.disabled, Ordering::Relaxed);
            account.purse.set_limits(row.limits);
        }
        for row in rows {
            if let Some(key) = state.by_id.get(&row.id) {
                key.update(&row);
                continue;
            }
            let account = match row.account {
                None => None,
                Some(id) => match state.accounts.get(&id) {
                    Some(account) => Some(Arc::clone(account)),
                    None => continue,
                },
            };
            let key = Arc::new(Key::new(row, account, self.bodies_per_key));
            state.by_hash.entry(index_of(&key.hash)).or_default().push(Arc::clone(&key));
            state.by_id.insert(key.id, key);
        }
    }

    pub(crate) fn by_id(&self, id: KeyId) -> Option<Arc<Key>> {
        self.read().by_id.get(&id).cloned()
    }

    /// The key with this secret, unless it is disabled or over.
    pub(crate) fn find(&self, secret: &str) -> Option<Arc<Key>> {
        let hash = hash_of(secret);
        let state = self.read();
        let bucket = state.by_hash.get(&index_of(&hash))?;
        let key = bucket.iter().find(|key| bool::from(key.hash.0.ct_eq(&hash.0)))?;
        key.is_usable().then(|| Arc::clone(key))
    }

    /// Hands what was leased to whose it is.
    pub(crate) fn granted(&self, grant: &Grant, now: Instant) {
        self.with_owner(grant.purse, |owner| owner.granted(grant, now));
    }

    /// Takes leases out of use that nobody used since the last call; if there are many, some of them.
    pub(crate) fn idle(&self) -> Vec<(PurseId, Amount)> {
        let state = self.read();
        let keys = state.by_id.values().map(|key| &key.purse);
        let mut idle = Vec::new();
        for owner in keys.chain(state.accounts.values().map(|account| &account.purse)) {
            idle.extend(owner.idle());
            if idle.len() >= IDLE_MAX {
                break;
            }
        }
        idle
    }

    /// What this process has leased of all of them.
    pub(crate) fn leases(&self) -> Leases {
        let state = self.read();
        let keys = state.by_id.values().map(|key| &key.purse);
        let owners = keys.chain(state.accounts.values().map(|account| &account.purse));
        owners.fold(Leases::default(), |sum, owner| {
            let Leases { leased, reserved } = owner.leases();
            Leases {
                leased: sum.leased.saturating_add(leased),
                reserved: sum.reserved.saturating_add(reserved),
            }
        })
    }

    fn with_owner(&self, purse: PurseId, act: impl FnOnce(&Owner)) {
        let state = self.read();
        if purse.kind.is_of_account() {
            if let Some(account) = state.accounts.get(&purse.owner) {
                act(&account.purse);
            }
        } else if let Some(key) = state.by_id.get(&KeyId(purse.owner)) {
            act(&key.purse);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Correct for Keys {
    fn correct(&self, purse: PurseId, delta: i128) {
        self.with_owner(purse, |owner| owner.correct(purse, delta));
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
#[path = "keys/tests.rs"]
mod tests;

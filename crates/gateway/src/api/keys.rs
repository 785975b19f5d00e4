//! An account's API keys.

use super::openapi::{Access, Doc, json_of};
use super::shape::shapes;
use super::{Shared, read, store_failed};
use crate::keys::{KeyId, KeyRow, NewKey, Scopes};
use crate::store::{Limits, StoreError, now_ms};
use atoma_client::ApiError;
use atoma_types::Amount;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};

pub(super) const LIST: Doc = Doc::get(
    "The account's keys; with a key, it needs the scope account.",
    &[Access::Session, Access::Key],
    json_of::<Listed>("200"),
);
pub(super) const CREATE: Doc = Doc::post::<Wanted>(
    "Make a key. The secret is in the answer and nowhere else.",
    &[Access::Session],
    json_of::<Made>("201"),
);
pub(super) const DELETE: Doc = Doc::delete("Delete a key.", &[Access::Session]);

shapes! {
    /// A key to make.
    taken struct Wanted {
        name: String,
        /// Of inference, usage and account; all if missing.
        scopes: Option<Vec<String>>,
        expires_ms: Option<u64>,
        /// Most that it may spend, in base units of the coin.
        budget: Option<Amount>,
        limits: Option<Limits>,
    }
    /// A new key.
    sent struct Made { secret: String, key: Key }
    /// Keys.
    sent struct Listed { object: &'static str, data: Vec<Key> }
    /// A key, without its secret.
    sent struct Key {
        id: i64,
        name: String,
        last4: String,
        scopes: Vec<&'static str>,
        created_ms: u64,
        expires_ms: Option<u64>,
        budget: Option<Amount>,
        limits: Limits,
    }
}

impl From<KeyRow> for Key {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            last4: row.last4,
            scopes: row.scopes.names(),
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
            budget: row.budget,
            limits: row.limits,
        }
    }
}

pub(super) async fn list(State(gateway): Shared, headers: HeaderMap) -> Result<Json<Listed>, ApiError> {
    let account = gateway.caller(&headers).await?.account(Scopes::ACCOUNT, "account")?;
    let rows = gateway.store.keys_of(account).await.map_err(store_failed)?;
    Ok(Json(Listed { object: "list", data: rows.into_iter().map(Key::from).collect() }))
}

pub(super) async fn create(
    State(gateway): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let account = gateway.signed_in(&headers).await?;
    let Wanted { name, scopes, expires_ms, budget, limits } = read(body).await?;
    let scopes = match &scopes {
        None => Scopes::ALL,
        Some(names) => Scopes::parse(names.iter().map(String::as_str)).ok_or_else(|| {
            ApiError::bad_request("invalid_scope", "scopes are inference, usage and account, one at least")
        })?,
    };
    if expires_ms.is_some_and(|end| end <= now_ms()) {
        return Err(ApiError::bad_request("invalid_expiry", "expires_ms is not in the future"));
    }
    let limits = limits.unwrap_or_default();
    let amounts = [budget.map(u64::from), limits.spend_per_day.map(u64::from), expires_ms];
    let rates = [limits.requests_per_minute, limits.units_per_minute];
    if amounts.iter().chain(&rates).flatten().any(|value| i64::try_from(*value).is_err()) {
        return Err(ApiError::bad_request("invalid_request", "a limit is out of range"));
    }
    let new = NewKey { name, budget, account: Some(account), scopes, expires_ms, limits };
    let created = gateway.create_key(new).await.map_err(key_error)?;
    let row = gateway.store.key(created.id).await.map_err(store_failed)?;
    let made = Made { secret: created.secret, key: Key::from(row) };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

pub(super) async fn delete(
    State(gateway): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let account = gateway.signed_in(&headers).await?;
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "key_not_found", "the account has no such key");
    let id = KeyId(id.parse().map_err(|_| unknown())?);
    match gateway.store.delete_key(account, id).await {
        Err(StoreError::UnknownKey(_)) => return Err(unknown()),
        deleted => deleted.map_err(store_failed)?,
    }
    gateway.keys.load(Vec::new(), vec![gateway.store.key(id).await.map_err(store_failed)?]);
    Ok(StatusCode::NO_CONTENT)
}

fn key_error(error: StoreError) -> ApiError {
    match error {
        StoreError::LongName | StoreError::ManyKeys(_) => {
            ApiError::bad_request("invalid_request", error.to_string())
        }
        error => store_failed(error),
    }
}

//! Who asks.

use super::{out_of_scope, store_failed};
use crate::identity::OPERATOR_PREFIX;
use crate::keys::{self, Key, Scopes, hash_of};
use crate::serve::Gateway;
use atoma_client::ApiError;
use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap, StatusCode, header};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// What a session's token starts with.
pub(super) const SESSION_PREFIX: &str = "atoma-session-";
pub(super) const COOKIE: &str = "atoma_session";
const TOKEN_MAX: usize = 256;

/// Somebody who proved to be.
pub(super) enum Caller {
    Key(Arc<Key>),
    /// By a session.
    Account(i64),
    Operator,
}

impl Caller {
    /// The account behind a session, or behind a key that has the scope.
    pub(super) fn account(&self, scope: Scopes, name: &str) -> Result<i64, ApiError> {
        match self {
            Self::Account(account) => Ok(*account),
            Self::Key(key) if !key.scopes.has(scope) => Err(out_of_scope(name)),
            Self::Key(key) => key.account().map(|account| account.id()).ok_or_else(no_account),
            Self::Operator => Err(no_account()),
        }
    }
}

fn no_account() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "no_account", "this credential belongs to no account")
}

impl Gateway {
    /// By a key, a session or the operator's token.
    pub(super) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if let Some(token) = session_token(headers) {
            return self.session_account(token).await.map(Caller::Account);
        }
        let token = keys::bearer(headers)?;
        if token.starts_with(OPERATOR_PREFIX) {
            return if self.operator.is(token) {
                Ok(Caller::Operator)
            } else {
                Err(keys::unknown_key(token))
            };
        }
        self.keys.find(token).map(Caller::Key).ok_or_else(|| keys::unknown_key(token))
    }

    /// By a session only: keys do not manage keys.
    pub(super) async fn signed_in(&self, headers: &HeaderMap) -> Result<i64, ApiError> {
        match self.caller(headers).await? {
            Caller::Account(account) => Ok(account),
            _ => Err(ApiError::new(StatusCode::FORBIDDEN, "session_required", "sign in to do this")),
        }
    }

    async fn session_account(&self, token: &str) -> Result<i64, ApiError> {
        let found = self.store.session(hash_of(token)).await.map_err(store_failed)?;
        found.ok_or_else(|| {
            ApiError::new(StatusCode::UNAUTHORIZED, "invalid_session", "the session is over: sign in again")
        })
    }
}

/// A session's token, in the header or else in the cookie.
pub(super) fn session_token(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(header::AUTHORIZATION) {
        return keys::bearer(headers).ok().filter(|token| token.starts_with(SESSION_PREFIX));
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, token) = pairs.find(|(name, _)| *name == COOKIE)?;
    (token.len() <= TOKEN_MAX && token.starts_with(SESSION_PREFIX)).then_some(token)
}

/// Where the connection comes from.
pub(super) fn peer(extensions: &Extensions) -> IpAddr {
    let known = extensions.get::<ConnectInfo<SocketAddr>>();
    known.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())
}

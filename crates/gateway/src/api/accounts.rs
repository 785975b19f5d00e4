//! Signing up and in, and what an account has.

use super::caller::{COOKIE, SESSION_PREFIX, peer, session_token};
use super::openapi::{Access, Answer, Doc, json_of};
use super::shape::{Shape, shapes};
use super::{Shared, read, store_failed};
use crate::identity::random_hex;
use crate::keys::{Scopes, hash_of};
use crate::money::Now;
use crate::serve::Gateway;
use crate::signin::check_signature;
use crate::store::{Limits, StoreError, now_ms};
use atoma_client::ApiError;
use atoma_types::{Address, Amount};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use std::time::Duration;

const LOGIN_MIN: usize = 3;
const LOGIN_MAX: usize = 128;
/// How long a challenge may wait for its signature.
const CHALLENGE_LIFE: Duration = Duration::from_secs(300);
const HOST_MAX: usize = 128;

const SESSION: &[Access] = &[Access::Session];
pub(super) const SIGN_UP: Doc =
    Doc::post::<Credentials>("Sign up, where that is open.", &[], json_of::<Created>("201"));
pub(super) const CHALLENGE: Doc =
    Doc::post::<Asked>("A text to sign with an address.", &[], json_of::<Challenge>("200"));
pub(super) const SIGN_IN: Doc = Doc::post::<Proof>(
    "Sign in with login and password, or with an address and its signature of a challenge as a personal message. \
     An address without an account gets one, where sign-up is open.",
    &[],
    json_of::<Opened>("201"),
);
pub(super) const SIGN_OUT: Doc = Doc::delete("End the session.", SESSION);
pub(super) const SHOW: Doc =
    Doc::get("The account and its money.", &[Access::Session, Access::Key], json_of::<Shown>("200"));
pub(super) const SET_PASSWORD: Doc = Doc::post::<NewPassword>(
    "Change the password. All sessions end, this one too; keys stay.",
    SESSION,
    Answer::Other("204", ""),
);
pub(super) const ADD_ADDRESS: Doc = Doc {
    answer: Answer::Other("204", ""),
    ..Doc::post::<Claim>(
        "Add an address, whose transfers to the gateway are the account's deposits.",
        SESSION,
        Answer::Other("204", ""),
    )
};

shapes! {
    /// A login and its password.
    taken struct Credentials {
        /// 3 to 128 letters, digits and ._%+@- ; capitals do not count.
        login: String,
        /// 8 to 256 bytes.
        password: String,
    }
    /// A new account.
    sent struct Created { id: i64, login: String }
    /// Who will sign.
    taken struct Asked { address: Address }
    /// A text to sign as a personal message.
    sent struct Challenge { challenge: String, expires_ms: u64 }
    /// The password, and the one in its place.
    taken struct NewPassword {
        password: String,
        /// 8 to 256 bytes.
        new_password: String,
    }
    /// What proves who signs in: login and password, or address, challenge and signature.
    taken struct Proof {
        login: Option<String>,
        password: Option<String>,
        address: Option<Address>,
        challenge: Option<String>,
        /// Flag, ed25519 signature and public key in base64, as Sui's wallets give it.
        signature: Option<String>,
    }
    /// A session. The token is the cookie's, too.
    sent struct Opened { token: String, account: i64, expires_ms: u64 }
    /// An address and its signature of a challenge.
    taken struct Claim { address: Address, challenge: String, signature: String }
    /// An account.
    sent struct Shown {
        id: i64,
        login: Option<String>,
        addresses: Vec<Address>,
        created_ms: u64,
        balance: Balance,
        limits: Limits,
        /// Where to send the market's coin, from one of the addresses.
        deposit_address: Option<Address>,
        /// Of the coin to send.
        markup_permille: u64,
    }
    /// Money of an account.
    sent struct Balance {
        /// Deposits.
        credited: Amount,
        spent: Amount,
        /// Set aside for requests that are not settled.
        reserved: Amount,
        available: Amount,
    }
}

impl Shape for Limits {
    fn schema() -> Value {
        let most = || <Option<u64> as Shape>::schema();
        super::shape::object(
            "Most of each; everything where it is null.",
            vec![
                ("requests_per_minute", most(), true, String::new()),
                ("units_per_minute", most(), true, "Tokens as the market weighs them.".to_owned()),
                ("spend_per_day", most(), true, "Base units of the coin, per day of UTC.".to_owned()),
            ],
        )
    }
}

pub(super) async fn sign_up(
    State(gateway): Shared,
    extensions: Extensions,
    body: Body,
) -> Result<Response, ApiError> {
    gateway.require_open()?;
    let Credentials { login, password } = read(body).await?;
    let login = checked_login(&login)?;
    gateway.count_try(&extensions, &login)?;
    let hash = gateway.passwords.hash(password).await?;
    let limits = gateway.config.accounts.limits;
    let made = gateway.store.create_account(Some((login.clone(), hash)), None, limits).await;
    let id = made.map_err(account_error)?;
    Ok((StatusCode::CREATED, Json(Created { id, login })).into_response())
}

pub(super) async fn challenge(
    State(gateway): Shared,
    headers: HeaderMap,
    extensions: Extensions,
    body: Body,
) -> Result<Json<Challenge>, ApiError> {
    let Asked { address } = read(body).await?;
    gateway.count_try(&extensions, &address.to_string())?;
    let nonce = random_hex().map_err(|_| store_failed(StoreError::NoRandomness))?;
    let life = u64::try_from(CHALLENGE_LIFE.as_millis()).unwrap_or(u64::MAX);
    let expires_ms = now_ms().saturating_add(life);
    let text = format!(
        "Sign in to the Atoma gateway {}\naddress: {address}\nnonce: {nonce}\nexpires: {expires_ms}",
        host(&headers)
    );
    let kept = gateway.store.open_challenge(hash_of(&text), address, expires_ms).await;
    if !kept.map_err(store_failed)? {
        return Err(ApiError::busy("too many challenges wait for this address: sign one of them"));
    }
    Ok(Json(Challenge { challenge: text, expires_ms }))
}

pub(super) async fn sign_in(
    State(gateway): Shared,
    extensions: Extensions,
    body: Body,
) -> Result<Response, ApiError> {
    let account = match read(body).await? {
        Proof { login: Some(login), password: Some(password), address: None, .. } => {
            gateway.by_password(&extensions, &login, password).await?
        }
        Proof {
            login: None,
            address: Some(address),
            challenge: Some(text),
            signature: Some(signature),
            ..
        } => gateway.by_signature(&extensions, Claim { address, challenge: text, signature }).await?,
        _ => {
            let message = "send login and password, or address, challenge and signature";
            return Err(ApiError::bad_request("invalid_request", message));
        }
    };
    let token = random_hex().map_err(|_| store_failed(StoreError::NoRandomness))?;
    let token = format!("{SESSION_PREFIX}{token}");
    let hours = gateway.config.accounts.session_hours;
    let expires_ms = now_ms().saturating_add(hours.saturating_mul(3_600_000));
    gateway.store.open_session(account, hash_of(&token), expires_ms).await.map_err(store_failed)?;
    let cookie = gateway.cookie(&token, hours.saturating_mul(3_600));
    let mut response = (StatusCode::CREATED, Json(Opened { token, account, expires_ms })).into_response();
    response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    Ok(response)
}

pub(super) async fn sign_out(State(gateway): Shared, headers: HeaderMap) -> Result<Response, ApiError> {
    gateway.signed_in(&headers).await?;
    if let Some(token) = session_token(&headers) {
        gateway.store.close_session(hash_of(token)).await.map_err(store_failed)?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(gateway.cookie("", 0).map(|cookie| (header::SET_COOKIE, cookie)));
    Ok(response)
}

pub(super) async fn set_password(
    State(gateway): Shared,
    headers: HeaderMap,
    extensions: Extensions,
    body: Body,
) -> Result<Response, ApiError> {
    let account = gateway.signed_in(&headers).await?;
    let NewPassword { password, new_password } = read(body).await?;
    let row = gateway.store.account(account).await.map_err(store_failed)?;
    let Some(login) = row.and_then(|row| row.login) else {
        let message = "the account signs in with an address, and has no password";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_password", message));
    };
    gateway.by_password(&extensions, &login, password).await?;
    let hash = gateway.passwords.hash(new_password).await?;
    gateway.store.set_password(account, hash).await.map_err(store_failed)?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(gateway.cookie("", 0).map(|cookie| (header::SET_COOKIE, cookie)));
    Ok(response)
}

pub(super) async fn show(State(gateway): Shared, headers: HeaderMap) -> Result<Json<Shown>, ApiError> {
    let account = gateway.caller(&headers).await?.account(Scopes::ACCOUNT, "account")?;
    let gone = || ApiError::new(StatusCode::NOT_FOUND, "no_account", "the account is gone");
    let row = gateway.store.account(account).await.map_err(store_failed)?.ok_or_else(gone)?;
    let money = gateway.store.account_money(account).await.map_err(store_failed)?;
    let used = money.spent.saturating_add(money.reserved);
    Ok(Json(Shown {
        id: row.id,
        login: row.login,
        addresses: gateway.store.addresses(account).await.map_err(store_failed)?,
        created_ms: row.created_ms,
        balance: Balance {
            credited: Amount(money.credited),
            spent: Amount(money.spent),
            reserved: Amount(money.reserved),
            available: Amount(money.credited.saturating_sub(used)),
        },
        limits: row.limits,
        deposit_address: gateway.deposit_address,
        markup_permille: gateway.config.pricing.markup_permille,
    }))
}

pub(super) async fn add_address(
    State(gateway): Shared,
    headers: HeaderMap,
    extensions: Extensions,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let account = gateway.signed_in(&headers).await?;
    let claim: Claim = read(body).await?;
    let address = claim.address;
    gateway.prove(&extensions, claim).await?;
    gateway.store.add_address(account, address).await.map_err(account_error)?;
    gateway.store.credit_deposits().await.map_err(store_failed)?;
    Ok(StatusCode::NO_CONTENT)
}

impl Gateway {
    fn require_open(&self) -> Result<(), ApiError> {
        if self.config.accounts.open {
            return Ok(());
        }
        let message = "this gateway takes no sign-ups: ask its operator for a key";
        Err(ApiError::new(StatusCode::FORBIDDEN, "sign_up_closed", message))
    }

    /// Counts a try to be somebody, by name and by where it comes from.
    fn count_try(&self, extensions: &Extensions, name: &str) -> Result<(), ApiError> {
        let (accounts, now_s) = (&self.config.accounts, Now::read().second);
        let from = format!("from {}", peer(extensions));
        self.sign_ins.count(from, accounts.sign_ins_per_address, now_s)?;
        self.sign_ins.count(format!("as {name}"), accounts.sign_ins_per_login, now_s)
    }

    /// As slow for a login that does not exist as for a wrong password, and as silent.
    async fn by_password(
        &self,
        extensions: &Extensions,
        login: &str,
        password: String,
    ) -> Result<i64, ApiError> {
        let login = checked_login(login)?;
        self.count_try(extensions, &login)?;
        let row = self.store.account_by_login(&login).await.map_err(store_failed)?;
        let known = row.as_ref().filter(|row| !row.disabled).and_then(|row| row.password.clone());
        let is_right = self.passwords.check(password, known).await?;
        row.filter(|_| is_right).map(|row| row.id).ok_or_else(|| {
            let message = "no such login, or another password";
            ApiError::new(StatusCode::UNAUTHORIZED, "invalid_credentials", message)
        })
    }

    async fn by_signature(&self, extensions: &Extensions, claim: Claim) -> Result<i64, ApiError> {
        let address = claim.address;
        self.prove(extensions, claim).await?;
        if let Some(account) = self.store.account_of(address).await.map_err(store_failed)? {
            return Ok(account);
        }
        self.require_open()?;
        let limits = self.config.accounts.limits;
        let made = self.store.create_account(None, Some(address), limits).await.map_err(account_error)?;
        self.store.credit_deposits().await.map_err(store_failed)?;
        Ok(made)
    }

    /// Uses the challenge up; a signature counts once.
    async fn prove(&self, extensions: &Extensions, claim: Claim) -> Result<(), ApiError> {
        let Claim { address, challenge, signature } = claim;
        self.count_try(extensions, &address.to_string())?;
        check_signature(address, &challenge, &signature)?;
        let taken = self.store.take_challenge(hash_of(&challenge), address).await.map_err(store_failed)?;
        if taken {
            return Ok(());
        }
        let message = "the challenge is not of this gateway, was used or is too old: ask for another";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_challenge", message))
    }

    fn cookie(&self, token: &str, seconds: u64) -> Option<HeaderValue> {
        let secure = if self.config.accounts.secure_cookies { "; Secure" } else { "" };
        let text = format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(text).ok()
    }
}

/// A login in the form in which it is kept.
fn checked_login(login: &str) -> Result<String, ApiError> {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+@-".contains(&byte);
    if (LOGIN_MIN..=LOGIN_MAX).contains(&login.len()) && login.bytes().all(is_usual) {
        return Ok(login.to_ascii_lowercase());
    }
    let message = format!("a login has {LOGIN_MIN} to {LOGIN_MAX} letters, digits and ._%+@-");
    Err(ApiError::bad_request("invalid_login", message))
}

/// The gateway as its client names it, so that the text says what it is for.
fn host(headers: &HeaderMap) -> &str {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte);
    named.filter(|host| host.len() <= HOST_MAX && host.bytes().all(is_usual)).unwrap_or("")
}

fn account_error(error: StoreError) -> ApiError {
    let message = error.to_string();
    match error {
        StoreError::LoginTaken => ApiError::new(StatusCode::CONFLICT, "login_taken", message),
        StoreError::AddressTaken => ApiError::new(StatusCode::CONFLICT, "address_taken", message),
        error => store_failed(error),
    }
}

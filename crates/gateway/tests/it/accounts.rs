//! Accounts, sessions and keys, over HTTP.

use crate::api::{call, get, post};
use crate::serving::start_config;
use crate::sim::{Manner, World, chat, eventually};
use atoma_chain::CoinTransfer;
use atoma_gateway::config::Accounts;
use atoma_gateway::store::{Limits, Who};
use atoma_gateway::{GatewayConfig, GatewayHandle, TransferFrame, Transfers, spawn_with};
use atoma_types::{Address, Amount};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use sui_crypto::SuiSigner as _;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_sdk_types::PersonalMessage;
use tempfile::TempDir;
use tokio::sync::watch;

const LOGIN: &str = "Ada@example.org";
const PASSWORD: &str = "correct horse battery";

/// Transfers that the test makes.
#[derive(Clone)]
pub(crate) struct Scripted {
    seen: Arc<Mutex<Vec<CoinTransfer>>>,
    count: watch::Sender<usize>,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        Self { seen: Arc::default(), count: watch::Sender::new(0) }
    }

    pub(crate) fn send(&self, sender: Address, amount: u64) {
        let mut seen = self.seen.lock().unwrap();
        let digest = format!("tx{}", seen.len());
        seen.push(CoinTransfer { digest, sender, amount: Amount(amount), checkpoint: 1 });
        self.count.send_replace(seen.len());
    }
}

impl Transfers for Scripted {
    fn address(&self) -> Address {
        Address::THREE
    }

    fn now(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(std::future::ready(Ok("0".into())))
    }

    fn follow(&self, from: &str) -> BoxStream<'static, Result<TransferFrame, String>> {
        let next: usize = from.parse().unwrap();
        let start = (self.clone(), self.count.subscribe(), next);
        futures::stream::unfold(start, |(chain, mut count, next)| async move {
            count.wait_for(|count| *count > next).await.ok()?;
            let transfer = chain.seen.lock().unwrap()[next].clone();
            let frame = TransferFrame { transfer: Some(transfer), cursor: (next + 1).to_string() };
            Some((Ok(frame), (chain, count, next + 1)))
        })
        .boxed()
    }
}

pub(crate) fn open(dir: &TempDir) -> GatewayConfig {
    let accounts = Accounts { open: true, ..Accounts::default() };
    GatewayConfig { accounts, ..GatewayConfig::local(dir.path()) }
}

async fn sign_up(gateway: &GatewayHandle, login: &str) -> String {
    let credentials = json!({"login": login, "password": PASSWORD});
    let (status, made) = post(gateway, "/v1/accounts", "", credentials.clone()).await;
    assert_eq!(status, 201, "{made}");
    let (status, session) = post(gateway, "/v1/sessions", "", credentials).await;
    assert_eq!(status, 201, "{session}");
    session["token"].as_str().unwrap().to_owned()
}

/// What proves that a key's address wants something, as sign-in takes it.
async fn proof(gateway: &GatewayHandle, key: &Ed25519PrivateKey) -> Value {
    let address = key.public_key().derive_address();
    let (status, challenge) = post(gateway, "/v1/sessions/challenge", "", json!({"address": address})).await;
    assert_eq!(status, 200, "{challenge}");
    let text = challenge["challenge"].as_str().unwrap();
    let signature = key.sign_personal_message(&PersonalMessage(text.as_bytes().into())).unwrap();
    json!({"address": address, "challenge": text, "signature": signature.to_base64()})
}

/// The session of an address.
pub(crate) async fn sign_in_with(gateway: &GatewayHandle, key: &Ed25519PrivateKey) -> String {
    let (status, opened) = post(gateway, "/v1/sessions", "", proof(gateway, key).await).await;
    assert_eq!(status, 201, "{opened}");
    opened["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_account_signs_up_makes_keys_deposits_and_pays() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let chain = Scripted::new();
    let market = Arc::new(crate::sim::SimMarket(world.clone()));
    let gateway = spawn_with(open(&dir), market, Some(Arc::new(chain.clone()))).await.unwrap();
    let session = sign_up(&gateway, LOGIN).await;
    let (status, made) = post(&gateway, "/v1/keys", &session, json!({"name": "first"})).await;
    assert_eq!((status, &made["key"]["scopes"]), (201, &json!(["inference", "usage", "account"])));
    let secret = made["secret"].as_str().unwrap();
    let refused = crate::serving::post(&gateway, secret, chat(false)).await;
    assert_eq!(refused.status().as_u16(), 429);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["code"], json!("insufficient_quota"));
    assert_eq!(world.requests(0), 0);

    // Sent before the address is known, and after.
    let wallet = Ed25519PrivateKey::new([5; 32]);
    let address = wallet.public_key().derive_address();
    chain.send(address, 400_000);
    chain.send(Address::THREE, 7);
    let (status, _) = post(&gateway, "/v1/account/addresses", &session, proof(&gateway, &wallet).await).await;
    assert_eq!(status, 204);
    chain.send(address, 600_000);
    eventually("credited", async || {
        get(&gateway, "/v1/account", &session).await.1["balance"]["credited"] == json!(1_000_000)
    })
    .await;
    let (_, deposits) = get(&gateway, "/v1/deposits", secret).await;
    assert_eq!(deposits["data"].as_array().unwrap().len(), 2);
    eventually("answered", async || {
        crate::serving::post(&gateway, secret, chat(false)).await.status().as_u16() == 200
    })
    .await;
    let usage = crate::serving::usage(&gateway, secret, 1).await;
    let (_, account) = get(&gateway, "/v1/account", &session).await;
    assert_eq!((&account["addresses"], &account["login"]), (&json!([address]), &json!("ada@example.org")));
    assert_eq!(account["balance"]["spent"], usage["spent"]);
    let left = 1_000_000 - usage["spent"].as_u64().unwrap();
    assert_eq!(account["balance"]["available"], json!(left));

    // The books, in all their forms.
    let (_, of_account) = get(&gateway, "/v1/usage?model=sim-model&limit=1", &session).await;
    assert_eq!((&of_account["totals"], &of_account["data"]), (&usage["totals"], &usage["data"]));
    let request = of_account["data"][0]["request"].as_str().unwrap();
    let (_, receipt) = get(&gateway, &format!("/v1/receipts/{request}"), secret).await;
    assert_eq!(receipt, of_account["data"][0]);
    assert_eq!(get(&gateway, "/v1/receipts/00", secret).await.0, 404);
    assert_eq!(get(&gateway, "/v1/usage?mistake=1", secret).await.0, 400);
    for (format, lines) in [("csv", 2), ("jsonl", 1)] {
        let url = format!("{}/v1/usage/export?format={format}", gateway.url());
        let text =
            reqwest::Client::new().get(url).bearer_auth(secret).send().await.unwrap().text().await.unwrap();
        assert_eq!(text.lines().count(), lines);
        assert!(text.contains(receipt["receipt"].as_str().unwrap()), "{text}");
    }
    let operator = std::fs::read_to_string(dir.path().join("operator.token")).unwrap();
    let (status, books) = get(&gateway, "/v1/operator/books", &operator).await;
    assert_eq!((status, &books["charged_to_accounts"]), (200, &usage["spent"]));
    assert_eq!(get(&gateway, "/v1/operator/books", &session).await.0, 403);
    let number = |name: &str| books[name].as_u64().unwrap();
    assert_eq!(number("credited"), number("charged_to_accounts") + number("owed_to_accounts"));
    let charged = number("charged_to_accounts") + number("charged_to_operator");
    assert_eq!(charged, number("paid_to_nodes") + number("earned"));
    assert_eq!(number("unclaimed"), 0);
    for path in ["/v1/models", "/v1/nodes", "/v1/tasks", "/v1/stats", "/v1/keys"] {
        assert_eq!(get(&gateway, path, secret).await.0, 200, "{path}");
    }
    assert_eq!(get(&gateway, "/v1/stacks", &operator).await.0, 200);
    for path in ["/health", "/ready", "/metrics", "/openapi.json"] {
        assert_eq!(get(&gateway, path, "").await.0, 200, "{path}");
    }

    // A deleted key is over at once, and nobody else's to delete.
    let other = sign_up(&gateway, "other@example.org").await;
    let path = format!("/v1/keys/{}", made["key"]["id"]);
    assert_eq!(call(&gateway, Method::DELETE, &path, &other, None).await.0, 404);
    assert_eq!(call(&gateway, Method::DELETE, &path, &session, None).await.0, 204);
    assert_eq!(crate::serving::post(&gateway, secret, chat(false)).await.status().as_u16(), 401);
}

#[tokio::test]
async fn who_signs_in_must_prove_it_and_sessions_end() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let mut config = open(&dir);
    config.accounts.sign_ins_per_login = 12;
    let gateway = start_config(&world, config).await;
    let session = sign_up(&gateway, LOGIN).await;
    let sign_in = |login: &str, password: &str| {
        let body = json!({"login": login, "password": password});
        let gateway = &gateway;
        async move { post(gateway, "/v1/sessions", "", body).await }
    };
    let (wrong, unknown) = (sign_in(LOGIN, "wrong horse").await, sign_in("bob@example.org", PASSWORD).await);
    assert_eq!((wrong.0, &wrong), (401, &unknown));
    let taken = json!({"login": LOGIN.to_lowercase(), "password": PASSWORD});
    assert_eq!(post(&gateway, "/v1/accounts", "", taken).await.0, 409);
    let weak = json!({"login": "eve@example.org", "password": "short"});
    assert_eq!(post(&gateway, "/v1/accounts", "", weak).await.0, 400);
    assert_eq!(sign_in(LOGIN, PASSWORD).await.0, 201);
    // Tries count, right ones and wrong ones.
    eventually("too many tries", async || sign_in("bob@example.org", PASSWORD).await.0 == 429).await;

    let wallet = Ed25519PrivateKey::new([6; 32]);
    let signed = proof(&gateway, &wallet).await;
    let (status, opened) = post(&gateway, "/v1/sessions", "", signed.clone()).await;
    assert_eq!(status, 201, "{opened}");
    let (status, again) = post(&gateway, "/v1/sessions", "", signed.clone()).await;
    assert_eq!((status, &again["error"]["code"]), (401, &json!("invalid_challenge")));
    let mut forged = proof(&gateway, &wallet).await;
    forged["signature"] = signed["signature"].clone();
    let (status, refused) = post(&gateway, "/v1/sessions", "", forged).await;
    assert_eq!((status, &refused["error"]["code"]), (401, &json!("invalid_signature")));
    // An address is one account's.
    let claim = proof(&gateway, &wallet).await;
    assert_eq!(post(&gateway, "/v1/account/addresses", &session, claim).await.0, 409);
    let same = post(&gateway, "/v1/sessions", "", proof(&gateway, &wallet).await).await.1;
    assert_eq!(same["account"], opened["account"]);

    // The cookie is as good as the token, until the session ends.
    let cookie = format!("theme=dark; atoma_session={session}");
    let with_cookie =
        || reqwest::Client::new().get(format!("{}/v1/account", gateway.url())).header("cookie", &cookie);
    assert_eq!(with_cookie().send().await.unwrap().status().as_u16(), 200);
    assert_eq!(call(&gateway, Method::DELETE, "/v1/sessions", &session, None).await.0, 204);
    assert_eq!(with_cookie().send().await.unwrap().status().as_u16(), 401);
    assert_eq!(get(&gateway, "/v1/account", &session).await.0, 401);
}

#[tokio::test]
async fn a_key_does_only_what_its_scopes_and_times_admit() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let gateway = start_config(&world, open(&dir)).await;
    let session = sign_up(&gateway, LOGIN).await;
    let make = |body: Value| {
        let (gateway, session) = (&gateway, &session);
        async move { post(gateway, "/v1/keys", session, body).await }
    };
    let (_, reader) = make(json!({"name": "reader", "scopes": ["usage"]})).await;
    let reader = reader["secret"].as_str().unwrap();
    assert_eq!(get(&gateway, "/v1/usage", reader).await.0, 200);
    assert_eq!(get(&gateway, "/v1/account", reader).await.0, 403);
    assert_eq!(post(&gateway, "/v1/keys", reader, json!({"name": "x"})).await.0, 403);
    let asked = crate::serving::post(&gateway, reader, chat(false)).await;
    assert_eq!(asked.status().as_u16(), 403);
    assert_eq!(make(json!({"name": "x", "scopes": ["everything"]})).await.0, 400);
    assert_eq!(make(json!({"name": "x", "expires_ms": 1})).await.0, 400);
    assert_eq!(make(json!({"name": "x", "limits": {"mistake": 1}})).await.0, 400);
    let limits = Limits { requests_per_minute: Some(3), ..Limits::default() };
    let (status, limited) = make(json!({"name": "x", "limits": limits, "budget": 5})).await;
    assert_eq!((status, &limited["key"]["limits"]["requests_per_minute"]), (201, &json!(3)));
}

#[tokio::test]
async fn a_new_password_ends_every_session_and_a_disabled_account_is_worth_nothing() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let mut config = open(&dir);
    config.accounts.sign_ins_per_login = 100;
    let gateway = start_config(&world, config).await;
    let (session, path) = (sign_up(&gateway, LOGIN).await, "/v1/account/password");
    let sign_in = async |password: &str| {
        post(&gateway, "/v1/sessions", "", json!({"login": LOGIN, "password": password})).await
    };
    let other = sign_in(PASSWORD).await.1["token"].as_str().unwrap().to_owned();
    let (_, made) = post(&gateway, "/v1/keys", &session, json!({"name": "app"})).await;
    let secret = made["secret"].as_str().unwrap();
    let change = async |token: &str, password: &str, new: &str| {
        post(&gateway, path, token, json!({"password": password, "new_password": new})).await.0
    };
    assert_eq!(change(&session, "wrong horse battery", "another horse").await, 401);
    assert_eq!(change(&session, PASSWORD, "short").await, 400);
    assert_eq!(change(secret, PASSWORD, "another horse").await, 403);
    assert_eq!(change(&session, PASSWORD, "another horse").await, 204);
    for token in [&session, &other] {
        assert_eq!(get(&gateway, "/v1/account", token).await.0, 401);
    }
    assert_eq!(sign_in(PASSWORD).await.0, 401);
    let (status, opened) = sign_in("another horse").await;
    assert_eq!(status, 201);
    assert_eq!(get(&gateway, "/v1/account", secret).await.0, 200);
    // Who signs in with an address has no password.
    let by_address = sign_in_with(&gateway, &Ed25519PrivateKey::new([7; 32])).await;
    assert_eq!(change(&by_address, PASSWORD, "another horse").await, 409);

    let store = gateway.store();
    let who = Who::Login(LOGIN.to_owned());
    let account = store.set_account_disabled(&who, true).await.unwrap().unwrap();
    gateway.look().await.unwrap();
    assert_eq!(get(&gateway, "/v1/account", secret).await.0, 401);
    assert_eq!(get(&gateway, "/v1/account", opened["token"].as_str().unwrap()).await.0, 401);
    assert_eq!(sign_in("another horse").await.0, 401);
    assert_eq!(get(&gateway, "/v1/account", &by_address).await.0, 200);
    assert_eq!(store.set_account_disabled(&Who::Id(account), false).await.unwrap(), Some(account));
    assert_eq!(store.set_account_disabled(&Who::Id(99), true).await.unwrap(), None);
    gateway.look().await.unwrap();
    assert_eq!(get(&gateway, "/v1/account", secret).await.0, 200);
    assert_eq!(sign_in("another horse").await.0, 201);
}

#[tokio::test]
async fn a_closed_gateway_takes_nobody() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let gateway = start_config(&world, GatewayConfig::local(dir.path())).await;
    let credentials = json!({"login": LOGIN, "password": PASSWORD});
    assert_eq!(post(&gateway, "/v1/accounts", "", credentials.clone()).await.0, 403);
    assert_eq!(post(&gateway, "/v1/sessions", "", credentials).await.0, 401);
    let wallet = Ed25519PrivateKey::new([8; 32]);
    let signed = proof(&gateway, &wallet).await;
    assert_eq!(post(&gateway, "/v1/sessions", "", signed).await.0, 403);
}

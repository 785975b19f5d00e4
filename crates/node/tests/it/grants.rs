//! Whose grants this node pays gas for.

use crate::interposed::{Interposed, Reads};
use crate::support::{Market, User, chat, wall_ms};
use atoma_chain::Call;
use atoma_types::message::Message as _;
use atoma_types::onchain::Selection;
use atoma_types::wire::Authorization;
use atoma_types::{Address, Grant, NodeId, RequestAuth, SecretKey, Signed};

async fn gas(market: &Market) -> u64 {
    market.chain.balances(market.operator.address()).await.unwrap().gas
}

/// Changes an authorization before it is signed.
type Spoil = fn(&mut RequestAuth);

fn with_grant(auth: Signed<RequestAuth>, grant: Signed<Grant>) -> Authorization {
    Authorization { auth, voucher: None, grants: vec![grant] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_seen_on_its_way_costs_the_node_no_gas() {
    let market = Market::open().await;
    let handle = market.start().await;
    let node = handle.url();
    let user = market.user_with(Selection::Any).await;
    let body = chat(false, "hi").to_string().into_bytes();
    let (grant, before) = (user.grant(100, 1), gas(&market).await);

    let stranger = SecretKey::from_seed([5; 32]);
    let forged = || with_grant(user.auth(&body, 50).sign(&stranger), grant.clone());
    let flood = futures::future::join_all((0..40).map(async |_| user.post(&node, &body, &forged()).await));
    for answer in flood.await {
        assert_eq!(answer.code(), (401, "invalid_signature".to_owned()));
    }
    // What the user signed for another time, node or market does no better.
    let spoilt: [(&str, Spoil); 3] = [
        ("auth_expired", |auth| auth.expires_ms = wall_ms() - 1),
        ("wrong_node", |auth| auth.node = NodeId(77)),
        ("wrong_db", |auth| auth.db = Address::TWO),
    ];
    for (code, spoil) in spoilt {
        let mut auth = user.auth(&body, 50);
        spoil(&mut auth);
        let answer = user.post(&node, &body, &with_grant(auth.sign(&user.key), grant.clone())).await;
        assert_eq!(answer.code(), (401, code.to_owned()));
    }
    assert_eq!(gas(&market).await, before);
    assert!(user.on_chain().await.channel(market.node).is_none());

    // A flood does not keep the user away either.
    let genuine = with_grant(user.auth(&body, 50).sign(&user.key), grant.clone());
    let flood = futures::future::join_all((0..40).map(async |_| user.post(&node, &body, &forged()).await));
    let (answer, flood) = tokio::join!(user.post(&node, &body, &genuine), flood);
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert!(flood.iter().all(|answer| answer.status == 401));
    assert!(gas(&market).await < before);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_with_one_grant_open_one_channel() {
    let market = Market::open().await;
    let handle = market.start().await;
    let user = market.user_with(Selection::Any).await;
    let body = chat(false, "hi").to_string().into_bytes();
    let node = handle.url();
    let ask = async |nonce: u64| {
        let auth = user.auth(&body, 50).sign(&user.key);
        user.post(&node, &body, &with_grant(auth, user.grant(100 * nonce, nonce))).await
    };
    let answers = futures::future::join_all([1, 1, 1, 1].map(ask)).await;
    // The window of a new channel is one: who comes too early is told, and none is refused for its grant.
    assert!(answers.iter().any(|answer| answer.status == 200));
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.code().1 != "invalid_grant"));
    assert_eq!(user.on_chain().await.opens_left, 1);
    assert_eq!(user.channel(&node).await["granted"], 100);
}

async fn refused(user: &User, node: &str, nonce: u64) -> (u16, String, String) {
    let body = chat(false, "hi").to_string().into_bytes();
    let auth = user.auth(&body, 50).sign(&user.key);
    let answer = user.post(node, &body, &with_grant(auth, user.grant(100, nonce))).await;
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    let (status, code) = answer.code();
    (status, code, message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_fails_on_chain_costs_gas_once() {
    let market = Market::open().await;
    let handle = market.start().await;
    let node = handle.url();
    let user = market.user_with(Selection::Any).await;
    let other = market.user().await;
    // Nothing that the node checks before it opens a channel tells it.
    let unsubscribe = Call::Unsubscribe { node: market.node, task: market.task };
    market.operator.execute(&market.chain, unsubscribe).await.unwrap();
    market.devnet.advance_epoch().await.unwrap();

    let before = gas(&market).await;
    let (status, code, message) = refused(&user, &node, 1).await;
    assert_eq!((status, code.as_str()), (402, "invalid_grant"));
    assert!(message.contains("the node is not subscribed"), "{message}");
    let once = gas(&market).await;
    assert!(once < before);
    for _ in 0..5 {
        assert_eq!(refused(&user, &node, 1).await, (402, "invalid_grant".to_owned(), message.clone()));
    }
    assert_eq!(gas(&market).await, once);

    // New nonces do not go on for ever.
    for nonce in [2, 3] {
        assert_eq!(refused(&user, &node, nonce).await.1, "invalid_grant");
    }
    let thrice = gas(&market).await;
    for nonce in 4..10 {
        assert_eq!(refused(&user, &node, nonce).await.1, "opening_paused");
    }
    assert_eq!(gas(&market).await, thrice);

    // A user who opens the channel without the node's help is served.
    assert_eq!(other.ask(&node, &chat(false, "hi"), None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_always_faster_does_not_cost_gas_for_ever() {
    let market = Market::open().await;
    let mut config = market.config();
    config.limits.open_unpaid_grants = true;
    let chain = Interposed::over(&market, Reads::Shown);
    let handle = chain.spawn(config).await;
    let (node, user) = (handle.url(), market.user_with(Selection::Any).await);
    chain.race(&user.wallet);
    let body = chat(false, "hi").to_string().into_bytes();
    let ask = async |nonce: u64| {
        let auth = user.auth(&body, 50).sign(&user.key);
        user.post(&node, &body, &with_grant(auth, user.grant(100 * nonce, nonce))).await
    };
    assert_eq!(ask(1).await.status, 200);
    for nonce in [2, 3] {
        let before = gas(&market).await;
        assert_eq!(ask(nonce).await.code().1, "missing_receipt");
        assert!(gas(&market).await < before);
    }
    let thrice = gas(&market).await;
    for nonce in 4..7 {
        assert_eq!(ask(nonce).await.code().1, "opening_paused");
    }
    assert_eq!(gas(&market).await, thrice);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_panics_leaves_its_stack_to_the_next_one() {
    let market = Market::open().await;
    let chain = Interposed::over(&market, Reads::Panic);
    let handle = chain.spawn(market.config()).await;
    let user = market.user().await;
    let refused = user.ask(&handle.url(), &chat(false, "hi"), None).await;
    assert_eq!(refused.code(), (503, "chain_unavailable".to_owned()));
    chain.set(Reads::Shown);
    assert_eq!(user.ask(&handle.url(), &chat(false, "hi"), None).await.status, 200);
}

//! Keys and budgets, over HTTP.

use crate::serving::{get, key, post, start};
use crate::sim::{Manner, PRICE, World, chat, eventually, text_of};
use atoma_client::request::Endpoint;
use atoma_gateway::keys::KeyId;
use atoma_types::Units;
use serde_json::{Value, json};
use tempfile::TempDir;

#[tokio::test]
async fn a_bad_key_is_refused_before_anything_else() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 1).await;
    let good = key(&gateway, None).await;
    let url = format!("{}/v1/chat/completions", gateway.url());
    let bare = reqwest::Client::new().post(&url).body(chat(false)).send().await.unwrap();
    assert_eq!(bare.status().as_u16(), 401);
    let wrong = format!("{}0", &good[..good.len() - 1]);
    let other = if wrong == good { format!("{}1", &good[..good.len() - 1]) } else { wrong };
    for bad in [other.as_str(), "sk-123", "atoma-"] {
        let response = post(&gateway, bad, chat(false)).await;
        assert_eq!(response.status().as_u16(), 401);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], json!("invalid_api_key"));
    }
    assert_eq!(world.purchases(), 0);
    assert_eq!(post(&gateway, &good, chat(false)).await.status().as_u16(), 200);
}

#[tokio::test]
async fn a_disabled_key_is_refused() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 1).await;
    let doomed = key(&gateway, None).await;
    assert_eq!(post(&gateway, &doomed, chat(false)).await.status().as_u16(), 200);
    gateway.store().set_disabled(KeyId(1), true).await.unwrap();
    // Making another key reads all keys again.
    key(&gateway, None).await;
    assert_eq!(post(&gateway, &doomed, chat(false)).await.status().as_u16(), 401);
    assert!(gateway.store().set_disabled(KeyId(99), true).await.is_err());
}

#[tokio::test]
async fn a_budget_is_exact_under_a_hundred_concurrent_requests() {
    let (world, dir) = (World::start(&[Manner::Honest, Manner::Honest]).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 2).await;
    gateway.session.prepare(crate::sim::MODEL).await.unwrap();
    let body = chat(true);
    let quote = gateway.session.quote(Endpoint::ChatCompletions, &body).await.unwrap();
    // Room for seven requests in flight at once, never for a hundred.
    let budget = quote.max_cost.0 * 7;
    let key = key(&gateway, Some(budget)).await;
    let all = (0..100).map(|_| {
        let (gateway, key, body) = (&gateway, &key, body.clone());
        async move {
            let response = post(gateway, key, body).await;
            let status = response.status().as_u16();
            (status, text_of(response).await)
        }
    });
    let answers = futures::future::join_all(all).await;
    let paid = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!(paid >= 7, "{paid}");
    for (status, text) in &answers {
        assert!(*status == 200 || (*status == 429 && text.contains("insufficient_quota")), "{status} {text}");
    }
    // Then one by one until nothing fits any more.
    eventually("nothing fits", async || {
        if get(&gateway, &key, "/v1/usage").await["reserved"] != json!(0) {
            return false;
        }
        let response = post(&gateway, &key, body.clone()).await;
        let status = response.status().as_u16();
        text_of(response).await;
        status == 429
    })
    .await;
    let usage = get(&gateway, &key, "/v1/usage").await;
    let spent = usage["spent"].as_u64().unwrap();
    assert_eq!(usage["reserved"], json!(0));
    assert!(spent <= budget && budget - spent < quote.max_cost.0);
    let on_nodes: u64 = (0..2).map(|node| PRICE.cost(Units(world.booked_units(node))).unwrap().0).sum();
    assert_eq!(spent, on_nodes);
    assert_eq!(usage["totals"]["requests"], json!(world.booked(0) + world.booked(1)));
}

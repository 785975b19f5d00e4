//! Limits that hold exactly, however many ask at once.

use crate::postgres::{fresh_database, set_away};
use crate::serving::{get, post, start, start_config};
use crate::sim::{Manner, PRICE, World, chat, eventually, text_of};
use atoma_client::request::Endpoint;
use atoma_gateway::config::Secret;
use atoma_gateway::store::Limits;
use atoma_gateway::{GatewayConfig, GatewayHandle, NewKey};
use atoma_types::{Amount, Units};
use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

async fn limited(gateway: &GatewayHandle, budget: Option<Amount>, limits: Limits) -> String {
    let new = NewKey { name: "test".into(), budget, limits, ..NewKey::default() };
    gateway.create_key(new).await.unwrap().secret
}

async fn most(gateway: &GatewayHandle) -> Amount {
    gateway.session.quote(Endpoint::ChatCompletions, &chat(false)).await.unwrap().max_cost
}

#[tokio::test]
async fn of_eight_first_requests_a_budget_for_one_admits_one() {
    // The one that passes waits, so that its part does not come back before the others asked.
    let (world, dir) = (World::start(&[Manner::Waits]).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 1).await;
    let key = limited(&gateway, Some(most(&gateway).await), Limits::default()).await;
    let all = (0..8).map(|_| async {
        let response = post(&gateway, &key, chat(true)).await;
        (response.status().as_u16(), response)
    });
    let answers = join_all(all).await;
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 429].contains(status)));
    world.go_on();
    for (_, response) in answers {
        text_of(response).await;
    }
}

#[tokio::test]
async fn requests_and_tokens_in_a_minute_are_exact_under_hundreds() {
    let (world, dir) = (World::start(&[Manner::Honest, Manner::Honest]).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 2).await;
    let limits = Limits { requests_per_minute: Some(40), ..Limits::default() };
    let key = limited(&gateway, None, limits).await;
    let answers = join_all((0..200).map(|_| post(&gateway, &key, chat(false)))).await;
    let passed = answers.iter().filter(|answer| answer.status().as_u16() == 200).count();
    assert_eq!(passed, 40);
    let refused = answers.into_iter().find(|answer| answer.status().as_u16() == 429).unwrap();
    let header = |name: &str| refused.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-ratelimit-limit-requests"), "40");
    assert_eq!(header("x-ratelimit-remaining-requests"), "0");
    assert!(header("x-ratelimit-reset-requests").ends_with('s'));
    assert!((1..=61).contains(&header("retry-after").parse::<u64>().unwrap()));
    let error: Value = refused.json().await.unwrap();
    assert_eq!(error["error"]["code"], json!("rate_limit_exceeded"));

    // What is not used of the tokens set aside comes back, and is there for others in the same minute.
    let units = gateway.session.quote(Endpoint::ChatCompletions, &chat(false)).await.unwrap().max_units.0;
    let limits = Limits { units_per_minute: Some(units + 50), ..Limits::default() };
    let key = limited(&gateway, None, limits).await;
    let mut used = 0;
    for round in 1..=8 {
        let answer = post(&gateway, &key, chat(false)).await;
        if answer.status().as_u16() != 200 {
            break;
        }
        text_of(answer).await;
        used = crate::serving::usage(&gateway, &key, round).await["totals"]["units"].as_u64().unwrap();
        assert!(used <= units + 50);
    }
    assert!(used > 38, "{used}");
    assert_eq!(
        post(&gateway, &key, chat(false)).await.headers()["x-ratelimit-limit-tokens"],
        (units + 50).to_string()
    );
}

#[tokio::test]
async fn a_day_has_its_own_budget() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 1).await;
    let most = most(&gateway).await;
    let limits = Limits { spend_per_day: Some(most), ..Limits::default() };
    let key = limited(&gateway, None, limits).await;
    assert_eq!(post(&gateway, &key, chat(false)).await.status().as_u16(), 200);
    crate::serving::usage(&gateway, &key, 1).await;
    let refused = post(&gateway, &key, chat(false)).await;
    assert_eq!(refused.status().as_u16(), 429);
    assert!(text_of(refused).await.contains("a day"));
}

/// Asks until nothing fits any more, at each gateway.
async fn use_up(gateways: &[GatewayHandle], key: &str) {
    eventually("nothing fits", async || {
        let mut passed = false;
        for gateway in gateways {
            let response = post(gateway, key, chat(false)).await;
            passed |= response.status().as_u16() == 200;
            text_of(response).await;
        }
        if passed {
            return false;
        }
        let usage = get(&gateways[0], key, "/v1/usage").await;
        let left = usage["budget"].as_u64().unwrap() - usage["spent"].as_u64().unwrap();
        usage["reserved"] == json!(0) && left < most(&gateways[0]).await.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_of_one_database_share_money_exactly() {
    let Some(url) = fresh_database().await else { return };
    let (one, two) = (World::start(&[Manner::Honest]).await, World::start(&[Manner::Honest]).await);
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let config = |dir: &TempDir| {
        let database = Some(Secret(url.clone()));
        let mut config = GatewayConfig { database, ..GatewayConfig::local(dir.path()) };
        // What several channels cost is rounded for each.
        config.stacks.per_task = 1;
        config
    };
    let gateways = [start_config(&one, config(&dirs[0])).await, start_config(&two, config(&dirs[1])).await];
    let most = most(&gateways[0]).await;
    let budget = most.0 * 5;
    let key = limited(&gateways[0], Some(Amount(budget)), Limits::default()).await;
    gateways[1].look().await.unwrap();
    let all = (0..200).map(|n| {
        let (gateway, key) = (&gateways[n % 2], &key);
        async move {
            let response = post(gateway, key, chat(n % 3 == 0)).await;
            let status = response.status().as_u16();
            text_of(response).await;
            status
        }
    });
    let statuses = join_all(all).await;
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 2);
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    // Idle money of each comes to the other, down to what no request fits into.
    use_up(&gateways, &key).await;
    let usage = get(&gateways[1], &key, "/v1/usage").await;
    let spent = usage["spent"].as_u64().unwrap();
    let on_nodes: u64 =
        [&one, &two].map(|world| PRICE.cost(Units(world.booked_units(0))).unwrap().0).iter().sum();
    assert_eq!(spent, on_nodes);
    assert!(spent <= budget && budget - spent < most.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_refuses_requests_and_loses_nothing() {
    let Some(url) = fresh_database().await else { return };
    let (world, dir) = (World::start(&[Manner::Waits]).await, TempDir::new().unwrap());
    let database = Some(Secret(url.clone()));
    let gateway = start_config(&world, GatewayConfig { database, ..GatewayConfig::local(dir.path()) }).await;
    let key = limited(&gateway, Some(Amount(1_000_000)), Limits::default()).await;
    let mut answer = post(&gateway, &key, chat(true)).await;
    answer.chunk().await.unwrap().unwrap();
    set_away(&url, true).await;
    let refused = post(&gateway, &key, chat(false)).await;
    assert_eq!(refused.status().as_u16(), 503);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["code"], json!("store_failed"));
    // What is in flight goes on, and is charged when the database is back.
    world.go_on();
    assert!(text_of(answer).await.ends_with("data: [DONE]\n\n"));
    set_away(&url, false).await;
    eventually("it answers", async || {
        let response = post(&gateway, &key, chat(false)).await;
        let status = response.status().as_u16();
        text_of(response).await;
        status == 200
    })
    .await;
    let usage = crate::serving::usage(&gateway, &key, 2).await;
    assert_eq!(usage["spent"], json!(PRICE.cost(Units(world.booked_units(0))).unwrap()));
}

//! Keys are charged what the stacks pay, whatever the nodes do and whenever the gateway dies.

use crate::crash::as_killed;
use crate::serving::{get, key, post, start, start_with, usage};
use crate::sim::{MODEL, Manner, PRICE, WORDS, World, chat, eventually, text_of};
use atoma_client::request::Endpoint;
use atoma_gateway::GatewayHandle;
use atoma_gateway::config::Requests;
use atoma_types::Units;
use serde_json::json;
use tempfile::TempDir;

/// A gateway with a stack at each node; the first node is asked first.
async fn stocked(world: &World, dir: &TempDir, nodes: usize) -> GatewayHandle {
    let gateway = start(world, dir, nodes).await;
    gateway.session.prepare(MODEL).await.unwrap();
    assert_eq!(world.purchases(), nodes);
    gateway
}

/// What the stacks owe for all that the nodes booked.
fn owed(world: &World, nodes: usize) -> u64 {
    (0..nodes).map(|node| PRICE.cost(Units(world.booked_units(node))).unwrap().0).sum()
}

/// Each booked answer is charged once, and acknowledged.
async fn check(world: &World, nodes: usize, gateway: GatewayHandle, key: &str) {
    let booked: u64 = (0..nodes).map(|node| world.booked(node)).sum();
    let usage = usage(&gateway, key, booked).await;
    assert_eq!(usage["totals"]["requests"], json!(booked));
    assert_eq!((&usage["spent"], &usage["totals"]["cost"]), (&json!(owed(world, nodes)), &usage["spent"]));
    gateway.drain(false).await.unwrap();
    assert_eq!((0..nodes).map(|node| world.acknowledged(node)).sum::<u64>(), booked);
    world.check_vouchers();
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_another_node_answers_is_charged() {
    let cases = [
        (Manner::BreaksWhole { receipt: true }, false),
        (Manner::BreaksWhole { receipt: false }, false),
        (Manner::BreaksUnbegun, true),
    ];
    for (manner, stream) in cases {
        let (world, dir) = (World::start(&[manner, Manner::Honest]).await, TempDir::new().unwrap());
        let gateway = stocked(&world, &dir, 2).await;
        let key = key(&gateway, Some(1_000_000)).await;
        for _ in 0..3 {
            let answer = post(&gateway, &key, chat(stream)).await;
            assert_eq!(answer.headers()["x-atoma-node"], "2", "{manner:?}");
            assert!(text_of(answer).await.contains(WORDS[4]));
        }
        assert!(world.booked(0) > 0 && world.booked(1) == 3, "{manner:?}");
        check(&world, 2, gateway, &key).await;
    }
}

#[tokio::test]
async fn a_node_that_dies_after_the_head_is_paid_when_it_is_back() {
    let manner = Manner::BreaksWhole { receipt: false };
    let (world, dir) = (World::start(&[manner]).await, TempDir::new().unwrap());
    world.set_silent(0, true);
    let gateway = stocked(&world, &dir, 1).await;
    let key = key(&gateway, Some(1_000_000)).await;
    assert_eq!(post(&gateway, &key, chat(false)).await.status().as_u16(), 502);
    let most = gateway.session.quote(Endpoint::ChatCompletions, &chat(false)).await.unwrap().max_cost;
    eventually("given up", async || gateway.session.channels()[0].2.in_flight == 0).await;
    let waiting = get(&gateway, &key, "/v1/usage").await;
    assert_eq!((&waiting["spent"], &waiting["reserved"]), (&json!(0), &json!(most)));
    world.set_silent(0, false);
    check(&world, 1, gateway, &key).await;
}

#[tokio::test]
async fn a_kill_forgets_no_attempt() {
    let manners = [Manner::BreaksUnbegun, Manner::Waits];
    let (world, dir) = (World::start(&manners).await, TempDir::new().unwrap());
    world.set_silent(0, true);
    let gateway = stocked(&world, &dir, 2).await;
    let key = key(&gateway, Some(1_000_000)).await;
    let mut answer = post(&gateway, &key, chat(true)).await;
    answer.chunk().await.unwrap().unwrap();
    let killed = as_killed(&dir);
    world.set_silent(0, false);
    world.go_on();
    text_of(answer).await;
    drop(gateway);
    for _ in 0..2 {
        let again = start(&world, &killed, 2).await;
        let usage = usage(&again, &key, 2).await;
        assert_eq!((&usage["totals"]["requests"], &usage["spent"]), (&json!(2), &json!(owed(&world, 2))));
    }
    check(&world, 2, start(&world, &killed, 2).await, &key).await;
}

#[tokio::test]
async fn an_attempt_that_no_node_knows_of_is_given_back() {
    let (world, dir) = (World::start(&[Manner::Forgets]).await, TempDir::new().unwrap());
    let requests = Requests { patience_ms: 1, attempts: 1, ..Requests::default() };
    let gateway = start_with(&world, &dir, 1, requests).await;
    let key = key(&gateway, Some(1_000_000)).await;
    assert_eq!(post(&gateway, &key, chat(false)).await.status().as_u16(), 502);
    assert_ne!(get(&gateway, &key, "/v1/usage").await["reserved"], json!(0));
    assert_eq!(usage(&gateway, &key, 0).await["spent"], json!(0));
}

#[tokio::test]
async fn a_second_attempt_needs_budget_only_if_the_first_may_cost_something() {
    for (manner, answered) in [(Manner::Fails, true), (Manner::BreaksWhole { receipt: false }, false)] {
        let (world, dir) = (World::start(&[manner, Manner::Honest]).await, TempDir::new().unwrap());
        world.set_silent(0, true);
        let gateway = stocked(&world, &dir, 2).await;
        let most = gateway.session.quote(Endpoint::ChatCompletions, &chat(false)).await.unwrap().max_cost;
        let key = key(&gateway, Some(most.0)).await;
        let status = post(&gateway, &key, chat(false)).await.status().as_u16();
        assert_eq!((status, world.requests(1)), if answered { (200, 1) } else { (502, 0) }, "{manner:?}");
        world.set_silent(0, false);
        check(&world, 2, gateway, &key).await;
    }
}

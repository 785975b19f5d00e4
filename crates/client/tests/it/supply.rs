//! Stacks that grow with their use, and what is known of the wallet's money.

use crate::ask::{ask, ask_for, open, read};
use crate::sim::{MODEL, Manner, World, chat, eventually};
use atoma_client::channel::Summary;
use atoma_client::request::Endpoint;
use atoma_client::route::Route;
use atoma_client::session::Supply;
use atoma_client::{Policy, Session};
use atoma_types::onchain::Selection;
use atoma_types::{Amount, NodeId, Units};
use http::HeaderMap;
use std::time::Duration;
use tempfile::TempDir;

const UNITS: Units = Units(2_000);

fn policy() -> Policy {
    let supply =
        Supply { refresh: Duration::from_millis(1), horizon: Duration::from_secs(1), ..Supply::default() };
    Policy { units: UNITS, ahead: true, low_water_permille: 500, supply, ..Policy::default() }
}

async fn ask_often(session: &Session, times: usize) {
    for _ in 0..times {
        read(ask(session, false).await.unwrap()).await;
    }
}

/// What was paid, by the journal, is what is in the stacks.
async fn check_books(world: &World, session: &Session) {
    let inside = Amount::total(world.stacks().iter().map(|stack| stack.balance)).unwrap();
    let holdings = session.holdings().await.unwrap();
    assert_eq!(holdings.spent.paid.sub(holdings.spent.returned).unwrap(), inside);
    assert_eq!(holdings.consumed().unwrap().add(holdings.unused().unwrap()).unwrap(), inside);
}

#[tokio::test]
async fn a_stack_is_topped_up_before_it_is_empty() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, policy()).await;
    ask_often(&session, 100).await;
    eventually("topped up", async || world.growths() > 0).await;
    ask_often(&session, 100).await;
    assert_eq!(world.purchases(), 1);
    check_books(&world, &session).await;
    session.drain().await.unwrap();
    world.check_vouchers();
    // Its whole history goes on in a stack of which more is granted.
    drop(session);
    let session = open(&world, &dir, policy()).await;
    ask_often(&session, 1).await;
    assert_eq!((world.purchases(), session.channels()[0].2.count), (1, 201));
}

#[tokio::test]
async fn a_request_that_does_not_fit_any_more_has_the_stack_grow() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy { units: Units(700), ..Policy::default() }).await;
    ask_often(&session, 60).await;
    assert!(world.purchases() == 1 && world.growths() > 0);
    let stack = session.channels()[0].0;
    session.top_up(stack, Units(7_000)).await.unwrap();
    let view = session.show(stack).await.unwrap();
    assert!(view.channels[0].granted >= Units(7_000));
    check_books(&world, &session).await;
    session.close(stack).await.unwrap();
    assert!(session.top_up(stack, Units(1)).await.is_err());
    world.advance_clock(20_001);
    session.refund(stack).await.unwrap();
    let holdings = session.holdings().await.unwrap();
    assert_eq!((holdings.spent.paid, holdings.stacks.len()), (holdings.spent.returned, 0));
}

#[tokio::test]
async fn growth_that_a_kill_interrupted_happens_once() {
    for arrives in [true, false] {
        let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
        let session = open(&world, &dir, Policy { ahead: false, ..policy() }).await;
        let stack = session.buy(MODEL).await.unwrap();
        // The transaction is in the journal; it was sent or was not when the process died.
        if arrives {
            world.lose_answers(u32::MAX);
        } else {
            world.set_unreachable(true);
        }
        assert!(session.top_up(stack, UNITS).await.is_err());
        assert_eq!(session.journal().intents().await.unwrap().len(), 1);
        assert_eq!(world.growths(), usize::from(arrives));
        drop(session);
        world.lose_answers(0);
        world.set_unreachable(false);
        for _ in 0..2 {
            let session = open(&world, &dir, Policy { ahead: false, ..policy() }).await;
            assert!(session.journal().intents().await.unwrap().is_empty());
            let granted = session.show(stack).await.unwrap().channels[0].granted;
            assert_eq!((world.growths(), granted), (1, Units(4_000)), "{arrives}");
            check_books(&world, &session).await;
            session.drain().await.unwrap();
            drop(session);
        }
    }
}

#[tokio::test]
async fn grants_spread_over_nodes_and_follow_their_use() {
    let (world, dir) = (World::start(&[Manner::Honest; 3]).await, TempDir::new().unwrap());
    let several = Policy { selection: Selection::Any, nodes: 2, units: Units(4_000), ..policy() };
    let session = open(&world, &dir, several.clone()).await;
    session.prepare(MODEL).await.unwrap();
    let granted = || {
        let mut all: Vec<_> = world.stacks()[0].channels.iter().map(|channel| channel.granted.0).collect();
        all.sort_unstable();
        all
    };
    assert_eq!((world.purchases(), granted()), (1, vec![1_000, 1_000]));
    ask_often(&session, 120).await;
    eventually("more is granted", async || granted().iter().sum::<u64>() > 2_000).await;
    let has_room = |summary: &Summary| summary.units_free >= Units(500);
    eventually("all have room", async || session.channels().iter().all(|one| has_room(&one.2))).await;
    // One that fails is replaced.
    let failing = (0..3).max_by_key(|node| world.requests(*node)).unwrap();
    world.set_manner(failing, Manner::Fails);
    ask_often(&session, 20).await;
    eventually("another node", async || granted().len() == 3).await;
    assert_eq!(world.purchases(), 1);
    check_books(&world, &session).await;
    session.drain().await.unwrap();
    world.check_vouchers();
    drop(session);
    // What was bought and not granted is, after a restart.
    let session = open(&world, &dir, several).await;
    ask_often(&session, 5).await;
    assert_eq!(world.purchases(), 1);
}

#[tokio::test]
async fn a_certain_node_is_bought_from_at_once() {
    let (world, dir) = (World::start(&[Manner::Honest; 4]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy { ahead: false, ..policy() }).await;
    for node in [NodeId(3), NodeId(2)] {
        let mut headers = HeaderMap::new();
        headers.insert("x-atoma-route", format!("{{\"only\":[{node}]}}").parse().unwrap());
        let body = chat(false);
        let quote = session.quote(Endpoint::ChatCompletions, &body).await.unwrap();
        let quote = quote.routed(Route::of(&headers).unwrap(), &body);
        assert_eq!(session.ask(&quote, body).await.unwrap().node, node);
    }
    assert!(world.purchases() <= 2);
}

#[tokio::test]
async fn a_wallet_without_coins_says_so_and_serving_goes_on() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, policy()).await;
    world.set_poor(true);
    let refused = ask(&session, false).await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), ("wallet_empty", "not enough coins"));
    world.set_poor(false);
    ask_often(&session, 1).await;
    world.set_poor(true);
    ask_often(&session, 100).await;
    eventually("said", async || session.supply()[0].lacks_funds).await;
    ask_often(&session, 10).await;
    assert_eq!((world.purchases(), world.growths()), (1, 0));
    world.set_poor(false);
    // Too much for what is left: bought at once, whatever failed before.
    let long = crate::sim::long_chat(false, 1_500);
    read(ask_for(&session, long).await.unwrap()).await;
    assert!(!session.supply()[0].lacks_funds);
}

#[tokio::test]
async fn stacks_that_nobody_asks_for_are_closed_and_come_back() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let supply = Supply { idle: Duration::from_millis(300), ..policy().supply };
    let session = open(&world, &dir, Policy { tidy: true, supply, ..policy() }).await;
    ask_often(&session, 1).await;
    eventually("closed", async || world.closed().len() == 1).await;
    world.advance_clock(20_001);
    eventually("refunded", async || world.refunded().len() == 1).await;
    eventually("noted", async || session.stacks().await.unwrap().is_empty()).await;
    let holdings = session.holdings().await.unwrap();
    assert_eq!(holdings.spent.paid, holdings.spent.returned);
    // Nothing is bought until somebody asks again.
    assert_eq!(world.purchases(), 1);
    ask_often(&session, 1).await;
    assert_eq!(world.purchases(), 2);
}

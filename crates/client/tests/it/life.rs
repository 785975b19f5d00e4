//! A stack from purchase to refund.

use crate::ask::{ask, open, read};
use crate::sim::{MODEL, Manner, World, eventually};
use atoma_client::Policy;
use atoma_client::session::LifeError;
use tempfile::TempDir;

#[tokio::test]
async fn a_stack_is_bought_used_closed_and_refunded() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let stack = session.buy(MODEL).await.unwrap();
    read(ask(&session, true).await.unwrap()).await;
    assert_eq!(world.purchases(), 1);
    let view = session.show(stack).await.unwrap();
    assert_eq!((view.channels[0].count, view.closing), (1, false));
    assert!(matches!(session.refund(stack).await, Err(LifeError::NotClosing(_))));
    session.close(stack).await.unwrap();
    session.close(stack).await.unwrap();
    assert_eq!((world.closed(), world.acknowledged(0)), (vec![stack], 1));
    // The delay of 20 s, and the millisecond after it, rounded up.
    assert!(matches!(session.refund(stack).await, Err(LifeError::TooEarly { seconds: 1..=21, .. })));
    world.advance_clock(20_001);
    session.refund(stack).await.unwrap();
    session.refund(stack).await.unwrap();
    assert_eq!(world.refunded(), [stack]);
    assert!(session.stacks().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_closed_stack_is_not_used_again() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let stack = session.buy(MODEL).await.unwrap();
    session.close(stack).await.unwrap();
    let answer = ask(&session, false).await.unwrap();
    assert_ne!(answer.stack, stack);
    session.drain().await.unwrap();
    drop(session);
    let session = open(&world, &dir, Policy::default()).await;
    assert_ne!(ask(&session, false).await.unwrap().stack, stack);
    assert_eq!(world.purchases(), 2);
}

#[tokio::test]
async fn a_channel_that_ended_on_chain_is_left_and_its_stack_refunded() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy { tidy: true, ..Policy::default() }).await;
    let answer = ask(&session, false).await.unwrap();
    let stack = answer.stack;
    read(answer).await;
    world.end_channels(stack);
    assert_ne!(ask(&session, false).await.unwrap().stack, stack);
    eventually("closed", async || !world.closed().is_empty()).await;
    assert_eq!(world.closed(), [stack]);
    world.advance_clock(20_001);
    eventually("refunded", async || !world.refunded().is_empty()).await;
    session.drain().await.unwrap();
}

#[tokio::test]
async fn a_stack_that_ended_is_closed_and_refunded_by_itself() {
    let (world, dir) = (World::start(&[Manner::InflatesUnits]).await, TempDir::new().unwrap());
    let policy = Policy { stacks_open_max: 2, tidy: true, ..Policy::default() };
    let session = open(&world, &dir, policy).await;
    for _ in 0..3 {
        assert!(ask(&session, false).await.is_err());
    }
    // A node that always lies locks up two stacks, not more.
    assert_eq!(world.purchases(), 2);
    eventually("closed", async || world.closed().len() == 2).await;
    world.advance_clock(20_001);
    eventually("refunded", async || world.refunded().len() == 2).await;
    session.drain().await.unwrap();
    assert_eq!(world.acknowledged(0), 0);
}

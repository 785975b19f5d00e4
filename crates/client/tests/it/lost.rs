//! Answers that broke off, refusals, and journals that lost something: what is paid in the end.

use crate::ask::{ask, config, cost_of, open, read};
use crate::sim::{MODEL, Manner, PRICE, World, chat, eventually};
use atoma_client::Policy;
use atoma_client::channel::Completion;
use atoma_client::request::Endpoint;
use atoma_sqlite::Log;
use atoma_sqlite::rusqlite::{Connection, params};
use atoma_types::{Price, Units};
use http::StatusCode;
use std::time::Duration;
use tempfile::TempDir;

/// The journal's file, for whoever reads or damages it.
fn journal(dir: &TempDir) -> Connection {
    Connection::open(config(dir.path(), Policy::default()).journal).unwrap()
}

#[tokio::test]
async fn what_a_node_refused_is_not_paid_after_a_restart() {
    for manner in [Manner::Refuses, Manner::Fails] {
        let (world, dir) = (World::start(&[manner]).await, TempDir::new().unwrap());
        let session = open(&world, &dir, Policy { attempts: 1, ..Policy::default() }).await;
        let _ = ask(&session, false).await;
        drop(session);
        world.book_late(0);
        let session = open(&world, &dir, Policy::default()).await;
        session.drain().await.unwrap();
        let ended = session.channels()[0].2.ended.clone().map(|reason| reason.to_string());
        assert!(ended.as_ref().is_some_and(|reason| reason.contains("charges")), "{ended:?}");
        assert_eq!((world.booked(0), world.acknowledged(0)), (1, 0), "{manner:?}");
    }
}

#[tokio::test]
async fn a_late_receipt_is_paid_and_told_once_it_comes() {
    let manner = Manner::BreaksWhole { receipt: false };
    let (world, dir) = (World::start(&[manner]).await, TempDir::new().unwrap());
    world.set_silent(0, true);
    let session = open(&world, &dir, Policy { attempts: 1, ..Policy::default() }).await;
    let (mut paid, quote) = crate::ask::noted(&session, chat(false)).await;
    // Its place is free again, and yet it is not known what it cost.
    eventually("given up", async || session.channels()[0].2.in_flight == 0).await;
    assert!(paid.try_recv().is_err());
    world.set_silent(0, false);
    let completion = paid.await.unwrap();
    assert_eq!(cost_of(Some(completion)), PRICE.cost(Units(world.booked_units(0))).unwrap());
    assert!(world.booked_units(0) <= quote.max_units.0);
    session.drain().await.unwrap();
    assert_eq!(world.acknowledged(0), 1);
}

#[tokio::test]
async fn what_a_node_knew_nothing_of_in_time_is_not_paid_later() {
    let (world, dir) = (World::start(&[Manner::Forgets]).await, TempDir::new().unwrap());
    let policy = Policy { attempts: 1, patience: Duration::from_millis(1), ..Policy::default() };
    let session = open(&world, &dir, policy.clone()).await;
    let (paid, _) = crate::ask::noted(&session, chat(false)).await;
    assert!(matches!(paid.await, Ok(Completion::Unpaid { .. })));
    // An honest node goes on.
    world.set_manner(0, Manner::Honest);
    let (_, completion) = read(ask(&session, false).await.unwrap()).await;
    assert!(cost_of(completion).0 > 0);
    session.drain().await.unwrap();
    assert_eq!((world.booked(0), world.acknowledged(0), world.purchases()), (1, 1, 1));
    drop(session);
    // One that charges it after all does not, over a restart neither.
    world.book_late(0);
    let session = open(&world, &dir, policy).await;
    session.drain().await.unwrap();
    assert!(session.channels()[0].2.ended.is_some());
    assert_eq!((world.booked(0), world.acknowledged(0)), (2, 1));
}

#[tokio::test]
async fn what_is_lost_is_settled_at_the_latest_with_the_stack() {
    let (world, dir) = (World::start(&[Manner::Forgets]).await, TempDir::new().unwrap());
    world.set_silent(0, true);
    let session = open(&world, &dir, Policy { attempts: 1, ..Policy::default() }).await;
    let (mut paid, _) = crate::ask::noted(&session, chat(false)).await;
    let stack = session.channels()[0].0;
    session.close(stack).await.unwrap();
    assert!(paid.try_recv().is_err());
    world.advance_clock(20_001);
    session.refund(stack).await.unwrap();
    assert!(matches!(paid.await, Ok(Completion::Unpaid { .. })));
}

#[tokio::test]
async fn an_honest_channel_survives_a_lost_row_of_receipts() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    for _ in 0..4 {
        read(ask(&session, false).await.unwrap()).await;
    }
    session.drain().await.unwrap();
    drop(session);
    // As a full queue leaves it: the request is still there, its receipt is not, later ones are.
    let damaged = journal(&dir);
    let lose = "DELETE FROM receipts WHERE count = 2 RETURNING receipt";
    let found: Vec<u8> = damaged.query_row(lose, [], |row| row.get(0)).unwrap();
    let receipt: atoma_types::Signed<atoma_types::Receipt> = bcs::from_bytes(&found).unwrap();
    let request = params![receipt.message.request_hash.0, receipt.message.stack.as_bytes()];
    let again = "INSERT INTO requests (request_hash, stack, node, max_units) VALUES (?, ?, 1, 1000)";
    damaged.execute(again, request).unwrap();
    drop(damaged);
    let session = open(&world, &dir, Policy::default()).await;
    read(ask(&session, false).await.unwrap()).await;
    session.drain().await.unwrap();
    let (_, _, summary) = session.channels().remove(0);
    assert_eq!((summary.count, summary.ended), (5, None));
    assert_eq!((world.acknowledged(0), world.purchases()), (5, 1));
    world.check_vouchers();
}

#[tokio::test]
async fn a_voucher_is_journaled_when_it_is_sent() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    read(ask(&session, false).await.unwrap()).await;
    session.journal().flush().await.unwrap();
    // Nothing can be written to the database for a while.
    let blocker = journal(&dir);
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    session.acknowledge().await;
    assert_eq!(world.acknowledged(0), 1);
    let held = "SELECT count(*) FROM vouchers";
    assert_eq!(blocker.query_row(held, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    let applied = "SELECT value FROM meta WHERE name = 'log_applied'";
    let applied: i64 = blocker.query_row(applied, [], |row| row.get(0)).unwrap();
    let path = config(dir.path(), Policy::default()).journal;
    assert_eq!(Log::read(&path, applied.cast_unsigned()).unwrap().len(), 1);
    blocker.execute_batch("COMMIT").unwrap();
    session.journal().flush().await.unwrap();
    assert_eq!(blocker.query_row(held, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[tokio::test]
async fn no_more_is_paid_than_was_quoted() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let body = chat(false);
    let quote = session.quote(Endpoint::ChatCompletions, &body).await.unwrap();
    world.set_price(Price(PRICE.0 + 1));
    session.buy(MODEL).await.unwrap();
    let error = session.ask(&quote, body.clone()).await.unwrap_err();
    assert_eq!((error.status, error.code), (StatusCode::SERVICE_UNAVAILABLE, "price_rose"));
    assert_eq!(world.requests(0), 0);
    let quote = session.quote(Endpoint::ChatCompletions, &body).await.unwrap();
    let answer = session.ask(&quote, body).await.unwrap();
    assert!(cost_of(read(answer).await.1) <= quote.max_cost);
}

//! Asking through a session.

use crate::sim::{BURST, INPUT, MODEL, Manner, PRICE, SimMarket, WORDS, World, chat, eventually, long_chat};
use atoma_client::channel::{Completion, Sent};
use atoma_client::request::Endpoint;
use atoma_client::session::{Answer, AnswerBody, Note, Quote};
use atoma_client::{ApiError, Policy, Session, SessionConfig};
use atoma_types::{Amount, Units};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub(crate) fn config(dir: &Path, policy: Policy) -> SessionConfig {
    SessionConfig { journal: dir.join("client.db"), policy }
}

pub(crate) async fn open(world: &World, dir: &TempDir, policy: Policy) -> Session {
    let market = Arc::new(SimMarket(world.clone()));
    Session::open(config(dir.path(), policy), market).await.unwrap()
}

pub(crate) async fn ask(session: &Session, stream: bool) -> Result<Answer, ApiError> {
    ask_for(session, chat(stream)).await
}

pub(crate) async fn ask_for(session: &Session, body: Bytes) -> Result<Answer, ApiError> {
    let quote = session.quote(Endpoint::ChatCompletions, &body).await?;
    session.ask(&quote, body).await
}

/// Asks for what breaks off, and what tells how that was paid.
pub(crate) async fn noted(session: &Session, body: Bytes) -> (oneshot::Receiver<Completion>, Quote) {
    #[derive(Default)]
    struct Noted(Mutex<Option<oneshot::Receiver<Completion>>>);
    impl Note for Noted {
        fn before_send(
            &self,
            _: Sent,
            paid: oneshot::Receiver<Completion>,
        ) -> BoxFuture<'_, Result<(), ApiError>> {
            *self.0.lock().unwrap() = Some(paid);
            Box::pin(async { Ok(()) })
        }
    }
    let (quote, noted) = (session.quote(Endpoint::ChatCompletions, &body).await.unwrap(), Noted::default());
    session.ask_noting(&quote, body, &noted).await.unwrap_err();
    (noted.0.into_inner().unwrap().unwrap(), quote)
}

/// The answer's text, and how it was paid.
pub(crate) async fn read(answer: Answer) -> (String, Option<Completion>) {
    let text = match answer.body {
        AnswerBody::Whole(bytes) => bytes.to_vec(),
        AnswerBody::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(Ok(chunk)) = stream.next().await {
                all.extend_from_slice(&chunk);
            }
            all
        }
    };
    let completion = match answer.completion {
        Some(completion) => completion.await.ok(),
        None => None,
    };
    (String::from_utf8(text).unwrap(), completion)
}

pub(crate) fn cost_of(completion: Option<Completion>) -> Amount {
    match completion.unwrap() {
        Completion::Settled { cost, .. } => cost,
        Completion::Unpaid { reason } => panic_with(&format!("unpaid: {reason}")),
    }
}

#[expect(clippy::panic, reason = "tests")]
fn panic_with(reason: &str) -> ! {
    panic!("{reason}")
}

#[tokio::test]
async fn whole_and_streamed_answers_are_checked_and_acknowledged() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    assert_eq!(session.models().await, [MODEL]);
    let (whole, completion) = read(ask(&session, false).await.unwrap()).await;
    assert!(whole.contains(&WORDS.concat()));
    let mut paid = cost_of(completion);
    let (streamed, completion) = read(ask(&session, true).await.unwrap()).await;
    assert!(streamed.contains(": atoma-receipt ") && streamed.ends_with("data: [DONE]\n\n"));
    paid = paid.add(cost_of(completion)).unwrap();
    assert_eq!(paid, PRICE.cost(Units(world.booked_units(0))).unwrap());
    session.drain().await.unwrap();
    assert_eq!((world.booked(0), world.acknowledged(0), world.purchases()), (2, 2, 1));
    world.check_vouchers();
}

#[tokio::test]
async fn many_at_once_never_exceed_the_window() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let all = (0..200).map(|n| {
        let session = session.clone();
        async move { read(ask(&session, n % 2 == 0).await.unwrap()).await.1 }
    });
    let completions = futures::future::join_all(all).await;
    let paid = Amount::total(completions.into_iter().map(cost_of)).unwrap();
    assert_eq!(paid, PRICE.cost(Units(world.booked_units(0))).unwrap());
    session.drain().await.unwrap();
    // Every request arrived once: the window was kept here, not by the node's refusals.
    assert_eq!((world.booked(0), world.requests(0), world.acknowledged(0)), (200, 200, 200));
    assert_eq!((world.purchases(), world.replays()), (1, 0));
    world.check_vouchers();
}

#[tokio::test]
async fn load_spreads_over_stacks_and_nodes() {
    let (world, dir) = (World::start(&[Manner::Honest, Manner::Honest]).await, TempDir::new().unwrap());
    let policy = Policy { stacks_per_task: 4, ..Policy::default() };
    let session = open(&world, &dir, policy).await;
    session.prepare(MODEL).await.unwrap();
    assert_eq!(world.purchases(), 4);
    let all = (0..40).map(|_| async { read(ask(&session, true).await.unwrap()).await });
    futures::future::join_all(all).await;
    // Every window starts at one, and then grows with the speed of the node.
    assert!(world.booked(0) >= 2 && world.booked(1) >= 2);
    session.drain().await.unwrap();
    assert_eq!(world.acknowledged(0) + world.acknowledged(1), 40);
}

#[tokio::test]
async fn a_lying_node_is_not_paid_and_not_asked_again() {
    for lie in [Manner::InflatesUnits, Manner::TampersReceipt, Manner::SendsNoReceipt] {
        let (world, dir) = (World::start(&[lie, Manner::Honest]).await, TempDir::new().unwrap());
        let policy = Policy { stacks_per_task: 2, ..Policy::default() };
        let session = open(&world, &dir, policy).await;
        session.prepare(MODEL).await.unwrap();
        for _ in 0..4 {
            let (text, _) = read(ask(&session, false).await.unwrap()).await;
            assert!(text.contains(&WORDS.concat()));
        }
        session.drain().await.unwrap();
        if lie == Manner::SendsNoReceipt {
            // It had one when asked for it.
            assert_eq!(world.acknowledged(0), world.booked(0));
        } else {
            assert_eq!((world.requests(0), world.acknowledged(0)), (1, 0), "{lie:?}");
            let ended = session.channels().into_iter().filter(|(_, _, summary)| summary.ended.is_some());
            assert_eq!(ended.count(), 1);
        }
    }
}

#[tokio::test]
async fn a_wrong_receipt_in_a_stream_ends_it_with_an_error() {
    let (world, dir) = (World::start(&[Manner::TampersReceipt]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let (text, completion) = read(ask(&session, true).await.unwrap()).await;
    assert!(text.contains("five") && text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
    assert!(!text.contains("atoma-receipt"));
    assert!(matches!(completion, Some(Completion::Unpaid { .. })));
    session.drain().await.unwrap();
    assert_eq!(world.acknowledged(0), 0);
}

#[tokio::test]
async fn a_broken_stream_ends_with_an_error_and_its_receipt_is_fetched() {
    let (world, dir) = (World::start(&[Manner::BreaksOff]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let (text, completion) = read(ask(&session, true).await.unwrap()).await;
    assert!(text.contains("two") && text.ends_with("}}\n\n") && text.contains("\"error\""), "{text}");
    assert!(cost_of(completion).0 > 0);
    session.drain().await.unwrap();
    assert_eq!((world.booked(0), world.acknowledged(0)), (1, 1));
}

#[tokio::test]
async fn hanging_up_stops_the_node_and_pays_what_arrived() {
    let (world, dir) = (World::start(&[Manner::Waits]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let answer = ask(&session, true).await.unwrap();
    let AnswerBody::Stream(mut stream) = answer.body else { panic_with("not a stream") };
    stream.next().await.unwrap().unwrap();
    drop(stream);
    let completion = answer.completion.unwrap().await.ok();
    assert_eq!(cost_of(completion), PRICE.cost(Units(7 + 1)).unwrap());
    session.drain().await.unwrap();
    assert_eq!((world.booked(0), world.acknowledged(0)), (1, 1));
}

#[tokio::test]
async fn hanging_up_on_unread_words_pays_for_those_on_the_way() {
    let (world, dir) = (World::start(&[Manner::Bursts]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let answer = ask_for(&session, long_chat(true, 1_000)).await.unwrap();
    let AnswerBody::Stream(mut stream) = answer.body else { panic_with("not a stream") };
    stream.next().await.unwrap().unwrap();
    eventually("all words sent", async || world.words(0) == BURST).await;
    drop(stream);
    let completion = answer.completion.unwrap().await.ok();
    assert_eq!(cost_of(completion), PRICE.cost(Units(INPUT + BURST)).unwrap());
    world.set_manner(0, Manner::Honest);
    read(ask(&session, true).await.unwrap()).await;
    session.drain().await.unwrap();
    assert_eq!((world.booked(0), world.acknowledged(0), world.purchases()), (2, 2, 1));
}

#[tokio::test]
async fn an_honest_node_survives_a_broken_connection() {
    let manners = [
        Manner::BreaksWhole { receipt: true },
        Manner::BreaksWhole { receipt: false },
        Manner::BreaksRefusal,
    ];
    for manner in manners {
        let (world, dir) = (World::start(&[manner]).await, TempDir::new().unwrap());
        let session = open(&world, &dir, Policy::default()).await;
        let error = ask(&session, false).await.unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_GATEWAY, "{manner:?}");
        world.set_manner(0, Manner::Honest);
        let (text, completion) = read(ask(&session, false).await.unwrap()).await;
        assert!(text.contains(&WORDS.concat()) && cost_of(completion).0 > 0);
        session.drain().await.unwrap();
        let counts = (world.booked(0), world.acknowledged(0), world.purchases());
        assert_eq!(counts, (2, 2, 1), "{manner:?}");
        world.check_vouchers();
    }
}

#[tokio::test]
async fn a_refusal_that_charges_is_not_paid() {
    let (world, dir) = (World::start(&[Manner::ChargesRefusal]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    ask(&session, false).await.unwrap_err();
    assert!(session.channels()[0].2.ended.is_some());
    session.drain().await.unwrap();
    assert_eq!(world.acknowledged(0), 0);
}

#[tokio::test]
async fn tokens_that_the_request_or_the_answer_cannot_hold_are_not_paid() {
    let body = |stream| long_chat(stream, 200);
    let most_input = u64::try_from(body(true).len()).unwrap() + 256;
    let most_output = u64::try_from(WORDS.concat().len()).unwrap() + 16;
    let cases = [
        (Manner::ClaimsInput(most_input), true),
        // A whole body is one byte longer, for `false`.
        (Manner::ClaimsInput(most_input + 2), false),
        (Manner::ClaimsOutput(most_output), true),
        (Manner::ClaimsOutput(most_output + 1), false),
    ];
    for (manner, paid) in cases {
        for stream in [true, false] {
            let (world, dir) = (World::start(&[manner]).await, TempDir::new().unwrap());
            let session = open(&world, &dir, Policy { attempts: 1, ..Policy::default() }).await;
            if let Ok(answer) = ask_for(&session, body(stream)).await {
                read(answer).await;
            }
            assert_eq!(session.channels()[0].2.ended.is_none(), paid, "{manner:?} {stream}");
            session.drain().await.unwrap();
            assert_eq!(world.acknowledged(0), u64::from(paid));
        }
    }
}

#[tokio::test]
async fn failures_before_the_first_byte_go_to_another_node() {
    let (world, dir) = (World::start(&[Manner::Fails, Manner::Honest]).await, TempDir::new().unwrap());
    let policy = Policy { stacks_per_task: 2, ..Policy::default() };
    let session = open(&world, &dir, policy).await;
    session.prepare(MODEL).await.unwrap();
    for _ in 0..10 {
        let answer = ask(&session, true).await.unwrap();
        assert_eq!(answer.node.0, 2);
        read(answer).await;
    }
    // After a few failures in a row the node is left alone.
    assert!(world.requests(0) < 10);
    world.set_manner(1, Manner::Fails);
    let error = ask(&session, false).await.unwrap_err();
    assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_refusal_that_is_the_requests_fault_is_passed_on() {
    let (world, dir) = (World::start(&[Manner::Refuses]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let answer = ask(&session, false).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.headers["content-type"], "application/json");
    let (text, completion) = read(answer).await;
    let error: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({"message": "refused", "type": "x", "param": null, "code": "nope"});
    assert_eq!((&error["error"], completion.is_none()), (&expected, true));
    assert_eq!(world.requests(0), 1);
}

#[tokio::test]
async fn a_refusal_that_is_no_error_object_is_not_passed_on() {
    let manners = [Manner::RefusesRaw, Manner::Honest];
    let (world, dir) = (World::start(&manners).await, TempDir::new().unwrap());
    let policy = Policy { stacks_per_task: 2, ..Policy::default() };
    let session = open(&world, &dir, policy).await;
    session.prepare(MODEL).await.unwrap();
    for _ in 0..4 {
        assert_eq!(ask(&session, false).await.unwrap().node.0, 2);
    }
    assert!(world.requests(0) > 0);
    world.set_manner(1, Manner::RefusesRaw);
    let error = ask(&session, false).await.unwrap_err();
    assert_eq!((error.status, error.code), (StatusCode::BAD_GATEWAY, "node_failed"));
    assert!(!error.message.contains("script"));
}

#[tokio::test]
async fn a_restart_uses_no_nonce_twice_and_buys_nothing_again() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    for round in 1..=3 {
        let session = open(&world, &dir, Policy::default()).await;
        for _ in 0..5 {
            read(ask(&session, true).await.unwrap()).await;
        }
        // Not drained: as if the process had been killed. The journal's writer may lag behind.
        assert_eq!((world.booked(0), world.purchases()), (5 * round, 1));
        drop(session);
    }
    let session = open(&world, &dir, Policy::default()).await;
    session.drain().await.unwrap();
    assert_eq!((world.acknowledged(0), world.replays()), (15, 0));
    world.check_vouchers();
}

#[tokio::test]
async fn a_request_in_flight_over_a_restart_is_still_acknowledged() {
    let (world, dir) = (World::start(&[Manner::Waits]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    let answer = ask(&session, true).await.unwrap();
    // A second process takes over while the first still reads; the first never says how it ended.
    let copy = TempDir::new().unwrap();
    session.journal().flush().await.unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    world.go_on();
    let (text, _) = read(answer).await;
    assert!(text.ends_with("data: [DONE]\n\n"));
    drop(session);
    let session = open(&world, &copy, Policy::default()).await;
    session.drain().await.unwrap();
    assert_eq!((world.booked(0), world.acknowledged(0)), (1, 1));
    world.check_vouchers();
}

#[tokio::test]
async fn a_purchase_whose_answer_was_lost_is_not_paid_twice() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    world.lose_answers(2);
    let session = open(&world, &dir, Policy::default()).await;
    read(ask(&session, false).await.unwrap()).await;
    assert_eq!(world.purchases(), 1);
    session.drain().await.unwrap();
    drop(session);
    world.lose_answers(5);
    let other = TempDir::new().unwrap();
    let session = open(&world, &other, Policy::default()).await;
    assert!(session.buy(MODEL).await.is_err());
    assert_eq!(world.purchases(), 2);
    drop(session);
    let session = open(&world, &other, Policy::default()).await;
    read(ask(&session, false).await.unwrap()).await;
    assert_eq!(world.purchases(), 2);
}

#[tokio::test]
async fn an_interrupted_purchase_comes_before_another_one() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    // Every start dies with the outcome of its purchase unknown: one is made, however often it starts.
    for start in 0..3 {
        world.lose_answers(u32::MAX);
        let session = open(&world, &dir, Policy::default()).await;
        assert!(session.buy(MODEL).await.is_err());
        assert_eq!((world.purchases(), session.journal().intents().await.unwrap().len()), (1, 1), "{start}");
    }
    let session = open(&world, &dir, Policy::default()).await;
    assert!(session.buy(MODEL).await.is_err());
    world.lose_answers(0);
    let stack = session.buy(MODEL).await.unwrap();
    assert_eq!(ask(&session, false).await.unwrap().stack, stack);
    assert!(session.journal().intents().await.unwrap().is_empty());
    assert_eq!(world.purchases(), 1);
    assert_ne!(session.buy(MODEL).await.unwrap(), stack);
    assert_eq!(world.purchases(), 2);
}

#[tokio::test]
async fn a_stack_that_could_not_be_read_when_bought_comes_before_another_one() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let session = open(&world, &dir, Policy::default()).await;
    world.hide_stacks(true);
    assert!(session.buy(MODEL).await.is_err());
    assert!(session.buy(MODEL).await.is_err());
    world.hide_stacks(false);
    let stack = session.buy(MODEL).await.unwrap();
    assert_eq!((ask(&session, false).await.unwrap().stack, world.purchases()), (stack, 1));
}

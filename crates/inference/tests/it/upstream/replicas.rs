//! Several servers behind one model.

use super::*;
use crate::fake::{Piece, Reply, event, says, usage};
use atoma_inference::EngineError;
use tokio::net::TcpListener;

fn good() -> Reply {
    Reply::events(&[says("a"), usage(6, 1)])
}

async fn over(replicas: &[&Fake]) -> UpstreamEngine {
    UpstreamEngine::connect(config(replicas)).await.unwrap()
}

async fn works(engine: &UpstreamEngine) {
    let (frames, summary) = ask(engine, &chat(json!({"stream": true}))).await;
    assert_eq!((summary.outcome, frames.len()), (Outcome::Complete, 1));
}

fn refused(engine: &UpstreamEngine) -> EngineError {
    let body = Bytes::from(chat(json!({"stream": true})).to_string());
    let prepared = engine.prepare(Endpoint::ChatCompletions, &body).unwrap();
    engine.run(prepared, 100).unwrap_err()
}

#[tokio::test]
async fn another_replica_answers_if_one_does_not_begin() {
    for bad in [
        Reply::json(500, &json!({"error": "oops"})),
        Reply::json(502, &json!({})),
        Reply::json(429, &json!({})),
        Reply::json(503, &json!({})),
        Reply::stream(vec![]),
        Reply::stream(vec![Piece::Break]),
    ] {
        let (first, second) = (Fake::start(vec![bad.clone()]).await, Fake::start(vec![good()]).await);
        let engine = over(&[&first, &second]).await;
        for _ in 0..2 {
            works(&engine).await;
        }
        assert!(!first.seen().is_empty() && second.seen().len() == 2);
    }
}

#[tokio::test]
async fn what_was_begun_is_not_asked_again() {
    let breaks = || Fake::start(vec![Reply::stream(vec![event(&says("a"))])]);
    let (first, second) = (breaks().await, breaks().await);
    let (_, summary) = ask(&over(&[&first, &second]).await, &chat(json!({"stream": true}))).await;
    assert!(matches!(summary.outcome, Outcome::Failed(_)));
    assert_eq!(first.seen().len() + second.seen().len(), 1);
}

#[tokio::test]
async fn attempts_are_bounded() {
    let bad = || Fake::start(vec![Reply::json(500, &json!({}))]);
    let fakes = [bad().await, bad().await, bad().await, bad().await, bad().await];
    let engine = over(&fakes.iter().collect::<Vec<_>>()).await;
    let (_, summary) = ask(&engine, &chat(json!({}))).await;
    assert!(failure(&summary).contains("500"));
    assert_eq!(fakes.iter().map(|fake| fake.seen().len()).sum::<usize>(), 3);
}

#[tokio::test]
async fn a_replica_may_come_late() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = reserved.local_addr().unwrap();
    drop(reserved);
    let mut config = config(&[]);
    config.replicas = vec![format!("http://{addr}")];
    let engine = UpstreamEngine::connect(config).await.unwrap();
    assert!(!engine.load().healthy);
    assert!(matches!(refused(&engine), EngineError::Unavailable { .. }));
    let _fake = Fake::on(TcpListener::bind(addr).await.unwrap(), vec![good()]);
    until(&engine, |load| load.healthy).await;
    works(&engine).await;
}

#[tokio::test]
async fn health_decides_and_models_stand_in_for_it() {
    let fake = Fake::start(vec![good()]).await;
    let engine = over(&[&fake]).await;
    fake.set_health(503);
    until(&engine, |load| !load.healthy).await;
    fake.set_health(404);
    until(&engine, |load| load.healthy).await;
    works(&engine).await;
}

#[tokio::test]
async fn servers_that_keep_failing_are_left_alone_for_a_while() {
    let fake = Fake::start(vec![
        Reply::json(500, &json!({})),
        Reply::json(500, &json!({})),
        Reply::json(500, &json!({})),
        good(),
    ])
    .await;
    let engine = over(&[&fake]).await;
    for _ in 0..3 {
        let (_, summary) = ask(&engine, &chat(json!({}))).await;
        assert!(failure(&summary).contains("500"));
    }
    assert!(matches!(refused(&engine), EngineError::Unavailable { .. }));
    until(&engine, |load| load.healthy).await;
    works(&engine).await;
}

#[tokio::test]
async fn the_refusals_of_clients_do_not_eject() {
    let fake = Fake::start(vec![Reply::json(400, &json!({"error": "no"}))]).await;
    let engine = over(&[&fake]).await;
    for _ in 0..10 {
        let (_, summary) = ask(&engine, &chat(json!({}))).await;
        assert!(matches!(summary.outcome, Outcome::Refused { .. }));
    }
    assert!(engine.load().healthy);
}

#[tokio::test]
async fn a_full_server_is_full_before_anything_is_used_up() {
    let busy = Reply { retry_after: Some(30), ..Reply::json(429, &json!({})) };
    let fake = Fake::start(vec![busy]).await;
    let engine = over(&[&fake]).await;
    let (_, summary) = ask(&engine, &chat(json!({}))).await;
    assert!(failure(&summary).contains("429"));
    assert!(engine.load().is_full() && engine.load().healthy);
    assert!(matches!(refused(&engine), EngineError::Overloaded { .. }));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn no_more_than_the_limit_run_and_the_least_busy_is_next() {
    let stalls = || Fake::start(vec![Reply::stream(vec![event(&says("a")), Piece::Stall])]);
    let (first, second) = (stalls().await, stalls().await);
    let mut config = config(&[&first, &second]);
    config.limits.concurrent = 2;
    let engine = UpstreamEngine::connect(config).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut generation = start(&engine, Endpoint::ChatCompletions, &chat(json!({"stream": true})), 100);
        generation.next().await.unwrap();
        held.push(generation);
    }
    assert_eq!((first.seen().len(), second.seen().len()), (2, 2));
    assert!(engine.load().is_full() && engine.load().running == 4);
    assert!(matches!(refused(&engine), EngineError::Overloaded { .. }));
    held.pop();
    until(&engine, |load| !load.is_full()).await;
    // What a server's own metrics say counts as well.
    first.set_metrics("vllm:num_requests_running 9.0\nvllm:num_requests_waiting 50.0\n");
    second.set_metrics("llamacpp:requests_processing 1\nllamacpp:requests_deferred 16\n");
    until(&engine, |load| load.waiting == 66).await;
    assert!(engine.load().is_full());
    assert!(matches!(refused(&engine), EngineError::Overloaded { .. }));
}

#[test]
fn bad_configurations_are_one_line_each() {
    let good = || UpstreamConfig::new("m", vec!["http://127.0.0.1:1".to_owned()], 100);
    assert!(good().check().is_ok());
    let with = |change: &dyn Fn(&mut UpstreamConfig)| {
        let mut config = good();
        change(&mut config);
        config
    };
    for bad in [
        with(&|config| config.replicas.clear()),
        with(&|config| config.replicas[0] = "127.0.0.1:8000".to_owned()),
        with(&|config| config.context_tokens = 0),
        with(&|config| config.endpoints.clear()),
        with(&|config| config.limits.stall_ms = 0),
        with(&|config| config.limits.concurrent = 0),
        with(&|config| config.limits.event_bytes = 0),
    ] {
        let message = bad.check().unwrap_err().to_string();
        assert!(!message.contains('\n') && message.starts_with("engine `m`: "), "{message}");
    }
}

//! Requests joining, leaving, waiting and being turned away.

use std::time::Duration;

use atoma_inference::{Engine, EngineError, Outcome, Queue, ReferenceConfig};
use serde_json::json;

use crate::support::{complete, config, drain, engine, load, prepare, prompt, start};

/// Room for one choice at a time.
fn narrow(queue: Queue) -> ReferenceConfig {
    ReferenceConfig { max_running: 1, queue, kv_tokens: 1024, ..config() }
}

fn long(stream: bool) -> serde_json::Value {
    prompt("Numbers: 1 2 3 4", json!({"max_tokens": 900, "stream": stream, "temperature": 0}))
}

#[tokio::test]
async fn stopping_early_frees_the_slot_and_leaves_a_provable_summary() {
    let engine = load(&narrow(Queue { capacity: 4, timeout: Duration::from_secs(60) }));
    let mut running = start(&engine, &long(true));
    let first = running.next().await.unwrap();
    assert!(first.output_tokens >= 1);
    let summary = running.finish().await;
    assert_eq!(summary.outcome, Outcome::Aborted);
    assert!(summary.output_tokens >= 1 && summary.output_tokens < 900);
    let prepared = prepare(&engine, &long(true)).unwrap();
    let replay = engine.replay_request(&prepared, &summary.output_ids).unwrap();
    assert_eq!((replay.mismatch, replay.digest()), (None, summary.work));
    // The only slot is free again, also after a handle is dropped without a word.
    drop(start(&engine, &long(false)));
    let (_, next) = complete(&engine, &prompt("Hi", json!({"max_tokens": 2}))).await;
    assert_eq!(next.output_ids[0].len(), 2);
}

#[tokio::test]
async fn a_slow_reader_holds_the_engine_back() {
    let engine = engine();
    let mut running = start(&*engine, &long(true));
    let first = running.next().await.unwrap();
    // Enough work for others to let this request run ahead as far as it ever will.
    complete(&*engine, &prompt("Other", json!({"max_tokens": 40}))).await;
    let summary = running.finish().await;
    assert_eq!(summary.outcome, Outcome::Aborted);
    assert!(summary.output_tokens <= first.output_tokens + 16, "{}", summary.output_tokens);
}

#[tokio::test]
async fn a_reader_that_never_reads_is_given_up() {
    let engine = load(&ReferenceConfig {
        stall_timeout: Duration::from_millis(1),
        ..narrow(Queue { capacity: 4, timeout: Duration::from_secs(60) })
    });
    let stalled = start(&engine, &long(true));
    // Needs the only slot.
    complete(&engine, &prompt("Hi", json!({"max_tokens": 2}))).await;
    assert_eq!(stalled.finish().await.outcome, Outcome::Aborted);
}

#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let engine = load(&narrow(Queue { capacity: 1, timeout: Duration::from_secs(60) }));
    let mut running = start(&engine, &long(true));
    running.next().await.unwrap();
    let waiting = start(&engine, &long(true));
    let refused = engine.run(prepare(&engine, &long(true)).unwrap(), 10).unwrap_err();
    assert!(matches!(refused, EngineError::Overloaded { .. }), "{refused}");
    drop(waiting);
    assert_eq!(running.finish().await.outcome, Outcome::Aborted);
    complete(&engine, &prompt("Hi", json!({"max_tokens": 1}))).await;
}

#[tokio::test]
async fn waiting_too_long_fails_and_cancelling_while_waiting_aborts() {
    let engine = load(&narrow(Queue { capacity: 4, timeout: Duration::from_millis(1) }));
    let mut running = start(&engine, &long(true));
    running.next().await.unwrap();
    let (frames, summary) = drain(start(&engine, &long(true))).await;
    assert!(frames.is_empty());
    assert!(matches!(summary.outcome, Outcome::Failed(_)), "{summary:?}");
    let summary = start(&engine, &long(true)).finish().await;
    assert_ne!(summary.outcome, Outcome::Complete);
    assert_eq!((summary.output_tokens, summary.work), (0, [0; 32]));
    drop(running);
}

#[tokio::test]
async fn dropping_the_engine_ends_its_requests() {
    let engine = load(&narrow(Queue { capacity: 4, timeout: Duration::from_secs(60) }));
    let running = start(&engine, &long(false));
    let waiting = start(&engine, &long(false));
    drop(engine);
    for generation in [running, waiting] {
        let (_, summary) = drain(generation).await;
        assert!(matches!(summary.outcome, Outcome::Failed(_)), "{summary:?}");
    }
}

#[tokio::test]
async fn more_choices_than_slots_are_refused() {
    let engine = load(&narrow(Queue { capacity: 4, timeout: Duration::from_secs(60) }));
    let prepared = prepare(&engine, &prompt("Hi", json!({"n": 2}))).unwrap();
    assert!(matches!(engine.run(prepared, 100), Err(EngineError::BadRequest { .. })));
}

#[test]
fn a_missing_or_broken_file_names_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.gguf");
    let load = || atoma_inference::ReferenceEngine::load("m", &path, &config()).unwrap_err().to_string();
    assert!(load().contains("atoma model pull m"), "{}", load());
    std::fs::write(&path, b"GGUF????").unwrap();
    assert!(load().contains("atoma model pull m") && !load().contains('\n'), "{}", load());
}

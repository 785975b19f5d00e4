//! Servers that break off, stall, send nonsense, or refuse.

use super::*;
use crate::fake::{Piece, Reply, done, event, says, usage};

/// What comes of one stream that does not end well.
async fn broken(pieces: Vec<Piece>) -> (Vec<Frame>, String) {
    let fake = Fake::start(vec![Reply::stream(pieces)]).await;
    let mut config = config(&[&fake]);
    config.limits.stall_ms = 100;
    config.limits.begin_ms = 10_000;
    let engine = UpstreamEngine::connect(config).await.unwrap();
    let (frames, summary) = ask(&engine, &chat(json!({"stream": true}))).await;
    assert_eq!((summary.input_tokens, summary.output_tokens), (0, 0));
    fake.idle().await;
    (frames, failure(&summary).to_owned())
}

#[tokio::test]
async fn an_early_end_fails() {
    let (frames, reason) = broken(vec![event(&says("a")), event(&usage(6, 1))]).await;
    assert_eq!((frames.len(), reason.as_str()), (1, "the stream ended early"));
    let (_, reason) = broken(vec![event(&says("a")), Piece::Bytes("data: {\"cho".into())]).await;
    assert_eq!(reason, "the stream ended early");
    let (frames, _) = broken(vec![event(&says("a")), Piece::Break]).await;
    assert!(frames.len() <= 1);
    let (frames, _) = broken(vec![]).await;
    assert!(frames.is_empty());
}

#[tokio::test]
async fn a_stall_fails() {
    let (frames, reason) = broken(vec![event(&says("a")), Piece::Stall]).await;
    assert_eq!((frames.len(), reason.as_str()), (1, "the stream stalled"));
}

#[tokio::test]
async fn nonsense_fails() {
    for nonsense in
        ["<html>\n\n", "data: nonsense\n\n", "data: {\"choices\":[\n\n", "data: [1]\n\n", "nodata\n\n"]
    {
        let (frames, reason) = broken(vec![event(&says("a")), Piece::Bytes(nonsense.into()), done()]).await;
        assert_eq!(frames.len(), 1, "{nonsense}: {reason}");
    }
    let (_, reason) =
        broken(vec![Piece::Bytes("data: {\"error\":{\"message\":\"out of memory\"}}\n\n".into()), done()])
            .await;
    // Its own words may repeat what was asked: they are not for a log.
    assert_eq!(reason, "the engine reports an error");
    let fake = Fake::start(vec![
        Reply::text(200, "{}"),
        Reply::text(200, "nonsense"),
        Reply::text(200, "{\"error\":\"x\"}"),
    ])
    .await;
    let engine = counting(&fake).await;
    for stream in [true, false, false] {
        let (frames, summary) = ask(&engine, &chat(json!({"stream": stream}))).await;
        assert!(frames.is_empty() && !failure(&summary).is_empty());
    }
}

#[tokio::test]
async fn an_event_without_an_end_does_not_fill_the_memory() {
    let (frames, reason) =
        broken(vec![event(&says("a")), Piece::Bytes(vec![b'x'; 10 << 20].into()), done()]).await;
    assert_eq!((frames.len(), reason.as_str()), (1, "an event has more than 1048576 bytes"));
    let huge = format!("data: {{\"x\":\"{}\"}}\n\n", "y".repeat(10 << 20));
    let (_, reason) = broken(vec![Piece::Bytes(huge.into()), done()]).await;
    assert_eq!(reason, "an event has more than 1048576 bytes");
}

#[tokio::test]
async fn a_plain_answer_may_be_too_long_or_too_late() {
    let fake = Fake::start(vec![Reply::text(200, format!("{{\"x\":\"{}\"}}", "y".repeat(2_000)))]).await;
    let mut config = config(&[&fake]);
    config.limits.answer_bytes = 1_000;
    let engine = UpstreamEngine::connect(config).await.unwrap();
    let (_, summary) = ask(&engine, &chat(json!({}))).await;
    assert_eq!(failure(&summary), "the answer is too long");
    let fake = Fake::start(vec![Reply {
        pieces: vec![Piece::Bytes("{".into()), Piece::Stall],
        ..Reply::text(200, "")
    }])
    .await;
    let mut config = super::config(&[&fake]);
    config.limits.answer_ms = 100;
    let engine = UpstreamEngine::connect(config).await.unwrap();
    let (_, summary) = ask(&engine, &chat(json!({}))).await;
    assert_eq!(failure(&summary), "the answer took too long");
    fake.idle().await;
}

#[tokio::test]
async fn a_refusal_is_the_clients_in_openais_words() {
    let fake = Fake::start(vec![
        Reply::json(
            400,
            &json!({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}),
        ),
        Reply::json(422, &json!({"detail": "no such field"})),
        Reply::text(413, "<html>"),
    ])
    .await;
    let engine = connect(&fake).await;
    for (status, message) in
        [(400, "too long"), (422, "no such field"), (413, "the engine refused the request with status 413")]
    {
        let (frames, summary) = ask(&engine, &chat(json!({"stream": true}))).await;
        let Outcome::Refused { status: got, body } = summary.outcome else { panic!("{:?}", summary.outcome) };
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((got, body["error"]["message"].as_str().unwrap()), (status, message));
        assert!(frames.is_empty());
        assert_eq!((summary.input_tokens, summary.output_tokens), (0, 0));
    }
    // That was the clients' fault: the replica stays.
    assert!(engine.load().healthy);
}

#[tokio::test]
async fn a_key_that_is_not_taken_is_our_fault() {
    for status in [401, 403] {
        let fake = Fake::start(vec![Reply::json(
            status,
            &json!({"error": {"message": "your key sk-1234 is wrong"}}),
        )])
        .await;
        let engine = connect(&fake).await;
        let (_, summary) = ask(&engine, &chat(json!({}))).await;
        assert!(failure(&summary).contains(&status.to_string()));
        assert!(!engine.load().healthy);
    }
}

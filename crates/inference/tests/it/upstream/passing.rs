//! What passes through, and that it passes unchanged.

use super::*;
use crate::fake::{Piece, Reply, event, says, usage};

#[tokio::test]
async fn a_plain_answer_comes_as_it_was_sent() {
    let body = "{\"choices\": [{\"message\":{\"content\":\"I\\u0027m fine\"}}] ,\n\"odd\": [1.0, 1e3], \
                \"usage\":{\"prompt_tokens\":6,\"completion_tokens\":4,\"total_tokens\":10}}";
    let fake = Fake::start(vec![Reply::text(200, body)]).await;
    let engine = connect(&fake).await;
    let extra = json!({"max_tokens": 9, "tools": [{"type": "function"}], "response_format": {"type": "json_schema"}, "logprobs": true, "x": [1.5, {"y": null}]});
    let sent = chat(extra);
    let (frames, summary) = ask(&engine, &sent).await;
    assert_eq!(text(&frames), body);
    assert_eq!((summary.outcome, summary.input_tokens, summary.output_tokens), (Outcome::Complete, 6, 4));
    let seen = fake.seen();
    assert_eq!(
        (seen[0].path.as_str(), &seen[0].body[..]),
        ("/v1/chat/completions", sent.to_string().as_bytes())
    );
}

#[tokio::test]
async fn a_stream_comes_as_it_was_sent_but_for_its_last_event() {
    let whole = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n: keep-alive\n\n\
                 data: {\"choices\":[{\"delta\":{\"content\":\"h\u{e9}\"}}], \"x\": 1.0}\r\n\r\n\
                 data: {\"choices\":[],\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":2}}\n\n";
    // In cuts that fall into characters and line ends.
    let pieces = |size: usize| {
        let all = format!("{whole}data: [DONE]\n\n").into_bytes();
        all.chunks(size).map(|part| Piece::Bytes(part.to_vec().into())).collect::<Vec<_>>()
    };
    for size in [1, 2, 7, 10_000] {
        let fake = Fake::start(vec![Reply::stream(pieces(size))]).await;
        let engine = connect(&fake).await;
        let asks = json!({"stream": true, "max_tokens": 5, "stream_options": {"include_usage": true}});
        let (frames, summary) = ask(&engine, &chat(asks)).await;
        assert_eq!(text(&frames), whole);
        assert_eq!(frames.len(), 4);
        assert_eq!((summary.outcome, summary.input_tokens, summary.output_tokens), (Outcome::Complete, 6, 2));
    }
}

#[tokio::test]
async fn usage_that_was_not_asked_for_is_asked_for_and_held_back() {
    let fake = Fake::start(vec![Reply::events(&[says("a"), says("b"), usage(6, 2)])]).await;
    let engine = connect(&fake).await;
    let (frames, summary) = ask(&engine, &chat(json!({"stream": true, "max_tokens": 5}))).await;
    assert_eq!(text(&frames), format!("data: {}\n\ndata: {}\n\n", says("a"), says("b")));
    assert_eq!(frames.iter().map(|frame| frame.output_tokens).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((summary.input_tokens, summary.output_tokens), (6, 2));
    let body: Value = serde_json::from_slice(&fake.seen()[0].body).unwrap();
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn the_model_is_renamed_the_key_sent_and_the_answer_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "secret\n").unwrap();
    let fake = Fake::start(vec![Reply::events(&[says("a"), usage(6, 1)])]).await;
    let mut config = config(&[&fake]);
    config.upstream_model = Some("org/real".to_owned());
    config.api_key_file = Some(key);
    config.replicas[0].push_str("/v1/");
    let engine = UpstreamEngine::connect(config).await.unwrap();
    assert_eq!(engine.model(), MODEL);
    drain(start(&engine, Endpoint::ChatCompletions, &chat(json!({"stream": true, "n": 3})), 100)).await;
    let seen = &fake.seen()[0];
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.headers["authorization"], "Bearer secret");
    assert_eq!(seen.headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!("org/real"), &json!(33)));
}

#[tokio::test]
async fn completions_responses_embeddings_and_images_pass_too() {
    let text_usage = json!({"prompt_tokens": 5, "completion_tokens": 3});
    let replies = vec![
        Reply::json(200, &json!({"choices": [{"text": "one two three"}], "usage": text_usage})),
        Reply::stream(vec![
            Piece::Bytes("event: response.created\ndata: {\"type\":\"response.created\",\"response\":{}}\n\n".into()),
            Piece::Bytes("event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n".into()),
            Piece::Bytes("event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\n\n".into()),
            Piece::Stall,
        ]),
        Reply::json(200, &json!({"object": "response", "output": [], "usage": {"input_tokens": 4, "output_tokens": 7}})),
        Reply::json(200, &json!({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 2, "total_tokens": 2}})),
        Reply::json(200, &json!({"created": 1, "data": [{"b64_json": "aGk="}, {"b64_json": "aGk="}]})),
    ];
    let fake = Fake::start(replies).await;
    let engine = connect(&fake).await;
    let cases = [
        (Endpoint::Completions, json!({"model": MODEL, "prompt": "count"}), (5, 3)),
        (Endpoint::Responses, json!({"model": MODEL, "input": "hi", "stream": true}), (4, 1)),
        (Endpoint::Responses, json!({"model": MODEL, "input": "hi"}), (4, 7)),
        (Endpoint::Embeddings, json!({"model": MODEL, "input": ["hi"]}), (2, 0)),
    ];
    for (endpoint, body, expected) in cases {
        let (frames, summary) = ask_at(&engine, endpoint, &body).await;
        assert_eq!(summary.outcome, Outcome::Complete, "{endpoint:?}");
        assert_eq!((summary.input_tokens, summary.output_tokens), expected, "{endpoint:?}");
        assert!(!frames.is_empty());
        assert_eq!(fake.seen().last().unwrap().path, endpoint.path());
    }
    // Pixels of the images that came, of which there may be fewer than were asked for.
    let body = json!({"model": MODEL, "prompt": "a cat", "n": 3, "size": "16x32"});
    let generation = start(&engine, Endpoint::Images, &body, 3 * 16 * 32);
    let (_, summary) = drain(generation).await;
    assert_eq!((summary.input_tokens, summary.output_tokens), (0, 2 * 16 * 32));
    assert_eq!(engine.load().overstated, 0);
}

#[tokio::test]
async fn a_client_that_goes_away_stops_the_server_and_pays_for_what_was_sent() {
    let fake =
        Fake::start(vec![Reply::stream(vec![event(&says("a")), event(&says("b")), Piece::Stall])]).await;
    let engine = connect(&fake).await;
    let mut generation = start(&engine, Endpoint::ChatCompletions, &chat(json!({"stream": true})), 100);
    assert_eq!(generation.next().await.unwrap().output_tokens, 1);
    assert_eq!(generation.next().await.unwrap().output_tokens, 2);
    let summary = generation.finish().await;
    assert_eq!((summary.outcome, summary.output_tokens), (Outcome::Aborted, 2));
    // "Hello, how are you?" has 19 bytes.
    assert_eq!(summary.input_tokens, 4);
    fake.idle().await;
    let plain = Fake::start(vec![Reply { pieces: vec![Piece::Stall], ..Reply::text(200, "") }]).await;
    let engine = connect(&plain).await;
    let generation = start(&engine, Endpoint::ChatCompletions, &chat(json!({})), 100);
    while plain.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(generation);
    plain.idle().await;
    until(&engine, |load| load.running == 0).await;
}

#[tokio::test]
async fn a_stream_may_end_without_an_empty_line() {
    let fake = Fake::start(vec![Reply::stream(vec![
        event(&says("a")),
        event(&usage(6, 1)),
        Piece::Bytes("data: [DONE]".into()),
    ])])
    .await;
    let (_, summary) = ask(&connect(&fake).await, &chat(json!({"stream": true}))).await;
    assert_eq!((summary.outcome, summary.output_tokens), (Outcome::Complete, 1));
}

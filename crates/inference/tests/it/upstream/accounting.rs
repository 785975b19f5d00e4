//! What an answer counts, above all where the engine is wrong about it or silent.

use super::*;
use crate::fake::{Piece, Reply, event, says, usage};

fn words() -> std::path::PathBuf {
    // One token per word of two letters; all else is unknown, and one token too.
    let vocabulary = json!({"[UNK]": 0, "aa": 1, "bb": 2});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    });
    let path = std::env::temp_dir().join(format!("atoma-words-{}.json", std::process::id()));
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    path
}

async fn tokenizing(fake: &Fake) -> UpstreamEngine {
    UpstreamEngine::connect(UpstreamConfig { tokenizer: Some(words()), ..config(&[fake]) }).await.unwrap()
}

#[tokio::test]
async fn a_zero_is_a_zero() {
    let fake = Fake::start(vec![
        Reply::events(&[says("text"), usage(0, 0)]),
        Reply::json(200, &json!({"choices": [{"message": {"content": "text"}}], "usage": {"prompt_tokens": 0, "completion_tokens": 0}})),
    ])
    .await;
    let engine = counting(&fake).await;
    for stream in [true, false] {
        let (_, summary) = ask(&engine, &chat(json!({"stream": stream}))).await;
        assert_eq!((summary.outcome, summary.input_tokens, summary.output_tokens), (Outcome::Complete, 0, 0));
    }
}

#[tokio::test]
async fn an_engine_that_overstates_is_paid_what_a_client_accepts() {
    let fake = Fake::start(vec![
        Reply::events(&[says("four"), says(""), usage(1_000_000, 1_000_000)]),
        Reply::json(200, &json!({"choices": [{"message": {"content": "four"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 999}})),
        Reply::json(200, &json!({"choices": [{"message": {"content": "x".repeat(50)}}], "usage": {"prompt_tokens": 7, "completion_tokens": 50}})),
        Reply::json(200, &json!({"data": [], "usage": {"prompt_tokens": 1_000_000}})),
    ])
    .await;
    let engine = connect(&fake).await;
    let streamed = chat(json!({"stream": true, "stop": "END"}));
    let (frames, summary) = ask(&engine, &streamed).await;
    let body = u64::try_from(streamed.to_string().len()).unwrap();
    // A token per byte of text and at least one per chunk; a stop string and 16 tokens may be unseen.
    assert_eq!((summary.input_tokens, summary.output_tokens), (body + 256, 4 + 1 + 3 + 16));
    assert!(frames.iter().all(|frame| frame.output_tokens <= 5));
    assert_eq!(engine.load().overstated, 1);
    let (_, summary) = ask(&engine, &chat(json!({}))).await;
    assert_eq!((summary.input_tokens, summary.output_tokens), (7, 4 + 16));
    // Never more than was authorized, nor than was asked for.
    let (_, summary) =
        drain(start(&engine, Endpoint::ChatCompletions, &chat(json!({"max_tokens": 30})), 30)).await;
    assert_eq!((summary.outcome, summary.output_tokens), (Outcome::Complete, 30));
    let embed = json!({"model": MODEL, "input": "hi"});
    let (_, summary) = ask_at(&engine, Endpoint::Embeddings, &embed).await;
    assert_eq!(
        (summary.input_tokens, summary.output_tokens),
        (u64::try_from(embed.to_string().len()).unwrap() + 256, 0)
    );
    assert_eq!(engine.load().overstated, 4);
}

#[tokio::test]
async fn more_images_than_were_paid_for_are_not_charged() {
    let fake = Fake::start(vec![Reply::json(200, &json!({"data": [{}, {}, {}]}))]).await;
    let engine = connect(&fake).await;
    let body = json!({"model": MODEL, "prompt": "a cat", "size": "8x8"});
    let (_, summary) = drain(start(&engine, Endpoint::Images, &body, 64)).await;
    assert_eq!((summary.output_tokens, engine.load().overstated), (64, 1));
}

#[tokio::test]
async fn without_usage_events_are_counted_if_that_was_declared() {
    let silent = || Reply::events(&[says(""), says("one"), says("two three"), says("")]);
    let fake = Fake::start(vec![silent()]).await;
    let (_, summary) = ask(&counting(&fake).await, &chat(json!({"stream": true}))).await;
    assert_eq!((summary.outcome, summary.input_tokens, summary.output_tokens), (Outcome::Complete, 4, 2));
    // Else the answer fails rather than being given away, or charged by guess.
    let (_, summary) = ask(&connect(&fake).await, &chat(json!({"stream": true}))).await;
    assert!(failure(&summary).contains("no usage"));
    let fake =
        Fake::start(vec![Reply::json(200, &json!({"choices": [{"message": {"content": "a"}}]}))]).await;
    let (frames, summary) = ask(&connect(&fake).await, &chat(json!({}))).await;
    assert!(failure(&summary).contains("no usage") && frames.is_empty());
}

#[tokio::test]
async fn a_tokenizer_counts_what_the_engine_does_not() {
    let fake = Fake::start(vec![Reply::events(&[says("aa b"), says("b cc"), says(" aa")])]).await;
    let engine = tokenizing(&fake).await;
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "aa bb aa"}], "stream": true});
    let (frames, summary) = ask(&engine, &body).await;
    // The text is "aa bb cc aa", however it was cut.
    assert_eq!(frames.iter().map(|frame| frame.output_tokens).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!((summary.input_tokens, summary.output_tokens), (3, 4));
    // A plain prompt is counted exactly, up to marks of its beginning and its end.
    let prompt = json!({"model": MODEL, "prompt": "aa bb", "max_tokens": 3}).to_string();
    let prepared = engine.prepare(Endpoint::Completions, &Bytes::from(prompt)).unwrap();
    assert_eq!((prepared.input_tokens, prepared.input_tokens_broken_off), (2 + 16, 2));
    let long = json!({"model": MODEL, "prompt": "aa ".repeat(8_192)}).to_string();
    let long = engine.prepare(Endpoint::Completions, &Bytes::from(long)).unwrap_err();
    assert!(matches!(long, atoma_inference::EngineError::ContextLength { .. }), "{long}");
}

#[tokio::test]
async fn long_text_without_usage_is_counted_piece_by_piece() {
    let piece = "aa bb ".repeat(7);
    let events: Vec<Value> = (0..100).map(|_| says(&piece)).collect();
    let fake = Fake::start(vec![Reply::events(&events)]).await;
    let engine = tokenizing(&fake).await;
    let (_, summary) =
        drain(start(&engine, Endpoint::ChatCompletions, &chat(json!({"stream": true})), 5_000)).await;
    assert_eq!(summary.output_tokens, 1_400);
}

#[tokio::test]
async fn usage_in_every_chunk_counts_as_it_comes() {
    let with_usage = |text: &str, output: u64| {
        let mut chunk = says(text);
        chunk["usage"] = json!({"prompt_tokens": 9, "completion_tokens": output});
        chunk
    };
    let pieces = vec![event(&with_usage("several", 3)), event(&with_usage("tokens", 5)), Piece::Stall];
    let fake = Fake::start(vec![Reply::stream(pieces)]).await;
    let engine = connect(&fake).await;
    let mut generation = start(&engine, Endpoint::ChatCompletions, &chat(json!({"stream": true})), 100);
    assert_eq!(generation.next().await.unwrap().output_tokens, 3);
    assert_eq!(generation.next().await.unwrap().output_tokens, 5);
    assert_eq!(generation.finish().await.output_tokens, 5);
}

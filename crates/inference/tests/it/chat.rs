//! The OpenAI wire format over a real model.

use atoma_inference::{Endpoint, Engine, EngineError};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{MODEL, chat, complete, engine, events, prepare, prompt, whole};

/// Deltas of one choice put together.
fn content(events: &[Value], choice: u64) -> String {
    let choices = events.iter().filter_map(|event| event["choices"].get(0));
    choices.filter(|c| c["index"] == choice).filter_map(|c| c["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn the_template_of_the_weights_makes_the_prompt() {
    let engine = engine();
    let body = chat("Hi", json!({"temperature": 0, "max_tokens": 1}));
    let (_, summary) = complete(&*engine, &body).await;
    let system = "system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face\n";
    assert_eq!(engine.text(&summary.prompt_ids), format!("{system}user\nHi\nassistant\n"));
    // Control tokens, and the known ids of "system\nYou are".
    assert_eq!(summary.prompt_ids[..6], [1, 9690, 198, 2683, 359, 253]);
    let own = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]);
    let (_, summary) = complete(&*engine, &chat("", json!({"messages": own, "max_tokens": 1}))).await;
    assert_eq!(engine.text(&summary.prompt_ids), "system\nBe brief.\nuser\nHi\nassistant\n");
}

#[tokio::test]
async fn a_stream_says_what_the_whole_body_says() {
    let engine = engine();
    let extra = json!({"temperature": 0.7, "n": 2, "max_tokens": 20});
    let body = chat("Écris un poème: 🦀 日本語", extra);
    let (frames, alone) = complete(&*engine, &body).await;
    let whole = whole(&frames);
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    let (frames, summary) = complete(&*engine, &streamed).await;
    assert_eq!(summary.work, alone.work);
    let events = events(&frames);
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(events[0]["object"], "chat.completion.chunk");
    for choice in 0..2u64 {
        let message = &whole["choices"][usize::try_from(choice).unwrap()]["message"];
        assert_eq!(message["content"].as_str().unwrap(), content(&events, choice));
        let ends = events.iter().filter(|event| {
            event["choices"][0]["index"] == choice && !event["choices"][0]["finish_reason"].is_null()
        });
        assert_eq!(ends.count(), 1);
    }
    let (last, before) = events.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], whole["usage"]);
    assert_eq!(last["usage"]["completion_tokens"], summary.output_tokens);
    assert_eq!(last["usage"]["prompt_tokens"], summary.input_tokens);
    assert!(before.iter().all(|event| event["usage"].is_null() && event["id"] == last["id"]));
    assert_eq!(frames.last().unwrap().output_tokens, summary.output_tokens);
    let rising = frames.iter().map(|frame| frame.output_tokens).collect::<Vec<_>>();
    assert!(rising.is_sorted(), "{rising:?}");
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_even_across_tokens() {
    let engine = engine();
    let greedy = json!({"temperature": 0, "max_tokens": 24});
    let (frames, full) = complete(&*engine, &prompt("Monday, Tuesday,", greedy.clone())).await;
    let text = whole(&frames)["choices"][0]["text"].as_str().unwrap().to_owned();
    // From the middle of one word to the middle of the next, so that no single token holds it.
    let start = text.find("day").unwrap();
    let stop: String = text[start..].chars().take(6).collect();
    let mut extra = greedy;
    extra["stop"] = json!([stop]);
    for stream in [false, true] {
        extra["stream"] = stream.into();
        let (frames, summary) = complete(&*engine, &prompt("Monday, Tuesday,", extra.clone())).await;
        let (got, reason) = if stream {
            let events = events(&frames);
            let text: String =
                events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
            (text, events.last().unwrap()["choices"][0]["finish_reason"].clone())
        } else {
            let choice = whole(&frames)["choices"][0].clone();
            (choice["text"].as_str().unwrap().to_owned(), choice["finish_reason"].clone())
        };
        assert_eq!((got.as_str(), reason), (&text[..start], json!("stop")));
        let sampled = &summary.output_ids[0];
        assert!(sampled.len() < 24 && full.output_ids[0].starts_with(sampled));
    }
}

#[tokio::test]
async fn log_probabilities_come_with_the_tokens() {
    let engine = engine();
    let extra = json!({"temperature": 0, "logprobs": true, "top_logprobs": 3, "max_tokens": 6});
    let (frames, summary) = complete(&*engine, &chat("Count to five.", extra.clone())).await;
    let body = whole(&frames);
    let entries = body["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    let stops = summary.output_ids[0].iter().filter(|token| **token == 2).count();
    assert_eq!(entries.len() + stops, summary.output_ids[0].len());
    for entry in &entries {
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!((&top[0]["token"], &top[0]["logprob"]), (&entry["token"], &entry["logprob"]));
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
        assert!(entry["logprob"].as_f64().unwrap() <= 0.0);
    }
    let bytes: Vec<u8> = entries
        .iter()
        .flat_map(|entry| entry["bytes"].as_array().unwrap())
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect();
    let text = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
    let mut streamed = extra;
    streamed["stream"] = true.into();
    let (frames, _) = complete(&*engine, &chat("Count to five.", streamed)).await;
    let events = events(&frames);
    let parts = events.iter().filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(parts.flatten().cloned().collect::<Vec<_>>(), entries);
    let (frames, _) = complete(&*engine, &prompt("A B C", json!({"logprobs": 2, "max_tokens": 3}))).await;
    let log_probs = whole(&frames)["choices"][0]["logprobs"].clone();
    assert_eq!(log_probs["tokens"].as_array().unwrap().len(), 3);
    assert_eq!(log_probs["text_offset"][0], 0);
}

#[tokio::test]
async fn limits_come_from_body_and_caller() {
    let engine = engine();
    let body = prompt("a a a a a a", json!({"max_tokens": 5, "temperature": 0, "n": 2}));
    let prepared = prepare(&*engine, &body).unwrap();
    assert_eq!((prepared.max_output_tokens, prepared.stream), (Some(10), false));
    assert_eq!(prepared.input_tokens, 6);
    let (_, summary) = crate::support::drain(engine.run(prepared, 7).unwrap()).await;
    assert_eq!(summary.output_ids.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(summary.output_tokens, 6);
    let refused = engine.run(prepare(&*engine, &body).unwrap(), 1).unwrap_err();
    assert!(matches!(refused, EngineError::BadRequest { .. }), "{refused}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_numbers() {
    let engine = engine();
    let too_much = prepare(&*engine, &chat("hi", json!({"max_tokens": 1000}))).unwrap_err();
    let EngineError::ContextLength { input_tokens, output_tokens, limit, param } = too_much else {
        panic!("{too_much}")
    };
    assert_eq!((output_tokens, limit, param), (1000, 1024, "max_tokens"));
    assert!(input_tokens > 24);
    for words in [1200, 600_000] {
        let error = prepare(&*engine, &chat(&"word ".repeat(words), json!({}))).unwrap_err();
        assert!(matches!(error, EngineError::ContextLength { param: "messages", .. }), "{error}");
    }
    // Refused as soon as it is certain, whatever there is of it.
    for much in ["7", "\u{10ffff}"] {
        let error = prepare(&*engine, &prompt(&much.repeat(700_000), json!({}))).unwrap_err();
        let EngineError::ContextLength { input_tokens, .. } = error else { panic!("{error}") };
        assert_eq!(input_tokens, 1025);
    }
    // So are long runs of what few tokens spell, or none.
    for cheap in ["#", " ", "\u{4}"] {
        let error = prepare(&*engine, &prompt(&cheap.repeat(20_000), json!({}))).unwrap_err();
        assert!(error.to_string().contains("reads at most 16384"), "{error}");
    }
    // What fits is not refused, however long.
    for fits in ["word ".repeat(1_000), " internationalization".repeat(250), "\u{4}a".repeat(1_000)] {
        assert!(fits.len() > 1024);
        prepare(&*engine, &prompt(&fits, json!({"max_tokens": 1}))).unwrap();
    }
    let error = prepare(&*engine, &json!({"model": MODEL, "prompt": ""})).unwrap_err();
    assert!(matches!(error, EngineError::BadRequest { param: Some(p), .. } if p == "prompt"));
    let error = prepare(&*engine, &json!({"model": MODEL, "prompt": [49_152]})).unwrap_err();
    assert!(error.to_string().contains("49152"), "{error}");
    let body = Bytes::from_static(b"{\"model\": \"text-embedding\"}");
    assert!(engine.prepare(Endpoint::Embeddings, &body).is_err());
    let unknown = engine.prepare(Endpoint::ChatCompletions, &body).unwrap_err();
    assert!(matches!(unknown, EngineError::UnknownModel { .. }));
}

//! The same request gives the same tokens and logits, whatever happens around it.

use atoma_inference::{Engine, Mismatch, ReferenceConfig, Summary};
use serde_json::{Value, json};

use crate::support::{chat, complete, config, drain, engine, load, prepare, prompt, start, whole};

/// Sampled with everything that takes part in sampling.
fn sampled() -> Value {
    json!({
        "temperature": 0.8, "top_p": 0.9, "frequency_penalty": 0.3, "presence_penalty": 0.2, "seed": 42, "n": 2,
        "max_tokens": 10,
    })
}

fn essence(summary: &Summary) -> (&[u32], &[Vec<u32>], [u8; 32]) {
    (&summary.prompt_ids, &summary.output_ids, summary.work)
}

#[tokio::test]
async fn known_answer() {
    let body = chat("List the primary colors.", json!({"temperature": 0, "max_tokens": 24}));
    let (frames, summary) = complete(&*engine(), &body).await;
    let answer = whole(&frames);
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        "The primary colors are:\n\nRed (R)\nBlue (B)\nYellow (Y)\nGreen ("
    );
    let work = "9448590f86f4f7c409fd3fe3d0833ac5b7f9a55ac2d75759097323d49fac8c4d";
    assert_eq!(
        hex::encode(summary.work),
        work,
        "logits changed: every verifier would disagree with older nodes"
    );
}

#[tokio::test]
async fn threads_chunks_and_instruction_sets_do_not_matter() {
    let body = prompt("The three states of matter are", sampled());
    let (_, expected) = complete(&*engine(), &body).await;
    let variants = [
        ReferenceConfig { threads: 1, ..config() },
        ReferenceConfig { scalar: true, ..config() },
        ReferenceConfig { threads: 3, prefill_chunk: 2, ..config() },
    ];
    for variant in variants {
        let engine = load(&variant);
        assert_eq!(engine.isa() == "scalar", variant.scalar || !std::arch::is_x86_feature_detected!("avx2"));
        let (_, summary) = complete(&engine, &body).await;
        assert_eq!(essence(&summary), essence(&expected), "{variant:?}");
        let prepared = prepare(&engine, &body).unwrap();
        let replay = engine.replay_request(&prepared, &expected.output_ids).unwrap();
        assert!(replay.tokens_equal(), "{variant:?}: {replay:?}");
        assert_eq!(replay.digest(), expected.work, "{variant:?}");
    }
}

#[tokio::test]
async fn company_in_the_batch_does_not_matter() {
    let engine = engine();
    let long = "All work and no play makes Jack a dull boy. ".repeat(12);
    let bodies = [
        prompt("Once upon a time", sampled()),
        chat("Hello!", json!({"temperature": 1.2, "stream": true})),
        prompt(&long, json!({"max_tokens": 5})),
        prompt("1, 2, 3,", json!({"temperature": 0, "logprobs": 2})),
    ];
    let mut alone = Vec::new();
    for body in &bodies {
        alone.push(complete(&*engine, body).await.1);
    }
    let running: Vec<_> =
        bodies.iter().rev().map(|body| tokio::spawn(drain(start(&*engine, body)))).collect();
    for (together, alone) in running.into_iter().rev().zip(&alone) {
        let (_, together) = together.await.unwrap();
        assert_eq!(essence(&together), essence(alone));
    }
}

#[tokio::test]
async fn replay_repeats_generation_and_finds_a_forged_token() {
    let engine = engine();
    for extra in [sampled(), json!({"temperature": 0, "max_tokens": 70}), json!({"stop": ["\n"]})] {
        let body = prompt("Water boils at", extra);
        let (_, summary) = complete(&*engine, &body).await;
        let prepared = prepare(&*engine, &body).unwrap();
        let replay = engine.replay_request(&prepared, &summary.output_ids).unwrap();
        assert_eq!((replay.mismatch, replay.digest()), (None, summary.work));
        let mut forged = summary.output_ids.clone();
        let position = forged[0].len() / 2;
        let expected = forged[0][position];
        forged[0][position] = expected + 1;
        let replay = engine.replay_request(&prepared, &forged).unwrap();
        let mismatch = Mismatch { choice: 0, position, expected, recorded: expected + 1 };
        assert_eq!(replay.mismatch, Some(mismatch));
        assert_ne!(replay.digest(), summary.work);
    }
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused() {
    let engine = engine();
    let sampling = atoma_inference::Sampling::default();
    assert!(engine.replay(&[], &[vec![1]], &sampling).is_err());
    assert!(engine.replay(&[1], &[vec![49_152]], &sampling).is_err());
    assert!(engine.replay(&[1; 1000], &[vec![1; 30]], &sampling).is_err());
    assert_eq!(engine.replay(&[1], &[vec![]], &sampling).unwrap().digest(), [0; 32]);
}

#[tokio::test]
async fn an_engine_draws_and_reports_a_seed() {
    let engine = engine();
    let mut body = prompt("My favourite number is", json!({"max_tokens": 6}));
    body.as_object_mut().unwrap().remove("seed");
    let (frames, summary) = complete(&*engine, &body).await;
    assert_eq!(whole(&frames)["seed"], summary.seed);
    body["seed"] = summary.seed.into();
    let (_, again) = complete(&*engine, &body).await;
    assert_eq!(essence(&again), essence(&summary));
    assert_eq!(engine.context_tokens(), 1024);
}

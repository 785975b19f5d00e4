//! The embedding engine. The vectors to compare with come from another implementation: the same weights in 64-bit floats
//! with Python and numpy, tokens from the `tokenizers` package.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use atoma_inference::minilm::{MiniLmConfig, MiniLmEngine};
use atoma_inference::{Endpoint, Engine, EngineError, Outcome};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{self, drain, whole};

const MODEL: &str = "all-minilm-l6-v2";
const FOX: &str = "The quick brown fox jumps over the lazy dog.";
const OTHER_FOX: &str = "A fast auburn fox leaps over a sleepy hound.";
const STOCKS: &str = "Stock markets fell sharply on Monday.";

fn load(scalar: bool) -> MiniLmEngine {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| support::pull(MODEL));
    MiniLmEngine::load(MODEL, path, &MiniLmConfig { scalar, ..MiniLmConfig::default() }).unwrap()
}

fn engine() -> Arc<MiniLmEngine> {
    static ENGINE: OnceLock<Arc<MiniLmEngine>> = OnceLock::new();
    Arc::clone(ENGINE.get_or_init(|| Arc::new(load(false))))
}

async fn ask(engine: &MiniLmEngine, body: Value) -> Value {
    let prepared = engine.prepare(Endpoint::Embeddings, &Bytes::from(body.to_string())).unwrap();
    assert_eq!((prepared.max_output_tokens, prepared.stream), (Some(0), false));
    let input = prepared.input_tokens;
    let (frames, summary) = drain(engine.run(prepared, 0).unwrap()).await;
    assert_eq!((summary.outcome, summary.input_tokens, summary.output_tokens), (Outcome::Complete, input, 0));
    let answer = whole(&frames);
    assert_eq!(answer["usage"], json!({"prompt_tokens": input, "total_tokens": input}));
    answer
}

fn vector(answer: &Value, index: usize) -> Vec<f64> {
    assert_eq!(answer["data"][index]["index"], index);
    answer["data"][index]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn vectors_are_those_of_another_implementation() {
    let long = vec!["many words in a row"; 40].join(" ");
    let cases: [(&str, u64, [f64; 6], [f64; 2]); 6] = [
        (
            FOX,
            12,
            [0.0439335, 0.0589344, 0.0481784, 0.0775481, 0.0267444, -0.0376296],
            [0.0561065, 0.1020639],
        ),
        (
            OTHER_FOX,
            12,
            [0.0280182, 0.0326659, 0.0320982, 0.1089577, -0.0171213, 0.0305478],
            [0.053319, -0.0085795],
        ),
        (
            STOCKS,
            9,
            [0.0267216, -0.0391236, 0.0746472, 0.0445957, -0.016923, 0.0229997],
            [-0.0935258, 0.0692825],
        ),
        (
            "Ünïcödé 日本語 and emoji 🦀!",
            12,
            [-0.033681, -0.0027191, 0.1068222, -0.0635838, -0.0359889, -0.0294386],
            [-0.0614268, -0.0288611],
        ),
        (
            "a",
            3,
            [-0.0364329, 0.0347034, -0.0459599, 0.0343256, -0.0808234, 0.0328386],
            [-0.0047812, 0.0942866],
        ),
        (
            &long,
            202,
            [-0.0395025, -0.0967729, -0.0393169, -0.0803991, -0.0874235, 0.014095],
            [-0.0035588, 0.0112584],
        ),
    ];
    for (text, tokens, first, last) in cases {
        let answer = ask(&engine(), json!({"model": MODEL, "input": text})).await;
        assert_eq!(answer["usage"]["prompt_tokens"], tokens);
        let vector = vector(&answer, 0);
        assert_eq!(vector.len(), 384);
        let expected = first.iter().chain(&last);
        for (got, expected) in vector[..6].iter().chain(&vector[382..]).zip(expected) {
            assert!((got - expected).abs() < 1e-4, "{text}: {got} for {expected}");
        }
        assert!((dot(&vector, &vector) - 1.0).abs() < 1e-5);
    }
}

#[tokio::test]
async fn what_is_alike_is_near() {
    let answer = ask(&engine(), json!({"model": MODEL, "input": [FOX, OTHER_FOX, STOCKS]})).await;
    let (fox, other, stocks) = (vector(&answer, 0), vector(&answer, 1), vector(&answer, 2));
    assert!((dot(&fox, &other) - 0.701_274_9).abs() < 1e-4);
    assert!((dot(&fox, &stocks) - 0.099_630_0).abs() < 1e-4);
}

#[tokio::test]
async fn a_vector_depends_on_its_text_alone() {
    let (engine, scalar) = (engine(), load(true));
    let alone = ask(&engine, json!({"model": MODEL, "input": FOX})).await;
    let among = ask(&engine, json!({"model": MODEL, "input": [STOCKS, FOX]})).await;
    let portable = ask(&scalar, json!({"model": MODEL, "input": FOX})).await;
    assert_eq!(alone["data"][0]["embedding"], among["data"][1]["embedding"]);
    assert_eq!(alone["data"][0]["embedding"], portable["data"][0]["embedding"]);
}

#[tokio::test]
async fn every_form_of_input_and_output_is_taken() {
    let engine = engine();
    let words = ask(&engine, json!({"model": MODEL, "input": "a", "user": "u", "dimensions": 384})).await;
    let ids = ask(&engine, json!({"model": MODEL, "input": [101, 1037, 102]})).await;
    let many =
        ask(&engine, json!({"model": MODEL, "input": [[101, 1037, 102]], "encoding_format": "float"})).await;
    assert_eq!(words["data"], ids["data"]);
    assert_eq!(words["data"], many["data"]);
    let encoded = ask(&engine, json!({"model": MODEL, "input": ["a"], "encoding_format": "base64"})).await;
    let bytes = STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let floats: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let plain: Vec<f32> = serde_json::from_value(words["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(floats, plain);
}

#[test]
fn what_cannot_be_embedded_is_refused_by_name() {
    let engine = engine();
    let prepare = |endpoint, body: &str| engine.prepare(endpoint, &Bytes::from(body.to_owned())).unwrap_err();
    let param = |mut body: Value| {
        body["model"] = MODEL.into();
        match prepare(Endpoint::Embeddings, &body.to_string()) {
            EngineError::BadRequest { param: Some(param), message } => (param, message),
            other => panic!("{other:?}"),
        }
    };
    for (body, expected) in [
        (json!({}), "input"),
        (json!({"input": ""}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": 7}), "input"),
        (json!({"input": ["a", ""]}), "input[1]"),
        (json!({"input": ["a", 1]}), "input[1]"),
        (json!({"input": [1, 30_522]}), "input"),
        (json!({"input": [[1], [-1]]}), "input[1]"),
        (json!({"input": [vec![1; 257]]}), "input[0]"),
        (json!({"input": "a ".repeat(255)}), "input"),
        (json!({"input": "a".repeat(5_000)}), "input"),
        (json!({"input": vec!["a"; 2_049]}), "input"),
        (json!({"input": vec![vec![1; 256]; 257]}), "input"),
        (json!({"input": "a", "dimensions": 256}), "dimensions"),
        (json!({"input": "a", "encoding_format": "hex"}), "encoding_format"),
        (json!({"input": "a", "truncate": true}), "truncate"),
    ] {
        let (param, message) = param(body);
        assert!(
            param == expected && message.contains(expected) | message.contains("dimensions"),
            "{param}: {message}"
        );
    }
    let other = prepare(Endpoint::Embeddings, r#"{"model":"other","input":"a"}"#);
    assert!(matches!(other, EngineError::UnknownModel { .. }));
    let chat = prepare(Endpoint::ChatCompletions, &json!({"model": MODEL}).to_string());
    assert!(matches!(chat, EngineError::BadRequest { .. }));
}

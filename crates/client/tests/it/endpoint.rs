//! The OpenAI-compatible endpoint on localhost, over real HTTP.

use crate::ask::config;
use crate::sim::{LATE, MODEL, Manner, SimMarket, WORDS, World, chat, text_of};
use atoma_client::Policy;
use atoma_client::proxy::{ConnectConfig, Handle, spawn};
use atoma_client::request::BODY_MAX;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

async fn start(world: &World, dir: &TempDir) -> Handle {
    let config = ConnectConfig::local(config(dir.path(), Policy::default()));
    spawn(config, Arc::new(SimMarket(world.clone()))).await.unwrap()
}

async fn post(handle: &Handle, body: impl Into<reqwest::Body>) -> reqwest::Response {
    let url = format!("{}/v1/chat/completions", handle.url());
    reqwest::Client::new().post(url).body(body).send().await.unwrap()
}

#[tokio::test]
async fn answers_openai_clients() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let handle = start(&world, &dir).await;
    let response = post(&handle, chat(false)).await;
    assert!(response.headers().contains_key("x-atoma-receipt"));
    assert_eq!(response.headers()["x-atoma-node"], "1");
    assert!(text_of(response).await.contains(&WORDS.concat()));
    let text = text_of(post(&handle, chat(true)).await).await;
    assert!(text.ends_with("data: [DONE]\n\n"));
    let models: Value =
        reqwest::get(format!("{}/v1/models", handle.url())).await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][0]["id"], json!(MODEL));
    assert!(reqwest::get(format!("{}/health", handle.url())).await.unwrap().status().is_success());
    handle.drain().await;
    assert_eq!(world.acknowledged(0), 2);
}

#[tokio::test]
async fn bad_input_gets_its_precise_error() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let handle = start(&world, &dir).await;
    let unknown = json!({"model": "nobody's", "messages": []}).to_string();
    let cases: [(Vec<u8>, u16, &str); 4] = [
        (b"{\"model\":".to_vec(), 400, "invalid_json"),
        (b"{}".to_vec(), 400, "invalid_request"),
        (unknown.into_bytes(), 404, "model_not_found"),
        (vec![b' '; BODY_MAX + 1], 413, "body_too_large"),
    ];
    for (body, status, code) in cases {
        let response = post(&handle, body).await;
        assert_eq!(response.status().as_u16(), status);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], json!(code));
        assert!(error["error"]["message"].is_string() && error["error"]["type"].is_string());
    }
    assert_eq!((world.purchases(), world.requests(0)), (0, 0));
    let busy =
        ConnectConfig { listen: handle.addr, ..ConnectConfig::local(config(dir.path(), Policy::default())) };
    let error = spawn(busy, Arc::new(SimMarket(world.clone()))).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn clocks_that_are_apart_are_named() {
    let (world, dir) = (World::start(&[Manner::Late]).await, TempDir::new().unwrap());
    let handle = start(&world, &dir).await;
    for stream in [false, true] {
        let refused = post(&handle, chat(stream)).await;
        assert_eq!(refused.status().as_u16(), 502);
        let error: Value = refused.json().await.unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(LATE), "{error}");
    }
    world.set_manner(0, Manner::Honest);
    assert_eq!(post(&handle, chat(false)).await.status().as_u16(), 200);
    handle.drain().await;
    assert_eq!((world.booked(0), world.acknowledged(0)), (1, 1));
}

//! Following events over disconnects and restarts.

use crate::support::{devnet, funded, model};
use atoma_chain::{AddModel, Call, ChainClient, ChainError, CursorFile, EventCursor, EventFrame, Wallet};
use atoma_devnet::{Config, Devnet};
use atoma_types::onchain::Event;
use futures::{Stream, StreamExt as _};
use std::pin::Pin;

type Frames = Pin<Box<dyn Stream<Item = Result<EventFrame, ChainError>> + Send>>;

async fn add_model(chain: &ChainClient, wallet: &Wallet, label: &str) {
    let call = Call::AddModel(AddModel { label: label.to_owned(), ..model() });
    wallet.execute(chain, call).await.unwrap();
}

/// The labels of the next `count` models, and where the reader then stands.
async fn labels(frames: &mut Frames, count: usize) -> (Vec<String>, EventCursor) {
    let mut labels = Vec::new();
    loop {
        let frame = frames.next().await.unwrap().unwrap();
        let Some(event) = frame.event else { continue };
        let Event::ModelAdded(added) = event.event else { panic!("{event:?}") };
        labels.push(added.label);
        if labels.len() == count {
            return (labels, frame.cursor);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_filled_in_and_then_followed() {
    let (_devnet, chain) = devnet().await;
    let wallet = funded(&chain).await;
    add_model(&chain, &wallet, "a").await;
    add_model(&chain, &wallet, "b").await;
    let mut all: Frames = Box::pin(chain.events(None));
    let mut fresh: Frames = Box::pin(chain.events_from_now());
    assert!(fresh.next().await.unwrap().unwrap().event.is_none());
    assert_eq!(labels(&mut all, 2).await.0, ["a", "b"]);
    add_model(&chain, &wallet, "c").await;
    assert_eq!(labels(&mut all, 1).await.0, ["c"]);
    assert_eq!(labels(&mut fresh, 1).await.0, ["c"], "from now on means nothing older");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_skips_nothing_and_repeats_nothing() {
    let (_devnet, chain) = devnet().await;
    let wallet = funded(&chain).await;
    let folder = tempfile::tempdir().unwrap();
    let file = CursorFile::new(folder.path().join("cursor"));
    let expected: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let mut seen = Vec::new();
    for chunk in expected.chunks(3) {
        for label in chunk {
            add_model(&chain, &wallet, label).await;
        }
        // A new reader each time, which stops in the middle of what there is.
        let mut frames: Frames = Box::pin(chain.events(file.load().unwrap()));
        let (labels, cursor) = labels(&mut frames, 2).await;
        seen.extend(labels);
        file.store(&cursor).unwrap();
    }
    let mut frames: Frames = Box::pin(chain.events(file.load().unwrap()));
    seen.extend(labels(&mut frames, expected.len() - seen.len()).await.0);
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_a_restart_of_the_full_node() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { store: Some(folder.path().join("devnet")), ..Config::test() };
    let devnet = atoma_devnet::spawn(config.clone()).await.unwrap();
    let chain = ChainClient::connect(devnet.deployment().clone()).await.unwrap();
    let wallet = funded(&chain).await;
    let mut frames: Frames = Box::pin(chain.events(None));
    add_model(&chain, &wallet, "before").await;
    let (before, cursor) = labels(&mut frames, 1).await;
    assert_eq!(before, ["before"]);

    let devnet = restart(devnet, config).await;
    add_model(&chain, &wallet, "after").await;
    add_model(&chain, &wallet, "later").await;
    assert_eq!(labels(&mut frames, 2).await.0, ["after", "later"]);
    let mut resumed: Frames = Box::pin(chain.events(Some(cursor)));
    assert_eq!(labels(&mut resumed, 2).await.0, ["after", "later"]);
    drop(devnet);
}

async fn restart(devnet: Devnet, config: Config) -> Devnet {
    let listen = devnet.address();
    devnet.shutdown().await;
    atoma_devnet::spawn(Config { listen, ..config }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_chain_is_refused() {
    let (_one, chain) = devnet().await;
    let other = Config { seed: Some([8; 32]), ..Config::test() };
    let other = atoma_devnet::spawn(other).await.unwrap();
    let elsewhere = ChainClient::connect(other.deployment().clone()).await.unwrap();
    let cursor = elsewhere.events_from_now().boxed().next().await.unwrap().unwrap().cursor;
    let mut frames: Frames = Box::pin(chain.events(Some(cursor)));
    let refused = frames.next().await.unwrap().unwrap_err();
    assert!(matches!(refused, ChainError::WrongChain { .. }), "{refused}");
    assert!(frames.next().await.is_none());
}

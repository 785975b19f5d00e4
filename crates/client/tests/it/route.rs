//! Which node answers.

use crate::ask::{open, read};
use crate::sim::{MODEL, Manner, PRICE, World, chat};
use atoma_client::request::Endpoint;
use atoma_client::route::{Route, Sort};
use atoma_client::{ApiError, Policy, Session};
use atoma_types::{NodeId, Price};
use bytes::Bytes;
use tempfile::TempDir;

async fn answered_by(session: &Session, route: Route, body: Bytes) -> Result<NodeId, ApiError> {
    let quote = session.quote(Endpoint::ChatCompletions, &body).await?.routed(route, &body);
    let answer = session.ask(&quote, body).await?;
    let node = answer.node;
    read(answer).await;
    Ok(node)
}

/// A session with a stack at each of three nodes.
async fn three() -> (World, TempDir, Session) {
    let world = World::start(&[Manner::Honest; 3]).await;
    let dir = TempDir::new().unwrap();
    let session = open(&world, &dir, Policy { stacks_per_task: 3, ..Policy::default() }).await;
    session.prepare(MODEL).await.unwrap();
    (world, dir, session)
}

#[tokio::test]
async fn only_nodes_that_the_route_allows_are_asked() {
    let (world, _dir, session) = three().await;
    for node in [1, 2, 3].map(NodeId) {
        let only = Route { only: vec![node], ..Route::default() };
        assert_eq!(answered_by(&session, only, chat(false)).await, Ok(node));
        let first = Route { order: vec![node], ..Route::default() };
        assert_eq!(answered_by(&session, first, chat(true)).await, Ok(node));
        let others = Route { ignore: vec![node], ..Route::default() };
        assert_ne!(answered_by(&session, others, chat(false)).await, Ok(node));
    }
    // A node that is preferred and fails is not the end of it.
    world.set_manner(1, Manner::Fails);
    let first = Route { order: vec![NodeId(2)], ..Route::default() };
    assert_ne!(answered_by(&session, first, chat(false)).await, Ok(NodeId(2)));
}

#[tokio::test]
async fn a_route_never_costs_more_than_it_says() {
    let (_world, _dir, session) = three().await;
    let cheap = Route { max_price: Some(Price(PRICE.0 - 1)), ..Route::default() };
    assert_eq!(answered_by(&session, cheap, chat(false)).await.unwrap_err().code, "no_node_at_price");
    let enough = Route { max_price: Some(PRICE), sort: Some(Sort::Price), ..Route::default() };
    assert!(answered_by(&session, enough, chat(false)).await.is_ok());
}

#[tokio::test]
async fn a_session_stays_with_its_node() {
    let (_world, _dir, session) = three().await;
    let mut nodes = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let route = Route { session: Some(name.to_owned()), ..Route::default() };
        let first = answered_by(&session, route.clone(), chat(false)).await.unwrap();
        for _ in 0..4 {
            assert_eq!(answered_by(&session, route.clone(), chat(true)).await, Ok(first));
        }
        nodes.push(first);
    }
    nodes.sort_unstable();
    nodes.dedup();
    assert!(nodes.len() > 1, "eight sessions on one node");
}

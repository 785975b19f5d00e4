//! Objects that are not what they should be are refused.

use crate::support::{Market, devnet, funded, stack_of};
use atoma_chain::{Call, ChainClient, ChainError, Deployment};
use atoma_types::Address;
use atoma_types::onchain::Selection;

#[tokio::test(flavor = "multi_thread")]
async fn only_stacks_of_this_market_are_stacks() {
    let market = Market::open().await;
    let chain = &market.chain;
    let user = funded(chain).await;
    let key = user.request_key("stack");
    let bought = user.execute(chain, market.acquire(&key, Selection::Single)).await.unwrap();
    let stack = stack_of(&bought);
    assert!(chain.stack(stack).await.unwrap().is_some());
    assert!(chain.stack(Address::new([1; 32])).await.unwrap().is_none());
    for id in [chain.deployment().db, chain.deployment().treasury, chain.deployment().package] {
        let refused = chain.stack(id).await.unwrap_err();
        assert!(matches!(refused, ChainError::WrongObject { .. }), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_not_there_is_refused_at_once() {
    let (_devnet, chain) = devnet().await;
    let ours = chain.deployment().clone();
    let others = [
        Deployment { package: Address::new([3; 32]), ..ours.clone() },
        Deployment { coin_type: "0x2::sui::SUI".to_owned(), ..ours.clone() },
        Deployment { db: ours.treasury, ..ours.clone() },
        Deployment { db: Address::new([3; 32]), ..ours.clone() },
        Deployment { coin_type: "usd".to_owned(), ..ours.clone() },
        Deployment { rpc_url: "not a url".to_owned(), ..ours.clone() },
    ];
    for other in others {
        let refused = ChainClient::connect(other.clone()).await.unwrap_err();
        let is_told = matches!(
            refused,
            ChainError::WrongObject { .. } | ChainError::NotFound { .. } | ChainError::Deployment { .. }
        );
        assert!(is_told, "{other:?}: {refused}");
    }
    let fetched = atoma_chain::fetch_deployment(&ours.rpc_url).await.unwrap();
    assert_eq!(fetched, ours);
    let user = funded(&chain).await;
    let nowhere = Address::new([3; 32]);
    let refused = user.execute(&chain, Call::Refund { stack: nowhere }).await.unwrap_err();
    assert!(matches!(refused, ChainError::NotFound { .. }), "{refused}");
    let refused = user.execute(&chain, Call::Withdraw { stack: ours.db }).await.unwrap_err();
    assert!(!matches!(refused, ChainError::Timeout { .. }), "{refused}");
}

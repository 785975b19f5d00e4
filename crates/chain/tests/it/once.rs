//! A lost reply, a crash between signing and sending, a resubmission: each intent pays once.

use crate::support::{Market, devnet, end_epochs, funded, stack_of};
use atoma_chain::{Call, ChainClient, ChainError, Deployment, SignedTransaction, Wallet};
use atoma_types::onchain::Selection;
use atoma_types::{Address, Amount};
use futures::StreamExt as _;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const TO: Address = Address::new([7; 32]);

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_give_the_first_result_again() {
    let (_devnet, chain) = devnet().await;
    let wallet = funded(&chain).await;
    let call = Call::TransferCoin { to: TO, amount: Amount(5) };
    let transaction = wallet.prepare(&chain, call).await.unwrap();
    assert_eq!(chain.balances(TO).await.unwrap().coin, Amount(0), "preparing sends nothing");
    let first = wallet.submit(&chain, &transaction).await.unwrap();
    assert_eq!(first.digest, transaction.digest());
    assert!(first.checkpoint.is_some());
    let again = wallet.submit(&chain, &transaction).await.unwrap();
    assert_eq!(first, again);
    let both = futures::join!(wallet.submit(&chain, &transaction), wallet.submit(&chain, &transaction));
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (first.clone(), first));
    assert_eq!(chain.balances(TO).await.unwrap().coin, Amount(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journaled_transaction_survives_the_process() {
    let (_devnet, chain) = devnet().await;
    let seed = [9; 32];
    let wallet = Wallet::from_seed(seed);
    atoma_chain::faucet(chain.deployment(), wallet.address()).await.unwrap();
    let call = Call::TransferCoin { to: TO, amount: Amount(5) };
    let journal = wallet.prepare(&chain, call.clone()).await.unwrap().to_bytes();
    drop(wallet);

    let wallet = Wallet::from_seed(seed);
    let transaction = SignedTransaction::from_bytes(&journal).unwrap();
    let sent = wallet.submit(&chain, &transaction).await.unwrap();
    // After another crash, and after the coins moved on.
    wallet.execute(&chain, call).await.unwrap();
    let after_crash = SignedTransaction::from_bytes(&journal).unwrap();
    assert_eq!(Wallet::from_seed(seed).submit(&chain, &after_crash).await.unwrap(), sent);
    assert_eq!(chain.balances(TO).await.unwrap().coin, Amount(10));

    let stranger = Wallet::generate().unwrap();
    let refused = stranger.submit(&chain, &transaction).await.unwrap_err();
    assert!(matches!(refused, ChainError::InvalidCall { .. }), "{refused}");
    for end in 0..journal.len() {
        assert!(SignedTransaction::from_bytes(&journal[..end]).is_err());
    }
    let mut forged = journal.clone();
    let at = forged.len() - 50;
    forged[at] ^= 1;
    assert!(SignedTransaction::from_bytes(&forged).is_err(), "a signature that does not verify");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_coins_are_gone_is_dead_and_says_so() {
    let (_devnet, chain) = devnet().await;
    let seed = [9; 32];
    let wallet = Wallet::from_seed(seed);
    atoma_chain::faucet(chain.deployment(), wallet.address()).await.unwrap();
    let call = Call::TransferCoin { to: TO, amount: Amount(5) };
    let journal = wallet.prepare(&chain, call.clone()).await.unwrap().to_bytes();
    wallet.execute(&chain, call).await.unwrap();
    let transaction = SignedTransaction::from_bytes(&journal).unwrap();
    let dead = wallet.submit(&chain, &transaction).await.unwrap_err();
    assert!(matches!(dead, ChainError::Dead { .. }), "{dead}");
    assert_eq!(chain.balances(TO).await.unwrap().coin, Amount(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_transaction_is_dead_and_execute_prepares_another() {
    let (_devnet, chain) = devnet().await;
    let wallet = funded(&chain).await;
    let call = Call::TransferCoin { to: TO, amount: Amount(5) };
    let transaction = wallet.prepare(&chain, call.clone()).await.unwrap();
    assert_eq!(transaction.expires_epoch(), Some(1));
    end_epochs(&chain, 2).await;
    let dead = wallet.submit(&chain, &transaction).await.unwrap_err();
    assert!(matches!(dead, ChainError::Dead { .. }), "{dead}");
    drop(transaction);
    wallet.execute(&chain, call).await.unwrap();
    assert_eq!(chain.balances(TO).await.unwrap().coin, Amount(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_that_is_dropped_gives_its_coins_back() {
    let (_devnet, chain) = devnet().await;
    let wallet = funded(&chain).await;
    let all = chain.balances(wallet.address()).await.unwrap().coin;
    let call = Call::TransferCoin { to: TO, amount: all };
    drop(wallet.prepare(&chain, call.clone()).await.unwrap());
    wallet.execute(&chain, call).await.unwrap();
    assert_eq!(chain.balances(TO).await.unwrap().coin, all);
}

/// The transaction arrives and executes, the answer does not come back: the connection breaks.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_pays_once() {
    let market = Market::open().await;
    let user = funded(&market.chain).await;
    let key = user.request_key("stack");
    let proxy = Proxy::before(market.devnet.address()).await;
    let behind = Deployment { rpc_url: proxy.url(), ..market.chain.deployment().clone() };
    let behind = ChainClient::connect(behind).await.unwrap();
    let call = market.acquire(&key, Selection::Single);
    let transaction = user.prepare(&behind, call).await.unwrap();

    let mut events = Box::pin(market.chain.events_from_now());
    events.next().await.unwrap().unwrap();
    proxy.hold_replies();
    let submitted = tokio::spawn({
        let (user, transaction) = (user.clone(), transaction.clone());
        async move { user.submit(&behind, &transaction).await }
    });
    // It has executed once its event is there.
    while events.next().await.unwrap().unwrap().event.is_none() {}
    proxy.cut();
    let executed = submitted.await.unwrap().unwrap();
    assert_eq!(executed.digest, transaction.digest());
    assert!(market.chain.stack(stack_of(&executed)).await.unwrap().is_some());
    let paid = 10_000 * 1_000_000 - market.chain.balances(user.address()).await.unwrap().coin.0;
    // 10,000 units at the highest price, the surcharge on that, one opening.
    assert_eq!(paid, 30_000 + 150 + 30_000);
    // The wallet knows its coins again.
    let to = TO;
    user.execute(&market.chain, Call::TransferCoin { to, amount: Amount(1) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_a_clear_error() {
    let (devnet, chain) = devnet().await;
    let deployment = chain.deployment().clone();
    devnet.shutdown().await;
    let error = ChainClient::connect(deployment).await.unwrap_err();
    assert!(matches!(error, ChainError::Unreachable { .. }), "{error}");
}

/// A TCP proxy that can hold back what the server says, and cut its connections.
struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    hold: bool,
    /// Connections of earlier generations are cut.
    generation: u64,
}

impl Proxy {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State { hold: false, generation: 0 }));
        let states = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = states.subscribe();
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    relay(client, server, state).await;
                });
            }
        });
        Self { address, state }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn hold_replies(&self) {
        self.state.send_modify(|state| state.hold = true);
    }

    fn cut(&self) {
        self.state.send_modify(|state| *state = State { hold: false, generation: state.generation + 1 });
    }
}

async fn relay(client: TcpStream, server: TcpStream, mut state: watch::Receiver<State>) {
    let born = state.borrow().generation;
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut held = state.clone();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await };
    let down = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            held.wait_for(|state| !state.hold).await.unwrap();
            if held.borrow().generation != born || to_client.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = up => {}
        () = down => {}
        _ = state.wait_for(|state| state.generation != born) => {}
    }
}

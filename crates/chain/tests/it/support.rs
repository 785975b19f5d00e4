//! A devnet with a market on it.

use atoma_chain::{
    AcquireStack, AddModel, Call, ChainClient, CreateTask, Executed, RegisterNode, Subscribe, Wallet, faucet,
};
use atoma_devnet::{Config, Devnet};
use atoma_types::amount::UnitWeights;
use atoma_types::message::Message as _;
use atoma_types::onchain::{AuditTerms, Event, Selection};
use atoma_types::{
    Address, Amount, Hash32, ModelId, NodeId, Price, SecretKey, Signed, TaskId, Units, Voucher,
};

pub(crate) const COIN: u64 = 1_000_000;
pub(crate) const PRICE: Price = Price(2 * COIN);
pub(crate) const MAX_PRICE: Price = Price(3 * COIN);

pub(crate) async fn devnet() -> (Devnet, ChainClient) {
    let devnet = atoma_devnet::spawn(Config::test()).await.unwrap();
    let chain = ChainClient::connect(devnet.deployment().clone()).await.unwrap();
    (devnet, chain)
}

pub(crate) async fn funded(chain: &ChainClient) -> Wallet {
    let wallet = Wallet::generate().unwrap();
    faucet(chain.deployment(), wallet.address()).await.unwrap();
    wallet
}

/// Gives `sui` MIST and `usd` base units.
pub(crate) async fn give(chain: &ChainClient, recipient: Address, sui: u64, usd: u64) {
    let body = serde_json::json!({ "recipient": recipient.to_string(), "sui": sui, "usd": usd });
    control(chain, "faucet", &body).await;
}

pub(crate) async fn advance(chain: &ChainClient, ms: u64) {
    control(chain, "clock", &serde_json::json!({ "advance_ms": ms })).await;
}

pub(crate) async fn end_epochs(chain: &ChainClient, count: u64) {
    control(chain, "epoch", &serde_json::json!({ "advance": count })).await;
}

async fn control(chain: &ChainClient, what: &str, body: &serde_json::Value) {
    let url = format!("{}/devnet/v1/{what}", chain.deployment().rpc_url);
    let http = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    http.post(url).json(body).send().await.unwrap().error_for_status().unwrap();
}

/// A node that offers a model, and its wallet.
pub(crate) struct Market {
    pub(crate) chain: ChainClient,
    pub(crate) creator: Wallet,
    pub(crate) operator: Wallet,
    pub(crate) receipt_key: SecretKey,
    pub(crate) node: NodeId,
    pub(crate) model: ModelId,
    pub(crate) task: TaskId,
    /// Stops when dropped.
    pub(crate) devnet: Devnet,
}

impl Market {
    pub(crate) async fn open() -> Self {
        let (devnet, chain) = devnet().await;
        Self::on(devnet, chain).await
    }

    pub(crate) async fn on(devnet: Devnet, chain: ChainClient) -> Self {
        let (creator, operator) = (funded(&chain).await, funded(&chain).await);
        let receipt_key = operator.request_key("receipts");
        let added = creator.execute(&chain, Call::AddModel(model())).await.unwrap();
        let [Event::ModelAdded(added)] = &added.events[..] else { panic!("{added:?}") };
        let created = creator.execute(&chain, Call::CreateTask(task(added.model))).await.unwrap();
        let [Event::TaskCreated(created)] = &created.events[..] else { panic!("{created:?}") };
        let register = Call::RegisterNode(RegisterNode {
            payout: operator.address(),
            endpoint: "http://127.0.0.1:1".to_owned(),
            receipt_key: receipt_key.public_key(),
            payment: Amount(1_001 * COIN),
        });
        let registered = operator.execute(&chain, register).await.unwrap();
        let [Event::NodeRegistered(registered)] = &registered.events[..] else { panic!("{registered:?}") };
        let (node, model, task) = (registered.node, added.model, created.task);
        let subscribe =
            Subscribe { node, task, price: PRICE, max_units: Units(COIN), echelon: 0, verifier: false };
        operator.execute(&chain, Call::Subscribe(subscribe)).await.unwrap();
        Self { chain, creator, operator, receipt_key, node, model, task, devnet }
    }

    pub(crate) fn acquire(&self, request_key: &SecretKey, selection: Selection) -> Call {
        Call::AcquireStack(AcquireStack {
            task: self.task,
            request_key: request_key.public_key(),
            units: Units(10_000),
            max_price: MAX_PRICE,
            selection,
            nodes: u64::from(selection == Selection::Single),
            max_opens: 1,
            echelons: vec![],
            payment: Amount(COIN),
        })
    }

    pub(crate) fn voucher(&self, stack: Address, key: &SecretKey, units: u64, count: u64) -> Signed<Voucher> {
        let db = self.chain.deployment().db;
        Voucher { db, stack, node: self.node, units: Units(units), count, root: Hash32::of(b"root") }
            .sign(key)
    }

    /// What the coin's holders have, wherever it is.
    pub(crate) async fn coins(&self, wallets: &[&Wallet]) -> u64 {
        let mut sum = 0;
        for wallet in wallets {
            sum += self.chain.balances(wallet.address()).await.unwrap().coin.0;
        }
        sum
    }
}

pub(crate) fn model() -> AddModel {
    AddModel {
        label: "test".to_owned(),
        modality: 0,
        weights_root: Hash32::of(b"weights"),
        creator_fee_permille: 100,
    }
}

pub(crate) fn task(model: ModelId) -> CreateTask {
    CreateTask {
        role: 0,
        model,
        level: 0,
        exact: false,
        price_ceiling: MAX_PRICE,
        weights: UnitWeights::default(),
        surcharge_permille: 5,
        min_collateral: Amount(1_000 * COIN),
        min_reputation: 0,
        whitelist: vec![],
        echelons: vec![0],
        audit: AuditTerms::default(),
    }
}

pub(crate) fn stack_of(executed: &Executed) -> Address {
    executed.acquired_stack().unwrap()
}

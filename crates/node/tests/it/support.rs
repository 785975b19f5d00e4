//! A devnet with a market, a node on it, and a user who signs by hand.

use atoma_chain::{
    AcquireStack, AddModel, Call, ChainClient, ChainEvent, CreateTask, OpenChannel, Wallet, faucet,
};
use atoma_devnet::{Config, Devnet};
use atoma_inference::Engine;
use atoma_inference::mock::{MockConfig, MockEngine};
use atoma_node::{NodeConfig, NodeHandle, Offering, Parts, Registration, SuiMarket, register_if_needed};
use atoma_types::amount::UnitWeights;
use atoma_types::message::Message as _;
use atoma_types::onchain::{AuditTerms, Event, Selection, Stack};
use atoma_types::wire::{
    AUTH_HEADER, Authorization, RECEIPT_COMMENT, RECEIPT_HEADER, SSE_DONE, decode, encode,
};
use atoma_types::{
    Address, Amount, Grant, Hash32, ModelId, NodeId, Price, Receipt, RequestAuth, SecretKey, Signed, Status,
    TaskId, Transcript, Units, Voucher,
};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

pub(crate) const MODEL: &str = "mock";
pub(crate) const COIN: u64 = 1_000_000;
pub(crate) const PRICE: Price = Price(2 * COIN);
pub(crate) const UNITS: Units = Units(10_000);
/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A chain with a model, a task and a registered node that is not running yet.
pub(crate) struct Market {
    pub(crate) chain: ChainClient,
    pub(crate) operator: Wallet,
    pub(crate) receipt_key: SecretKey,
    pub(crate) node: NodeId,
    pub(crate) task: TaskId,
    pub(crate) dir: TempDir,
    pub(crate) devnet: Devnet,
}

impl Market {
    pub(crate) async fn open() -> Self {
        let devnet = atoma_devnet::spawn(Config::test()).await.unwrap();
        let chain = ChainClient::connect(devnet.deployment().clone()).await.unwrap();
        let (creator, operator) = (funded(&chain).await, funded(&chain).await);
        let task = create_task(&chain, &creator).await;
        let receipt_key = SecretKey::from_seed([9; 32]);
        let registration = Registration {
            endpoint: "http://127.0.0.1:1".to_owned(),
            receipt_key: receipt_key.public_key(),
            payout: None,
            collateral: None,
            offerings: vec![Offering { task, price: PRICE, max_units: Units(COIN) }],
        };
        let node = register_if_needed(&chain, &operator, &registration).await.unwrap();
        assert_eq!(register_if_needed(&chain, &operator, &registration).await.unwrap(), node);
        Self { chain, operator, receipt_key, node, task, dir: tempfile::tempdir().unwrap(), devnet }
    }

    pub(crate) fn config(&self) -> NodeConfig {
        NodeConfig::test(self.node, vec![self.task], self.dir.path())
    }

    pub(crate) fn parts(&self, engine: Arc<dyn Engine>) -> Parts {
        Parts {
            market: Arc::new(SuiMarket::new(self.chain.clone(), self.operator.clone())),
            receipt_key: self.receipt_key.clone(),
            engines: vec![engine],
        }
    }

    pub(crate) async fn spawn(&self, config: NodeConfig, engine: Arc<dyn Engine>) -> NodeHandle {
        atoma_node::spawn(config, self.parts(engine)).await.unwrap()
    }

    /// A node that answers at once.
    pub(crate) async fn start(&self) -> NodeHandle {
        self.spawn(self.config(), mock(16, Duration::ZERO)).await
    }

    pub(crate) async fn user(&self) -> User {
        self.user_with(Selection::Single).await
    }

    /// A user with a stack; under `Any` without a channel.
    pub(crate) async fn user_with(&self, selection: Selection) -> User {
        let wallet = funded(&self.chain).await;
        let before = self.chain.balances(wallet.address()).await.unwrap().coin;
        let key = SecretKey::from_seed(*wallet.request_key("stack").to_seed());
        let acquire = Call::AcquireStack(AcquireStack {
            task: self.task,
            request_key: key.public_key(),
            units: UNITS,
            max_price: PRICE,
            selection,
            nodes: u64::from(selection == Selection::Single),
            max_opens: 2,
            echelons: vec![],
            payment: Amount(COIN),
        });
        let stack = wallet.execute(&self.chain, acquire).await.unwrap().acquired_stack().unwrap();
        User {
            chain: self.chain.clone(),
            wallet,
            before,
            key,
            db: self.chain.deployment().db,
            node: self.node,
            node_key: self.receipt_key.public_key(),
            stack,
            nonce: AtomicU64::new(1),
            http: reqwest::Client::new(),
        }
    }

    pub(crate) async fn advance_clock(&self, ms: u64) {
        self.devnet.advance_clock(Duration::from_millis(ms)).await.unwrap();
    }

    /// Waits for an event, from the chain's first on.
    pub(crate) async fn event(&self, wanted: impl Fn(&Event) -> bool) -> ChainEvent {
        let mut events = std::pin::pin!(self.chain.events(None));
        let search = async {
            while let Some(frame) = events.next().await {
                match frame.unwrap().event {
                    Some(event) if wanted(&event.event) => return event,
                    _ => {}
                }
            }
            panic!("the event stream ended");
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap()
    }
}

pub(crate) fn mock(tokens: u64, delay: Duration) -> Arc<dyn Engine> {
    Arc::new(MockEngine::new(MockConfig { model: MODEL.to_owned(), tokens, delay, ..MockConfig::default() }))
}

pub(crate) async fn funded(chain: &ChainClient) -> Wallet {
    let wallet = Wallet::generate().unwrap();
    faucet(chain.deployment(), wallet.address()).await.unwrap();
    wallet
}

async fn create_task(chain: &ChainClient, creator: &Wallet) -> TaskId {
    let model = AddModel {
        label: MODEL.to_owned(),
        modality: 0,
        weights_root: Hash32::of(b"weights"),
        creator_fee_permille: 100,
    };
    let added = creator.execute(chain, Call::AddModel(model)).await.unwrap();
    let model: ModelId = added
        .events
        .iter()
        .find_map(|event| if let Event::ModelAdded(added) = event { Some(added.model) } else { None })
        .unwrap();
    let task = CreateTask {
        role: 0,
        model,
        level: 0,
        exact: false,
        price_ceiling: Price(5 * COIN),
        weights: UnitWeights::default(),
        surcharge_permille: 5,
        min_collateral: Amount(1_000 * COIN),
        min_reputation: 0,
        whitelist: vec![],
        echelons: vec![0],
        audit: AuditTerms::default(),
    };
    let created = creator.execute(chain, Call::CreateTask(task)).await.unwrap();
    created
        .events
        .iter()
        .find_map(|event| if let Event::TaskCreated(created) = event { Some(created.task) } else { None })
        .unwrap()
}

pub(crate) fn wall_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Somebody with a stack.
pub(crate) struct User {
    pub(crate) chain: ChainClient,
    pub(crate) wallet: Wallet,
    /// Coins before the purchase.
    pub(crate) before: Amount,
    pub(crate) key: SecretKey,
    pub(crate) db: Address,
    pub(crate) node: NodeId,
    pub(crate) node_key: atoma_types::PublicKey,
    pub(crate) stack: Address,
    nonce: AtomicU64,
    pub(crate) http: reqwest::Client,
}

/// What came back, taken apart.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    /// Body bytes before the receipt.
    pub(crate) body: Vec<u8>,
    pub(crate) receipt: Option<Signed<Receipt>>,
    pub(crate) done: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> (u16, String) {
        let body = self.json();
        for member in ["message", "type", "param", "code"] {
            assert!(body["error"].get(member).is_some(), "no {member} in {body}");
        }
        (self.status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn receipt(&self) -> &Receipt {
        &self.receipt.as_ref().unwrap().message
    }
}

pub(crate) fn chat(stream: bool, content: &str) -> Value {
    json!({"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": content}]})
}

impl User {
    /// The same user as another node sees it.
    pub(crate) fn at(&self, node: NodeId, node_key: atoma_types::PublicKey) -> Self {
        let (chain, wallet, http) = (self.chain.clone(), self.wallet.clone(), self.http.clone());
        let Self { before, db, stack, .. } = *self;
        let (key, nonce) = (self.key.clone(), AtomicU64::new(1_000_000));
        Self { chain, wallet, before, key, db, node, node_key, stack, nonce, http }
    }

    pub(crate) fn next_nonce(&self) -> u64 {
        self.nonce.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn auth(&self, body: &[u8], max_units: u64) -> RequestAuth {
        RequestAuth {
            db: self.db,
            stack: self.stack,
            node: self.node,
            hops: 0,
            nonce: self.next_nonce(),
            body_hash: Hash32::of(body),
            max_units: Units(max_units),
            expires_ms: wall_ms() + 60_000,
        }
    }

    pub(crate) fn authorize(&self, auth: RequestAuth, voucher: Option<Signed<Voucher>>) -> Authorization {
        Authorization { auth: auth.sign(&self.key), voucher, grants: vec![] }
    }

    pub(crate) async fn ask(&self, node: &str, body: &Value, voucher: Option<Signed<Voucher>>) -> Answer {
        let body = body.to_string().into_bytes();
        let authorization = self.authorize(self.auth(&body, 60), voucher);
        self.post(node, &body, &authorization).await
    }

    pub(crate) async fn send(
        &self,
        node: &str,
        body: &[u8],
        authorization: &Authorization,
    ) -> reqwest::Response {
        self.http
            .post(format!("{node}/v1/chat/completions"))
            .header(AUTH_HEADER, encode(authorization))
            .header("content-type", "application/json")
            .body(body.to_vec())
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn post(&self, node: &str, body: &[u8], authorization: &Authorization) -> Answer {
        read(self.send(node, body, authorization).await).await
    }

    /// Everything a client must check before it signs a voucher.
    pub(crate) fn verify(&self, answer: &Answer, transcript: &mut Transcript, total: &mut Units) {
        let signed = answer.receipt.as_ref().unwrap();
        let receipt = signed.verify(&self.node_key).unwrap();
        assert_eq!((receipt.db, receipt.stack, receipt.node), (self.db, self.stack, self.node));
        assert_eq!(receipt.response_hash, Hash32::of(&answer.body));
        if receipt.status == Status::Complete {
            assert_eq!(receipt.units, UnitWeights::default().units(receipt.input, receipt.output).unwrap());
        }
        *total = total.add(receipt.units).unwrap();
        assert_eq!(receipt.total_units, *total);
        assert_eq!(transcript.append(&receipt.record()), receipt.root);
        assert_eq!(receipt.count, u64::try_from(transcript.count()).unwrap());
    }

    pub(crate) fn voucher_for(&self, receipt: &Receipt) -> Signed<Voucher> {
        self.voucher(receipt.total_units, receipt.count, receipt.root)
    }

    pub(crate) fn voucher(&self, units: Units, count: u64, root: Hash32) -> Signed<Voucher> {
        Voucher { db: self.db, stack: self.stack, node: self.node, units, count, root }.sign(&self.key)
    }

    pub(crate) async fn acknowledge(&self, node: &str, voucher: &Signed<Voucher>) -> Answer {
        let body = json!({ "voucher": encode(voucher) });
        read(self.http.post(format!("{node}/v1/vouchers")).json(&body).send().await.unwrap()).await
    }

    pub(crate) fn grant(&self, units: u64, nonce: u64) -> Signed<Grant> {
        let (db, stack, node) = (self.db, self.stack, self.node);
        Grant { db, stack, node, units: Units(units), max_price: PRICE, nonce }.sign(&self.key)
    }

    pub(crate) async fn channel(&self, node: &str) -> Value {
        let url = format!("{node}/v1/channels?stack={}", self.stack);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn receipts(&self, node: &str, from: u64) -> Vec<Signed<Receipt>> {
        let url = format!("{node}/v1/receipts?stack={}&from={from}", self.stack);
        let page: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        page["receipts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| decode(text.as_str().unwrap()).unwrap())
            .collect()
    }

    /// Asks until the channel looks as wanted.
    pub(crate) async fn until(&self, node: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let channel = self.channel(node).await;
                if wanted(&channel) {
                    return channel;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap()
    }

    pub(crate) async fn on_chain(&self) -> Stack {
        self.chain.stack(self.stack).await.unwrap().unwrap()
    }

    pub(crate) async fn open_channel(&self, units: u64, nonce: u64) {
        let call = OpenChannel {
            stack: self.stack,
            node: self.node,
            units: Units(units),
            max_price: PRICE,
            nonce,
            signature: None,
        };
        self.wallet.execute(&self.chain, Call::OpenChannel(call)).await.unwrap();
    }
}

/// Reads a response to its end and takes the receipt out of it.
pub(crate) async fn read(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap().to_vec();
    if let Some(receipt) = headers.get(RECEIPT_HEADER) {
        let receipt = decode(receipt.to_str().unwrap()).unwrap();
        return Answer { status, headers, body: bytes, receipt: Some(receipt), done: false };
    }
    let text = String::from_utf8(bytes).unwrap();
    let Some((body, tail)) = text.split_once(RECEIPT_COMMENT) else {
        return Answer { status, headers, body: text.into_bytes(), receipt: None, done: false };
    };
    let (receipt, rest) = tail.split_once("\n\n").unwrap();
    let receipt = Some(decode(receipt).unwrap());
    Answer { status, headers, body: body.as_bytes().to_vec(), receipt, done: rest == SSE_DONE }
}

pub(crate) fn journal_of(dir: &Path) -> std::path::PathBuf {
    dir.join("journal.sqlite")
}

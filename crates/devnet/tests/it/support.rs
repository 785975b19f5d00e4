//! A devnet with a client, and the few things that every test does with them.

use atoma_devnet::{Config, Devnet, PACKAGE, spawn};
use atoma_types::onchain::{Event, Node, Stack};
use serde::de::DeserializeOwned;
use std::str::FromStr;
use sui_crypto::SuiSigner;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_rpc::Client;
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{
    Address, Digest, Identifier, Object, Transaction, TransactionEffects, TransactionEffectsV2, TypeTag,
    UserSignature,
};
use sui_transaction_builder::{Argument, Function, ObjectInput, TransactionBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Status;

pub(crate) const SUI: u64 = 1_000_000_000;
pub(crate) const USD: u64 = 1_000_000;

pub(crate) struct Net {
    pub(crate) devnet: Devnet,
    pub(crate) client: Client,
}

pub(crate) struct Done {
    pub(crate) effects: TransactionEffectsV2,
    pub(crate) events: Vec<Event>,
    pub(crate) digest: Digest,
}

pub(crate) fn key(seed: u8) -> Ed25519PrivateKey {
    Ed25519PrivateKey::new([seed; 32])
}

pub(crate) fn address(key: &Ed25519PrivateKey) -> Address {
    key.public_key().derive_address()
}

impl Net {
    pub(crate) async fn start() -> Self {
        Self::with(Config::test()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let devnet = spawn(config).await.unwrap();
        let client = Client::new(devnet.url()).unwrap();
        Self { devnet, client }
    }

    pub(crate) fn usd(&self) -> TypeTag {
        self.devnet.deployment().coin_type.parse().unwrap()
    }

    /// A key with 100 SUI and 10,000 USD.
    pub(crate) async fn funded(&self, seed: u8) -> Ed25519PrivateKey {
        let key = key(seed);
        self.devnet.fund(address(&key), 100 * SUI, 10_000 * USD).await.unwrap();
        key
    }

    pub(crate) async fn object(&self, id: Address) -> Option<Object> {
        let mut client = self.client.clone();
        let request = pb::GetObjectRequest::new(&id).with_read_mask(FieldMask::from_str("bcs"));
        match client.ledger_client().get_object(request).await {
            Ok(reply) => Some(reply.into_inner().object().bcs().deserialize().unwrap()),
            Err(status) if status.code() == tonic::Code::NotFound => None,
            Err(status) => panic!("{status}"),
        }
    }

    pub(crate) async fn owned(&self, owner: Address, tag: &str) -> Vec<Object> {
        let mut client = self.client.clone();
        let request = pb::ListOwnedObjectsRequest::default()
            .with_owner(owner.to_string())
            .with_object_type(tag.to_owned())
            .with_page_size(1_000u32)
            .with_read_mask(FieldMask::from_str("bcs"));
        let reply = client.state_client().list_owned_objects(request).await.unwrap().into_inner();
        reply.objects.iter().map(|object| object.bcs().deserialize().unwrap()).collect()
    }

    pub(crate) async fn coins(&self, owner: Address, coin: &TypeTag) -> Vec<Object> {
        self.owned(owner, &format!("0x2::coin::Coin<{coin}>")).await
    }

    pub(crate) async fn balance(&self, owner: Address, coin: &TypeTag) -> u64 {
        let mut client = self.client.clone();
        let request =
            pb::GetBalanceRequest::default().with_owner(owner.to_string()).with_coin_type(coin.to_string());
        client.state_client().get_balance(request).await.unwrap().into_inner().balance().balance()
    }

    /// Resolves the transaction by a dry run, signs and executes it.
    pub(crate) async fn run(&self, key: &Ed25519PrivateKey, mut builder: TransactionBuilder) -> Done {
        builder.set_sender(address(key));
        let transaction = builder.build(&mut self.client.clone()).await.unwrap();
        self.sign_and_execute(key, &transaction).await.unwrap()
    }

    pub(crate) async fn sign_and_execute(
        &self,
        key: &Ed25519PrivateKey,
        transaction: &Transaction,
    ) -> Result<Done, Status> {
        self.execute(transaction, &[key.sign_transaction(transaction).unwrap()]).await
    }

    pub(crate) async fn execute(
        &self,
        transaction: &Transaction,
        signed: &[UserSignature],
    ) -> Result<Done, Status> {
        let mut request = pb::ExecuteTransactionRequest::default();
        request.transaction = Some(transaction.clone().into());
        request.signatures = signed.iter().cloned().map(Into::into).collect();
        request.read_mask = Some(FieldMask::from_str("*"));
        let reply = self.client.clone().execution_client().execute_transaction(request).await?.into_inner();
        let done = reply.transaction();
        let TransactionEffects::V2(effects) = done.effects().bcs().deserialize().unwrap() else {
            panic!("old effects")
        };
        let events = done.events().events.iter().map(decode).collect();
        Ok(Done { effects: *effects, events, digest: transaction.digest() })
    }

    /// Calls a view of the package and decodes what it returns.
    pub(crate) async fn view<T: DeserializeOwned>(&self, name: &str, arguments: &[u64]) -> T {
        let mut builder = TransactionBuilder::new();
        let mut all = vec![self.db(&mut builder, false)];
        all.extend(arguments.iter().map(|argument| builder.pure_unique(argument)));
        self.call(&mut builder, "views", name, all);
        let reply = self.simulate_unchecked(builder).await;
        let outputs = &reply.command_outputs.last().unwrap().return_values;
        outputs[0].value().deserialize().unwrap()
    }

    pub(crate) async fn simulate_unchecked(
        &self,
        mut builder: TransactionBuilder,
    ) -> pb::SimulateTransactionResponse {
        builder.set_sender(Address::ZERO);
        builder.set_gas_budget(1);
        builder.set_gas_price(1_000);
        builder.add_gas_objects([ObjectInput::owned(Address::ZERO, 1, Digest::ZERO)]);
        let mut transaction = pb::Transaction::from(builder.try_build().unwrap());
        transaction.bcs = None;
        transaction.gas_payment = None;
        let mut request = pb::SimulateTransactionRequest::default();
        request.transaction = Some(transaction);
        request.set_checks(pb::simulate_transaction_request::TransactionChecks::Disabled);
        self.client.clone().execution_client().simulate_transaction(request).await.unwrap().into_inner()
    }

    pub(crate) fn call(
        &self,
        builder: &mut TransactionBuilder,
        module: &str,
        name: &str,
        arguments: Vec<Argument>,
    ) -> Argument {
        let function = Function::new(
            PACKAGE,
            Identifier::from_str(module).unwrap(),
            Identifier::from_str(name).unwrap(),
        );
        builder.move_call(function.with_type_args(vec![self.usd()]), arguments)
    }

    pub(crate) fn db(&self, builder: &mut TransactionBuilder, mutable: bool) -> Argument {
        builder.object(ObjectInput::shared(self.devnet.deployment().db, 1, mutable))
    }

    pub(crate) fn treasury(&self, builder: &mut TransactionBuilder) -> Argument {
        builder.object(ObjectInput::shared(self.devnet.deployment().treasury, 1, true))
    }

    /// The beacon's next round.
    pub(crate) fn beat(&self) -> TransactionBuilder {
        let mut builder = TransactionBuilder::new();
        let beacon = ObjectInput::shared(self.devnet.deployment().beacon, 1, true);
        let random = ObjectInput::shared(Address::from_static("0x8"), 1, false);
        let arguments = vec![
            self.db(&mut builder, false),
            builder.object(beacon),
            builder.object(random),
            clock(&mut builder),
        ];
        self.call(&mut builder, "beacon", "beat", arguments);
        builder
    }

    /// A coin of `amount` split off the sender's first USD coin.
    pub(crate) async fn usd_coin(
        &self,
        builder: &mut TransactionBuilder,
        owner: Address,
        amount: u64,
    ) -> Argument {
        let coin = &self.coins(owner, &self.usd()).await[0];
        let coin = builder.object(owned(coin));
        let amount = builder.pure(&amount);
        builder.split_coins(coin, vec![amount])[0]
    }

    /// A model, a task and one node that serves it, all of `key`.
    pub(crate) async fn open_market(&self, key: &Ed25519PrivateKey) -> Node {
        let owner = address(key);
        let mut builder = TransactionBuilder::new();
        let (db, treasury) = (self.db(&mut builder, true), self.treasury(&mut builder));
        let coin = self.usd_coin(&mut builder, owner, 1_001 * USD).await;
        let (payout, endpoint) = (builder.pure(&owner), builder.pure(&"http://127.0.0.1:1".to_owned()));
        let receipt_key = builder.pure(&receipt_key().public_key());
        self.call(&mut builder, "node", "register", vec![db, treasury, coin, payout, endpoint, receipt_key]);
        self.run(key, builder).await;

        let mut builder = TransactionBuilder::new();
        let db = self.db(&mut builder, true);
        let label = builder.pure(&"test-model".to_owned());
        let (role, root, fee) = (builder.pure(&0u8), builder.pure(&vec![9u8; 32]), builder.pure(&0u64));
        self.call(&mut builder, "model", "add", vec![db, label, role, root, fee]);
        let numbers = |builder: &mut TransactionBuilder, numbers: &[u64]| -> Vec<Argument> {
            numbers.iter().map(|number| builder.pure_unique(number)).collect()
        };
        let (role, model, level) =
            (builder.pure_unique(&0u8), builder.pure_unique(&1u64), builder.pure_unique(&0u8));
        let mut arguments = vec![db, role, model, level, builder.pure_unique(&false)];
        arguments.extend(numbers(&mut builder, &[1_000_000, 1_000, 1_000, 5, 0, 0]));
        arguments.extend([builder.pure(&Vec::<u64>::new()), builder.pure(&vec![0u64])]);
        arguments.extend(numbers(&mut builder, &[0; 7]));
        self.call(&mut builder, "task", "create", arguments);
        self.run(key, builder).await;

        let badge = &self.owned(owner, &format!("{PACKAGE}::node::NodeBadge")).await[0];
        let mut builder = TransactionBuilder::new();
        let (db, badge) = (self.db(&mut builder, true), builder.object(owned(badge)));
        let mut arguments = vec![db, badge];
        arguments.extend(numbers(&mut builder, &[1, 500_000, 1_000_000, 0]));
        arguments.extend([builder.pure(&false), clock(&mut builder)]);
        self.call(&mut builder, "offer", "subscribe", arguments);
        self.run(key, builder).await;
        self.view("node", &[1]).await
    }

    /// The purchase of a Single stack of `units` at most at the node's price.
    pub(crate) async fn purchase(&self, owner: Address, units: u64, payment: u64) -> TransactionBuilder {
        let mut builder = TransactionBuilder::new();
        let db = self.db(&mut builder, false);
        let random = builder.object(ObjectInput::shared(Address::from_static("0x8"), 1, false));
        let coin = self.usd_coin(&mut builder, owner, payment).await;
        let task = builder.pure_unique(&1u64);
        let request_key = builder.pure(&request_key().public_key());
        let units = builder.pure_unique(&units);
        let max_price = builder.pure_unique(&500_000u64);
        let selection = builder.pure(&0u8);
        let (nodes, opens) = (builder.pure_unique(&1u64), builder.pure_unique(&0u64));
        let (echelons, clock) = (builder.pure(&Vec::<u64>::new()), clock(&mut builder));
        let arguments = vec![
            db,
            random,
            coin,
            task,
            request_key,
            units,
            max_price,
            selection,
            nodes,
            opens,
            echelons,
            clock,
        ];
        self.call(&mut builder, "stack", "acquire", arguments);
        builder
    }

    pub(crate) async fn stack(&self, id: Address) -> Option<Stack> {
        let object = self.object(id).await?;
        Some(bcs::from_bytes(object.as_struct().unwrap().contents()).unwrap())
    }

    /// One HTTP request to the plain routes: status and JSON body.
    pub(crate) async fn http(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let mut socket = tokio::net::TcpStream::connect(self.devnet.address()).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: devnet\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        socket.read_to_string(&mut reply).await.unwrap();
        let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| serde_json::Value::String(body.to_owned())))
    }
}

pub(crate) fn clock(builder: &mut TransactionBuilder) -> Argument {
    builder.object(ObjectInput::shared(Address::from_static("0x6"), 1, false))
}

pub(crate) fn receipt_key() -> atoma_types::SecretKey {
    atoma_types::SecretKey::from_seed([101; 32])
}

pub(crate) fn request_key() -> atoma_types::SecretKey {
    atoma_types::SecretKey::from_seed([102; 32])
}

pub(crate) fn owned(object: &Object) -> ObjectInput {
    ObjectInput::owned(object.object_id(), object.version(), object.digest())
}

pub(crate) fn decode(event: &pb::Event) -> Event {
    let name = event.event_type().rsplit("::").next().unwrap();
    Event::decode(name, event.contents().value()).unwrap().unwrap()
}

/// A transfer of `amount` MIST, completely resolved.
pub(crate) fn transfer(gas: &Object, from: Address, to: Address, amount: u64) -> Transaction {
    let mut builder = TransactionBuilder::new();
    let (coin, amount, to) = (builder.gas(), builder.pure(&amount), builder.pure(&to));
    let coins = builder.split_coins(coin, vec![amount]);
    builder.transfer_objects(coins, to);
    builder.set_sender(from);
    builder.set_gas_budget(10_000_000);
    builder.set_gas_price(1_000);
    builder.add_gas_objects([owned(gas)]);
    builder.try_build().unwrap()
}

pub(crate) fn sui() -> TypeTag {
    "0x2::sui::SUI".parse().unwrap()
}

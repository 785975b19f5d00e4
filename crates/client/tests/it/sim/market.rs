//! The simulated chain as a session sees it.

use super::{MODEL, PRICE, WEIGHTS, World, wall_ms};
use atoma_chain::AcquireStack;
use atoma_client::catalog::Catalog;
use atoma_client::market::{Market, MarketError, PreparedPurchase};
use atoma_types::onchain::{Channel, Model, Params, Selection, Stack, Subscription, Task};
use atoma_types::{Address, Amount, Hash32, ModelId, Price, SecretKey, TaskId, Units};
use futures::future::BoxFuture;
use std::collections::HashMap;

/// A wallet in the market; its purchases draw the nodes in turn.
#[derive(Clone)]
pub(crate) struct SimMarket(pub(crate) World);

impl SimMarket {
    fn acquire(&self, bytes: &[u8]) -> Address {
        let mut chain = self.0.chain();
        if let Some(stack) = chain.purchases.get(bytes) {
            return *stack;
        }
        let (key, units, price, prepared): ([u8; 32], u64, u64, u64) = bcs::from_bytes(bytes).unwrap();
        let id = Address::new(Hash32::of(&prepared.to_le_bytes()).0);
        let node = chain.nodes[chain.draws % chain.nodes.len()].id;
        chain.draws += 1;
        let channel = Channel {
            node,
            price: PRICE,
            granted: Units(units),
            grant_nonce: 0,
            settled_units: Units::ZERO,
            settled_count: 0,
            root: Hash32::of(&[]),
            paid: Amount::ZERO,
            closed: false,
        };
        let now = chain.clock_ms.unwrap_or_else(wall_ms);
        let stack = Stack {
            id,
            version: 1,
            db: Address::TWO,
            owner: Address::THREE,
            request_key: atoma_types::PublicKey(key),
            task: TaskId(1),
            level: 0,
            weights: WEIGHTS,
            max_price: Price(price),
            total_units: Units(units),
            granted_units: Units(units),
            settled_units: Units::ZERO,
            selection: Selection::Single,
            drawn: vec![node],
            creator: Address::TWO,
            creator_fee_permille: 0,
            surcharge: Amount::ZERO,
            surcharge_earned: Amount::ZERO,
            open_fee: Amount::ZERO,
            opens_left: 0,
            created_ms: now,
            expires_ms: now + 3_600_000,
            close_requested_ms: 0,
            close_delay_ms: 20_000,
            channels: vec![channel],
            dues: vec![],
            treasury_due: Amount::ZERO,
            balance: Amount(1_000),
        };
        chain.stacks.insert(id, stack);
        chain.purchases.insert(bytes.to_vec(), id);
        id
    }
}

impl Market for SimMarket {
    fn db(&self) -> Address {
        Address::TWO
    }

    fn request_key(&self, label: &str) -> SecretKey {
        SecretKey::from_seed(Hash32::of(label.as_bytes()).0)
    }

    fn catalog(&self) -> BoxFuture<'_, Result<Catalog, MarketError>> {
        let nodes = self.0.chain().nodes.clone();
        let model = Model {
            id: ModelId(1),
            label: MODEL.into(),
            creator: Address::TWO,
            modality: 0,
            weights_root: Hash32::ZERO,
            creator_fee_permille: 0,
            disabled: false,
        };
        let task = Task {
            id: TaskId(1),
            owner: Address::TWO,
            role: 0,
            model: ModelId(1),
            level: 0,
            price_ceiling: Price(1_000_000),
            weights: WEIGHTS,
            surcharge_permille: 5,
            min_collateral: Amount::ZERO,
            min_reputation: 0,
            whitelist: vec![],
            deprecated: false,
        };
        let subscriptions = nodes.iter().map(|node| Subscription {
            task: TaskId(1),
            node: node.id,
            price: PRICE,
            max_units: Units(1_000_000_000),
            echelon: 0,
        });
        let params = Params {
            unit_ms: 1_000,
            stack_life_ms: 3_600_000,
            close_delay_ms: 20_000,
            exit_ms: 640_000,
            min_collateral: Amount::ZERO,
            weight_cap: Amount::ZERO,
            registration_fee: Amount::ZERO,
            open_fee: Amount::ZERO,
        };
        let subscriptions = HashMap::from([(TaskId(1), subscriptions.collect())]);
        let catalog = Catalog::new(vec![model], vec![task], nodes, subscriptions, params);
        Box::pin(async move { Ok(catalog) })
    }

    fn stack(&self, id: Address) -> BoxFuture<'_, Result<Option<Stack>, MarketError>> {
        let chain = self.0.chain();
        let stack = if chain.hidden {
            Err(MarketError::Unknown("hidden".into()))
        } else {
            Ok(chain.stacks.get(&id).cloned())
        };
        Box::pin(async move { stack })
    }

    fn now_ms(&self) -> BoxFuture<'_, Result<u64, MarketError>> {
        let now = self.0.chain().clock_ms.unwrap_or_else(wall_ms);
        Box::pin(async move { Ok(now) })
    }

    fn prepare_purchase(
        &self,
        purchase: AcquireStack,
    ) -> BoxFuture<'_, Result<PreparedPurchase, MarketError>> {
        let mut chain = self.0.chain();
        chain.prepared += 1;
        let parts = (purchase.request_key.0, purchase.units.0, purchase.max_price.0, chain.prepared);
        let bytes = bcs::to_bytes(&parts).unwrap();
        Box::pin(async move { Ok(PreparedPurchase::from_bytes(bytes)) })
    }

    fn submit_purchase(&self, prepared: PreparedPurchase) -> BoxFuture<'_, Result<Address, MarketError>> {
        let stack = self.acquire(&prepared.bytes);
        let mut chain = self.0.chain();
        let lost = chain.lost_answers > 0;
        chain.lost_answers = chain.lost_answers.saturating_sub(1);
        Box::pin(async move { if lost { Err(MarketError::Unknown("lost".into())) } else { Ok(stack) } })
    }

    fn request_close(&self, id: Address) -> BoxFuture<'_, Result<(), MarketError>> {
        let mut chain = self.0.chain();
        let now = chain.clock_ms.unwrap_or_else(wall_ms);
        chain.stacks.get_mut(&id).unwrap().close_requested_ms = now;
        chain.closed.push(id);
        Box::pin(async move { Ok(()) })
    }

    fn refund(&self, id: Address) -> BoxFuture<'_, Result<(), MarketError>> {
        let mut chain = self.0.chain();
        chain.stacks.remove(&id);
        chain.refunded.push(id);
        Box::pin(async move { Ok(()) })
    }
}

//! The simulated chain as a session sees it.

use super::{MODEL, PRICE, WEIGHTS, World, wall_ms};
use atoma_chain::AcquireStack;
use atoma_client::catalog::Catalog;
use atoma_client::market::{Market, MarketError, PreparedPurchase};
use atoma_types::onchain::{AuditTerms, Channel, Disputed, Model, Selection, Slot, Stack, Surcharge, Task};
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
            payout: Address::ZERO,
            price: PRICE,
            echelon: 0,
            granted: Units(units),
            grant_nonce: 0,
            settled_units: Units::ZERO,
            settled_count: 0,
            root: Hash32::of(&[]),
            paid: Amount::ZERO,
            voided: Amount::ZERO,
            disputed_units: Units::ZERO,
            disputed_paid: Amount::ZERO,
            closed_ms: 0,
            released: false,
            claim: None,
            queued: None,
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
            exact: false,
            weights: WEIGHTS,
            max_price: Price(price),
            total_units: Units(units),
            granted_units: Units(units),
            settled_units: Units::ZERO,
            claimed_units: Units::ZERO,
            selection: Selection::Single,
            drawn: vec![node],
            echelons: vec![0],
            creator: Address::TWO,
            creator_fee_permille: 0,
            surcharge: Surcharge { permille: 0, escrowed: Amount::ZERO, used: Amount::ZERO },
            opens_left: 0,
            created_ms: now,
            expires_ms: now + 3_600_000,
            close_requested_ms: 0,
            params: atoma_contract::params::devnet(),
            channels: vec![channel],
            disputed: Disputed::default(),
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
            exact: false,
            price_ceiling: Price(1_000_000),
            weights: WEIGHTS,
            surcharge_permille: 5,
            min_collateral: Amount::ZERO,
            min_reputation: 0,
            whitelist: vec![],
            echelons: vec![0],
            deprecated: false,
            audit: AuditTerms::default(),
        };
        let offers = nodes.iter().map(|node| Slot {
            node: node.id,
            weight: Amount(1),
            price: PRICE,
            max_units: Units(1_000_000_000),
            since_ms: 0,
            from_epoch: 0,
            until_epoch: u64::MAX,
            until_ms: u64::MAX,
        });
        let offers = HashMap::from([(TaskId(1), offers.collect())]);
        let params = atoma_contract::params::devnet();
        let catalog = Catalog::new(vec![model], vec![task], nodes, offers, params);
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

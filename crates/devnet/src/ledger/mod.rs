//! The chain's state: objects with their versions, transactions with their effects, checkpoints, epochs.
//!
//! Pure and synchronous: time comes in as an argument, nothing is stored or sent from here. Every change is
//! prepared first ([`Ledger::prepare`]) and applied afterwards ([`Ledger::apply`]), so that the caller can
//! write it to its journal in between; the same inputs at the same times give the same checkpoints.

pub(crate) mod audit;
pub(crate) mod checks;
pub(crate) mod execute;
pub(crate) mod gas;
pub(crate) mod genesis;
pub(crate) mod object;
mod publish;
mod runtime;

use crate::package::World;
use checks::Rejection;
use execute::{Mode, Outcome};
use genesis::Genesis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use sui_sdk_types::{
    Address, BalanceChange, CheckpointContents, CheckpointSummary, CheckpointTransactionInfo, Digest,
    EndOfEpochData, GasCostSummary, Object, Owner, SignedTransaction, TransactionEffects, TransactionEvents,
    TypeTag, Version,
};

/// Protocol version that the devnet reports.
pub(crate) const PROTOCOL_VERSION: u64 = 1;

/// One thing that happens to the chain, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Transaction(Box<SignedTransaction>),
    /// Moves the clock ahead of the machine's.
    AdvanceClock {
        by_ms: u64,
    },
    NextEpoch,
}

/// A transaction with everything it did.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) signed: SignedTransaction,
    pub(crate) digest: Digest,
    pub(crate) effects: TransactionEffects,
    pub(crate) events: TransactionEvents,
    pub(crate) balance_changes: Vec<BalanceChange>,
    /// Mutable inputs as they were, then what was written.
    pub(crate) objects: Vec<Object>,
    pub(crate) checkpoint: u64,
    pub(crate) timestamp_ms: u64,
}

impl Executed {
    pub(crate) fn new(
        signed: SignedTransaction,
        outcome: &Outcome,
        checkpoint: u64,
        timestamp_ms: u64,
    ) -> Self {
        Self {
            digest: signed.transaction.digest(),
            signed,
            effects: outcome.effects.clone(),
            events: outcome.events.clone(),
            balance_changes: outcome.balance_changes.clone(),
            objects: outcome.before.iter().chain(&outcome.written).cloned().collect(),
            checkpoint,
            timestamp_ms,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) summary: CheckpointSummary,
    pub(crate) contents: CheckpointContents,
    pub(crate) digest: Digest,
    pub(crate) transactions: Vec<Arc<Executed>>,
}

#[derive(Clone, Debug)]
pub(crate) struct EpochInfo {
    pub(crate) first_checkpoint: u64,
    pub(crate) start_ms: u64,
    /// Last checkpoint and end, once the epoch is over.
    pub(crate) end: Option<(u64, u64)>,
}

/// A change that was computed and not yet applied.
pub(crate) struct Prepared {
    pub(crate) checkpoint: Arc<Checkpoint>,
    outcome: Option<Outcome>,
    clock_offset_ms: u64,
}

pub(crate) struct Ledger {
    genesis: Genesis,
    chain_id: Digest,
    objects: BTreeMap<Address, Arc<Object>>,
    past: BTreeMap<(Address, Version), Arc<Object>>,
    deleted: BTreeMap<Address, Version>,
    owned: BTreeMap<Address, BTreeSet<Address>>,
    world: World,
    transactions: BTreeMap<Digest, Arc<Executed>>,
    checkpoints: Vec<Arc<Checkpoint>>,
    by_digest: BTreeMap<Digest, u64>,
    epochs: Vec<EpochInfo>,
    epoch_gas: GasCostSummary,
    total_transactions: u64,
    /// SUI that is gone for good.
    burned: u128,
    clock_offset_ms: u64,
}

impl Ledger {
    pub(crate) fn new(genesis: Genesis) -> Result<Self, genesis::GenesisError> {
        let (objects, world) = genesis.objects()?;
        let checkpoint = genesis_checkpoint(&genesis);
        let mut ledger = Self {
            chain_id: checkpoint.digest,
            objects: BTreeMap::new(),
            past: BTreeMap::new(),
            deleted: BTreeMap::new(),
            owned: BTreeMap::new(),
            world,
            transactions: BTreeMap::new(),
            by_digest: BTreeMap::from([(checkpoint.digest, 0)]),
            checkpoints: vec![Arc::new(checkpoint)],
            epochs: vec![EpochInfo { first_checkpoint: 0, start_ms: genesis.timestamp_ms, end: None }],
            epoch_gas: GasCostSummary::new(0, 0, 0, 0),
            total_transactions: 0,
            burned: 0,
            clock_offset_ms: 0,
            genesis,
        };
        objects.into_iter().for_each(|object| ledger.put(object));
        Ok(ledger)
    }

    pub(crate) fn chain_id(&self) -> Digest {
        self.chain_id
    }

    pub(crate) fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.genesis.seed
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    pub(crate) fn epoch(&self) -> u64 {
        u64::try_from(self.epochs.len()).unwrap_or(u64::MAX).saturating_sub(1)
    }

    pub(crate) fn epoch_info(&self, epoch: u64) -> Option<&EpochInfo> {
        self.epochs.get(usize::try_from(epoch).ok()?)
    }

    /// Chain time for a machine that says `wall_ms`: ahead by what was skipped, never going back.
    pub(crate) fn time(&self, wall_ms: u64) -> u64 {
        let last = self.checkpoints.last().map_or(0, |checkpoint| checkpoint.summary.timestamp_ms);
        wall_ms.saturating_add(self.clock_offset_ms).max(last)
    }

    pub(crate) fn clock_offset_ms(&self) -> u64 {
        self.clock_offset_ms
    }

    pub(crate) fn object(&self, id: Address) -> Option<&Object> {
        self.objects.get(&id).map(Arc::as_ref)
    }

    pub(crate) fn object_at(&self, id: Address, version: Version) -> Option<&Object> {
        let live = self.object(id).filter(|object| object.version() == version);
        live.or_else(|| self.past.get(&(id, version)).map(Arc::as_ref))
    }

    pub(crate) fn deleted_at(&self, id: Address) -> Option<Version> {
        self.deleted.get(&id).copied()
    }

    /// What `owner` owns, by id, after `after`.
    pub(crate) fn owned_by(&self, owner: Address, after: Option<Address>) -> impl Iterator<Item = &Object> {
        use std::ops::Bound::{Excluded, Unbounded};
        let ids = self.owned.get(&owner).into_iter();
        let ids = ids.flat_map(move |ids| ids.range((after.map_or(Unbounded, Excluded), Unbounded)));
        ids.filter_map(|id| self.object(*id))
    }

    /// Sum of an address's coins, by coin type.
    pub(crate) fn balances(&self, owner: Address) -> BTreeMap<TypeTag, u64> {
        let mut balances: BTreeMap<TypeTag, u64> = BTreeMap::new();
        for (coin, balance) in self.owned_by(owner, None).filter_map(object::coin) {
            let sum = balances.entry(coin.clone()).or_default();
            *sum = sum.saturating_add(balance);
        }
        balances
    }

    pub(crate) fn transaction(&self, digest: &Digest) -> Option<&Arc<Executed>> {
        self.transactions.get(digest)
    }

    /// Sequence number of the newest checkpoint.
    pub(crate) fn tip(&self) -> u64 {
        u64::try_from(self.checkpoints.len()).unwrap_or(u64::MAX).saturating_sub(1)
    }

    pub(crate) fn checkpoint(&self, sequence: u64) -> Option<&Arc<Checkpoint>> {
        self.checkpoints.get(usize::try_from(sequence).ok()?)
    }

    pub(crate) fn checkpoint_by_digest(&self, digest: &Digest) -> Option<&Arc<Checkpoint>> {
        self.checkpoint(*self.by_digest.get(digest)?)
    }

    /// All live objects, for audits.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values().map(Arc::as_ref)
    }

    pub(crate) fn simulate(
        &self,
        transaction: &sui_sdk_types::Transaction,
        now_ms: u64,
        mode: Mode,
    ) -> Result<Outcome, Rejection> {
        execute::execute(self, transaction, now_ms, mode)
    }

    /// Computes what `step` does at `now_ms`, which must not be before [`Self::time`]'s past.
    pub(crate) fn prepare(&self, step: Step, now_ms: u64) -> Result<Prepared, Rejection> {
        let mut clock_offset_ms = self.clock_offset_ms;
        Ok(match step {
            Step::Transaction(signed) => {
                let outcome = execute::execute(self, &signed.transaction, now_ms, Mode::Strict)?;
                let executed = Executed::new(*signed, &outcome, self.tip() + 1, now_ms);
                let checkpoint = self.next_checkpoint(vec![Arc::new(executed)], now_ms, &outcome.gas, false);
                Prepared { checkpoint: Arc::new(checkpoint), outcome: Some(outcome), clock_offset_ms }
            }
            Step::AdvanceClock { by_ms } => {
                clock_offset_ms = clock_offset_ms.saturating_add(by_ms);
                let none = GasCostSummary::new(0, 0, 0, 0);
                let checkpoint = self.next_checkpoint(Vec::new(), now_ms.saturating_add(by_ms), &none, false);
                Prepared { checkpoint: Arc::new(checkpoint), outcome: None, clock_offset_ms }
            }
            Step::NextEpoch => {
                let none = GasCostSummary::new(0, 0, 0, 0);
                let checkpoint = self.next_checkpoint(Vec::new(), now_ms, &none, true);
                Prepared { checkpoint: Arc::new(checkpoint), outcome: None, clock_offset_ms }
            }
        })
    }

    /// Applies a change that was prepared on this very state.
    pub(crate) fn apply(&mut self, prepared: Prepared) {
        let Prepared { checkpoint, outcome, clock_offset_ms } = prepared;
        if let Some(outcome) = outcome {
            self.apply_outcome(outcome);
        }
        let summary = &checkpoint.summary;
        for executed in &checkpoint.transactions {
            self.transactions.insert(executed.digest, executed.clone());
            self.total_transactions += 1;
        }
        self.epoch_gas = summary.epoch_rolling_gas_cost_summary.clone();
        if summary.end_of_epoch_data.is_some() {
            self.end_epoch(summary.sequence_number, summary.timestamp_ms);
        }
        self.clock_offset_ms = clock_offset_ms;
        let clock = genesis::clock(summary.timestamp_ms, summary.sequence_number + 1);
        clock.into_iter().for_each(|clock| self.put(clock));
        self.by_digest.insert(checkpoint.digest, summary.sequence_number);
        self.checkpoints.push(checkpoint);
    }

    fn apply_outcome(&mut self, outcome: Outcome) {
        self.burned +=
            u128::from(outcome.gas.computation_cost) + u128::from(outcome.gas.non_refundable_storage_fee);
        for id in &outcome.deleted {
            if let Some(object) = self.objects.remove(id) {
                self.disown(&object);
                self.deleted.insert(*id, outcome.effects_lamport());
                self.past.insert((*id, object.version()), object);
            }
        }
        outcome.written.into_iter().for_each(|object| self.put(object));
        if let Some(world) = outcome.world {
            self.world = world;
        }
    }

    fn put(&mut self, object: Object) {
        let id = object.object_id();
        if let Owner::Address(owner) = object.owner() {
            self.owned.entry(*owner).or_default().insert(id);
        }
        let owner = *object.owner();
        if let Some(old) = self.objects.insert(id, Arc::new(object)) {
            if *old.owner() != owner {
                self.disown(&old);
            }
            // The clock changes with every checkpoint; nobody asks for its past.
            if id != object::CLOCK {
                self.past.insert((id, old.version()), old);
            }
        }
    }

    fn disown(&mut self, object: &Object) {
        if let Owner::Address(owner) = object.owner()
            && let Some(ids) = self.owned.get_mut(owner)
        {
            ids.remove(&object.object_id());
            if ids.is_empty() {
                self.owned.remove(owner);
            }
        }
    }

    fn end_epoch(&mut self, last_checkpoint: u64, at_ms: u64) {
        if let Some(current) = self.epochs.last_mut() {
            current.end = Some((last_checkpoint, at_ms));
        }
        self.epochs.push(EpochInfo { first_checkpoint: last_checkpoint + 1, start_ms: at_ms, end: None });
        self.epoch_gas = GasCostSummary::new(0, 0, 0, 0);
    }

    fn next_checkpoint(
        &self,
        transactions: Vec<Arc<Executed>>,
        timestamp_ms: u64,
        gas: &GasCostSummary,
        ends_epoch: bool,
    ) -> Checkpoint {
        let info = |executed: &Arc<Executed>| {
            CheckpointTransactionInfo::new(
                executed.digest,
                executed.effects.digest(),
                executed.signed.signatures.clone(),
            )
        };
        let contents = CheckpointContents::new_v1(transactions.iter().map(info).collect());
        let added = u64::try_from(transactions.len()).unwrap_or(0);
        let summary = CheckpointSummary {
            epoch: self.epoch(),
            sequence_number: self.tip() + 1,
            network_total_transactions: self.total_transactions + added,
            content_digest: contents.digest(),
            previous_digest: self.checkpoints.last().map(|checkpoint| checkpoint.digest),
            epoch_rolling_gas_cost_summary: sum(&self.epoch_gas, gas),
            timestamp_ms,
            checkpoint_commitments: Vec::new(),
            end_of_epoch_data: ends_epoch.then(|| EndOfEpochData {
                next_epoch_committee: Vec::new(),
                next_epoch_protocol_version: PROTOCOL_VERSION,
                epoch_commitments: Vec::new(),
            }),
            version_specific_data: Vec::new(),
        };
        Checkpoint { digest: summary.digest(), summary, contents, transactions }
    }
}

fn genesis_checkpoint(genesis: &Genesis) -> Checkpoint {
    let contents = CheckpointContents::new_v1(Vec::new());
    let summary = CheckpointSummary {
        epoch: 0,
        sequence_number: 0,
        network_total_transactions: 0,
        content_digest: contents.digest(),
        previous_digest: None,
        epoch_rolling_gas_cost_summary: GasCostSummary::new(0, 0, 0, 0),
        timestamp_ms: genesis.timestamp_ms,
        checkpoint_commitments: Vec::new(),
        end_of_epoch_data: None,
        // Two networks started in the same millisecond are still different chains.
        version_specific_data: genesis.fingerprint(),
    };
    Checkpoint { digest: summary.digest(), summary, contents, transactions: Vec::new() }
}

fn sum(a: &GasCostSummary, b: &GasCostSummary) -> GasCostSummary {
    GasCostSummary::new(
        a.computation_cost.saturating_add(b.computation_cost),
        a.storage_cost.saturating_add(b.storage_cost),
        a.storage_rebate.saturating_add(b.storage_rebate),
        a.non_refundable_storage_fee.saturating_add(b.non_refundable_storage_fee),
    )
}

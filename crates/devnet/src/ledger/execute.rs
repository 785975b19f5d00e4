//! One transaction from its inputs to its effects. Pure: the ledger is only read, and what would change
//! comes back as a [`Outcome`] for the caller to store or to throw away.

use super::checks::{self, InputObject, Inputs, Rejection};
use super::object::{self, Body};
use super::runtime::{Context, Failure, Holder, Runtime, Slot, Value};
use super::{Ledger, gas};
use crate::package::World;
use atoma_types::Hash32;
use std::collections::{BTreeMap, BTreeSet};
use sui_sdk_types::{
    Address, BalanceChange, ChangedObject, Digest, ExecutionError, ExecutionStatus, GasCostSummary,
    IdOperation, Input, MovePackage, Object, ObjectData, ObjectIn, ObjectOut, Owner, ProgrammableTransaction,
    Transaction, TransactionEffects, TransactionEffectsV2, TransactionEvents, TypeTag,
    UnchangedConsensusKind, UnchangedConsensusObject, Version,
};

/// Balance of the coin that stands in for gas in a dry run without one.
const MOCK_BALANCE: u64 = 1_000_000_000_000_000_000;

/// How strictly to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As on chain, and to be committed.
    Strict,
    /// As on chain, to look only: chance falls otherwise than it will, or a buyer could try out draws.
    Trial,
    /// Strict, but a coin is made up to pay the gas.
    MockGas,
    /// Nothing is checked before the run, and a coin is made up to pay the gas.
    Lenient,
}

/// Everything a transaction does.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) effects: TransactionEffects,
    pub(crate) events: TransactionEvents,
    pub(crate) before: Vec<Object>,
    pub(crate) written: Vec<Object>,
    pub(crate) deleted: Vec<Address>,
    pub(crate) balance_changes: Vec<BalanceChange>,
    pub(crate) world: Option<World>,
    /// What each command returned.
    pub(crate) returns: Vec<Vec<(TypeTag, Vec<u8>)>>,
    pub(crate) gas: GasCostSummary,
}

impl Outcome {
    /// Version of everything the transaction wrote.
    pub(super) fn effects_lamport(&self) -> Version {
        match &self.effects {
            TransactionEffects::V2(effects) => effects.lamport_version,
            TransactionEffects::V1(_) => 0,
        }
    }
}

pub(crate) fn execute(
    ledger: &Ledger,
    transaction: &Transaction,
    now_ms: u64,
    mode: Mode,
) -> Result<Outcome, Rejection> {
    let digest = transaction.digest();
    let mut inputs = match mode {
        Mode::Strict | Mode::Trial => checks::check(ledger, transaction, now_ms)?,
        Mode::MockGas => checks::check_without_gas(ledger, transaction, now_ms)?,
        Mode::Lenient => checks::lenient(ledger, transaction)?,
    };
    if inputs.gas.is_empty() {
        inputs.gas = mock_gas(transaction).into_iter().collect();
    }
    let programmable = checks::programmable(transaction)?;
    let context = Context {
        sender: transaction.sender,
        digest,
        epoch: ledger.epoch(),
        now_ms,
        random: Hash32::of_parts(&[random_domain(mode), ledger.seed(), digest.as_bytes()]).0,
    };
    // Who only looks need not say what it may cost.
    let budget = if mode == Mode::Lenient { gas::MAX_BUDGET } else { transaction.gas_payment.budget };
    Execution::new(ledger, transaction, programmable, inputs, context, budget).finish()
}

/// What is committed and what is only tried draw from different seeds.
fn random_domain(mode: Mode) -> &'static [u8] {
    match mode {
        Mode::Strict => b"atoma devnet random",
        Mode::Trial | Mode::MockGas | Mode::Lenient => b"atoma devnet trial",
    }
}

fn mock_gas(transaction: &Transaction) -> Option<Object> {
    let id = Address::derive_id(transaction.digest(), u64::MAX);
    Body::coin(id, object::sui(), MOCK_BALANCE).seal(
        1,
        Owner::Address(transaction.gas_payment.owner),
        Digest::ZERO,
    )
}

/// The working state of one run.
struct Execution<'a> {
    ledger: &'a Ledger,
    transaction: &'a Transaction,
    programmable: &'a ProgrammableTransaction,
    context: Context,
    gas_id: Address,
    budget: u64,
    /// Balance of all gas coins together.
    gas_balance: u64,
    /// Objects that this transaction may write, as they were.
    mutable: BTreeMap<Address, Object>,
    readonly: BTreeMap<Address, Object>,
    unchanged: Vec<UnchangedConsensusObject>,
    values: Vec<Value>,
    deleted_input: bool,
    lamport: Version,
}

/// The objects after the run.
struct After {
    status: ExecutionStatus,
    slots: BTreeMap<Address, Slot>,
    packages: Vec<MovePackage>,
    events: TransactionEvents,
    world: Option<World>,
    returns: Vec<Vec<(TypeTag, Vec<u8>)>>,
}

impl<'a> Execution<'a> {
    fn new(
        ledger: &'a Ledger,
        transaction: &'a Transaction,
        programmable: &'a ProgrammableTransaction,
        inputs: Inputs,
        context: Context,
        budget: u64,
    ) -> Self {
        let gas_id = inputs.gas.first().map_or(Address::ZERO, Object::object_id);
        let gas_balance = inputs.gas.iter().filter_map(object::sui_balance).fold(0, u64::saturating_add);
        let mut execution = Self {
            ledger,
            transaction,
            programmable,
            context,
            gas_id,
            budget,
            gas_balance,
            mutable: inputs.gas.into_iter().map(|coin| (coin.object_id(), coin)).collect(),
            readonly: BTreeMap::new(),
            unchanged: Vec::new(),
            values: Vec::new(),
            deleted_input: false,
            lamport: 0,
        };
        for (input, object) in programmable.inputs.iter().zip(inputs.objects) {
            execution.load(input, object);
        }
        let loaded = execution.mutable.values().chain(execution.readonly.values()).map(Object::version).max();
        execution.lamport = execution.lamport.max(loaded.unwrap_or(0)) + 1;
        execution
    }

    fn load(&mut self, input: &Input, object: Option<InputObject>) {
        let value = match (input, object) {
            (Input::Pure(bytes), _) => Value::Pure(bytes.clone()),
            (_, Some(InputObject::Owned(object))) => {
                let id = object.object_id();
                match object.owner() {
                    Owner::Immutable => self.readonly.insert(id, object),
                    _ => self.mutable.insert(id, object),
                };
                Value::Object(id)
            }
            (_, Some(InputObject::Shared { object, mutable: true })) => {
                let id = object.object_id();
                self.mutable.insert(id, object);
                Value::Object(id)
            }
            (_, Some(InputObject::Shared { object, mutable: false })) => {
                let (object_id, version, digest) = (object.object_id(), object.version(), object.digest());
                let kind = UnchangedConsensusKind::ReadOnlyRoot { version, digest };
                self.unchanged.push(UnchangedConsensusObject { object_id, kind });
                self.readonly.insert(object_id, object);
                Value::Object(object_id)
            }
            (_, Some(InputObject::Gone { id, version, mutable })) => {
                let kind = match mutable {
                    true => UnchangedConsensusKind::MutateDeleted { version },
                    false => UnchangedConsensusKind::ReadDeleted { version },
                };
                self.unchanged.push(UnchangedConsensusObject { object_id: id, kind });
                self.lamport = self.lamport.max(version);
                self.deleted_input = true;
                Value::Missing
            }
            (_, None) => Value::Missing,
        };
        self.values.push(value);
    }

    fn finish(self) -> Result<Outcome, Rejection> {
        let (after, gas) = match self.attempt().and_then(|after| self.charge(after)) {
            Ok(done) => done,
            Err(failure) => self.fail(failure),
        };
        Ok(self.outcome(after, gas))
    }

    fn attempt(&self) -> Result<After, Failure> {
        if self.deleted_input {
            return Err(Failure::of(ExecutionError::InputObjectDeleted));
        }
        // The budget is set aside, as on Sui: commands see what is left of the gas coin.
        let budget = self.budget;
        let slots = self.slots(self.gas_balance.saturating_sub(budget));
        let mut runtime = Runtime::new(
            self.context,
            self.programmable,
            slots,
            self.values.clone(),
            self.gas_id,
            self.ledger,
        );
        runtime.run()?;
        let returns = runtime.returns();
        let mut slots = runtime.slots;
        if let Some(slot) = slots.get_mut(&self.gas_id) {
            let rest = slot.body.as_coin().map_or(0, |(_, balance)| balance);
            let balance = rest.saturating_add(budget.min(self.gas_balance));
            slot.body = Body::coin(self.gas_id, object::sui(), balance);
        }
        let world = match runtime.world {
            std::borrow::Cow::Owned(world) => Some(world),
            std::borrow::Cow::Borrowed(_) => None,
        };
        let (events, packages) = (TransactionEvents(runtime.events), runtime.packages);
        Ok(After { status: ExecutionStatus::Success, slots, packages, events, world, returns })
    }

    /// The private copy of the inputs that a run works on; all gas coins in one.
    fn slots(&self, gas_balance: u64) -> BTreeMap<Address, Slot> {
        let slot = |object: &Object, read_only| {
            let holder = match object.owner() {
                Owner::Address(owner) => Holder::Owner(*owner),
                Owner::Shared(_) => Holder::Shared,
                _ => Holder::Immutable,
            };
            object::body(object)
                .map(|body| (object.object_id(), Slot { body, holder, read_only, taken: false }))
        };
        let written = self.mutable.values().filter_map(|object| slot(object, false));
        let read = self.readonly.values().filter_map(|object| slot(object, true));
        let smashed: BTreeSet<Address> =
            self.gas_coins().map(Object::object_id).filter(|id| *id != self.gas_id).collect();
        let mut slots: BTreeMap<Address, Slot> =
            written.chain(read).filter(|(id, _)| !smashed.contains(id)).collect();
        if let Some(slot) = slots.get_mut(&self.gas_id) {
            slot.body = Body::coin(self.gas_id, object::sui(), gas_balance);
        }
        slots
    }

    fn gas_coins(&self) -> impl Iterator<Item = &Object> {
        let named = self.transaction.gas_payment.objects.iter().map(|reference| reference.object_id());
        named.filter_map(|id| self.mutable.get(id))
    }

    /// Takes the bill from the gas coin.
    fn charge(&self, mut after: After) -> Result<(After, GasCostSummary), Failure> {
        let out_of_gas = || Failure::of(ExecutionError::InsufficientGas);
        let bill = self.bill(&after);
        if !gas::within(self.budget, &bill) {
            return Err(out_of_gas());
        }
        let slot = after.slots.get_mut(&self.gas_id).ok_or_else(out_of_gas)?;
        let balance = slot.body.as_coin().map_or(0, |(_, balance)| balance);
        let left = gas::settle(balance, &bill).ok_or_else(out_of_gas)?;
        slot.body = Body::coin(self.gas_id, object::sui(), left);
        Ok((after, bill))
    }

    fn bill(&self, after: &After) -> GasCostSummary {
        let stored = self.written(after).iter().map(Object::storage_rebate).fold(0, u64::saturating_add);
        let released = self.mutable.values().map(Object::storage_rebate).fold(0, u64::saturating_add);
        gas::bill(self.transaction.gas_payment.price, stored, released)
    }

    /// Everything back as it was, but for versions and gas.
    fn fail(&self, failure: Failure) -> (After, GasCostSummary) {
        let after = After {
            status: ExecutionStatus::Failure { error: *failure.error, command: failure.command },
            slots: self.slots(self.gas_balance),
            packages: Vec::new(),
            events: TransactionEvents(Vec::new()),
            world: None,
            returns: Vec::new(),
        };
        let mut bill = self.bill(&after);
        let budget = self.budget;
        if !gas::within(budget, &bill) {
            // Storage cannot be paid for: what is left of the budget goes to computation.
            bill.computation_cost =
                budget.saturating_add(bill.storage_rebate).saturating_sub(bill.storage_cost);
        }
        let mut after = after;
        if let (Some(slot), Some(left)) =
            (after.slots.get_mut(&self.gas_id), gas::settle(self.gas_balance, &bill))
        {
            slot.body = Body::coin(self.gas_id, object::sui(), left);
        }
        (after, bill)
    }

    /// All objects that get a new version.
    fn written(&self, after: &After) -> Vec<Object> {
        let previous = self.context.digest;
        let changed = after.slots.iter().filter(|(id, _)| !self.readonly.contains_key(*id));
        let packages = after.packages.iter().map(|package| object::package(package.clone(), previous));
        changed
            .filter_map(|(id, slot)| {
                let owner = match slot.holder {
                    Holder::Owner(owner) => Owner::Address(owner),
                    Holder::Shared => match self.mutable.get(id).map(Object::owner) {
                        Some(Owner::Shared(start)) => Owner::Shared(*start),
                        _ => Owner::Shared(self.lamport),
                    },
                    Holder::Immutable | Holder::Hand => Owner::Immutable,
                };
                slot.body.clone().seal(self.lamport, owner, previous)
            })
            .chain(packages)
            .collect()
    }

    fn outcome(self, after: After, gas: GasCostSummary) -> Outcome {
        let written = self.written(&after);
        let kept: BTreeSet<Address> = written.iter().map(Object::object_id).collect();
        let deleted: Vec<Address> = self.mutable.keys().filter(|id| !kept.contains(id)).copied().collect();
        let changed_objects = self.changes(&written, &deleted);
        let gas_index = changed_objects.iter().position(|change| change.object_id == self.gas_id);
        let dependencies: BTreeSet<Digest> =
            self.mutable.values().chain(self.readonly.values()).map(Object::previous_transaction).collect();
        let effects = TransactionEffectsV2 {
            status: after.status,
            epoch: self.context.epoch,
            gas_used: gas.clone(),
            transaction_digest: self.context.digest,
            gas_object_index: gas_index.and_then(|index| u32::try_from(index).ok()),
            events_digest: (!after.events.0.is_empty()).then(|| after.events.digest()),
            dependencies: dependencies.into_iter().filter(|digest| *digest != Digest::ZERO).collect(),
            lamport_version: self.lamport,
            changed_objects,
            unchanged_consensus_objects: self.unchanged,
            auxiliary_data_digest: None,
        };
        let before: Vec<Object> = self.mutable.into_values().collect();
        Outcome {
            effects: TransactionEffects::V2(Box::new(effects)),
            events: after.events,
            balance_changes: balance_changes(&before, &written),
            before,
            written,
            deleted,
            world: after.world,
            returns: after.returns,
            gas,
        }
    }

    fn changes(&self, written: &[Object], deleted: &[Address]) -> Vec<ChangedObject> {
        let input_state = |id: &Address| match self.mutable.get(id) {
            Some(object) => {
                ObjectIn::Exist { version: object.version(), digest: object.digest(), owner: *object.owner() }
            }
            None => ObjectIn::NotExist,
        };
        let writes = written.iter().map(|object| {
            let object_id = object.object_id();
            let output_state = match object.data() {
                ObjectData::Package(package) => {
                    ObjectOut::PackageWrite { version: package.version, digest: object.digest() }
                }
                _ => ObjectOut::ObjectWrite { digest: object.digest(), owner: *object.owner() },
            };
            let id_operation = match self.mutable.contains_key(&object_id) {
                true => IdOperation::None,
                false => IdOperation::Created,
            };
            ChangedObject { object_id, input_state: input_state(&object_id), output_state, id_operation }
        });
        let deletions = deleted.iter().map(|id| ChangedObject {
            object_id: *id,
            input_state: input_state(id),
            output_state: ObjectOut::NotExist,
            id_operation: IdOperation::Deleted,
        });
        let mut changes: Vec<ChangedObject> = writes.chain(deletions).collect();
        changes.sort_by_key(|change| change.object_id);
        changes
    }
}

fn balance_changes(before: &[Object], after: &[Object]) -> Vec<BalanceChange> {
    let mut sums: BTreeMap<(Address, TypeTag), i128> = BTreeMap::new();
    for (objects, sign) in [(before, -1), (after, 1)] {
        for object in objects {
            if let (Owner::Address(owner), Some((coin, balance))) = (object.owner(), object::coin(object)) {
                *sums.entry((*owner, coin.clone())).or_default() += sign * i128::from(balance);
            }
        }
    }
    let changed = sums.into_iter().filter(|(_, amount)| *amount != 0);
    changed.map(|((address, coin_type), amount)| BalanceChange { address, coin_type, amount }).collect()
}

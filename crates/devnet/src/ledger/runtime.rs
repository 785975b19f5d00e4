//! Runs the commands of one programmable transaction over a private copy of its inputs.

use super::Ledger;
use super::object::Body;
use crate::package::{self, Brittle, By, Call, Operand, Param, World};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use sui_sdk_types::{
    Address, Argument, Command, CommandArgumentError, Digest, Event, ExecutionError, Identifier,
    MakeMoveVector, MergeCoins, MoveCall, MoveLocation, MovePackage, ProgrammableTransaction, SplitCoins,
    TransferObjects, TypeTag,
};

/// Why a transaction that was tried has no effect but its gas.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: Box<ExecutionError>,
    pub(super) command: Option<u64>,
}

impl Failure {
    /// A failure of the transaction as a whole.
    pub(super) fn of(error: ExecutionError) -> Self {
        Self { error: Box::new(error), command: None }
    }
}

/// Who holds a value at this point of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Owner(Address),
    Shared,
    Immutable,
    /// Created in this transaction and not given to anybody yet.
    Hand,
}

/// One object in the working copy.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) body: Body,
    pub(super) holder: Holder,
    pub(super) read_only: bool,
    /// Moved out by value: later commands may not name it.
    pub(super) taken: bool,
}

/// An argument's value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Pure(Vec<u8>),
    Object(Address),
    Data(TypeTag, Vec<u8>),
    /// What must be handed on within the transaction.
    Brittle(Brittle, Vec<u8>),
    Missing,
}

/// What surrounds the run.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) sender: Address,
    pub(super) digest: Digest,
    pub(super) epoch: u64,
    pub(super) now_ms: u64,
    /// The seed that `0x8` yields in this transaction.
    pub(super) random: [u8; 32],
}

pub(super) struct Runtime<'a> {
    pub(super) context: Context,
    programmable: &'a ProgrammableTransaction,
    gas: Address,
    inputs: Vec<Value>,
    results: Vec<Vec<Value>>,
    pub(super) next_id: u64,
    pub(super) slots: BTreeMap<Address, Slot>,
    /// Gone in this run.
    deleted: BTreeSet<Address>,
    pub(super) events: Vec<Event>,
    /// Published in this run.
    pub(super) packages: Vec<MovePackage>,
    pub(super) ledger: &'a Ledger,
    pub(super) world: Cow<'a, World>,
}

pub(super) type Step<T> = Result<T, ExecutionError>;

fn bad(argument: usize, kind: CommandArgumentError) -> ExecutionError {
    ExecutionError::CommandArgumentError { argument: u16::try_from(argument).unwrap_or(u16::MAX), kind }
}

impl<'a> Runtime<'a> {
    pub(super) fn new(
        context: Context,
        programmable: &'a ProgrammableTransaction,
        slots: BTreeMap<Address, Slot>,
        inputs: Vec<Value>,
        gas: Address,
        ledger: &'a Ledger,
    ) -> Self {
        Self {
            context,
            programmable,
            gas,
            inputs,
            results: Vec::new(),
            next_id: 0,
            slots,
            deleted: BTreeSet::new(),
            events: Vec::new(),
            packages: Vec::new(),
            ledger,
            world: Cow::Borrowed(ledger.world()),
        }
    }

    pub(super) fn run(&mut self) -> Result<(), Failure> {
        for (index, command) in self.programmable.commands.iter().enumerate() {
            let failed = |error| Failure { error: Box::new(error), command: u64::try_from(index).ok() };
            let results = self.step(command).map_err(failed)?;
            self.results.push(results);
        }
        self.check_all_placed()
    }

    /// What every command returned, as far as it is plain data.
    pub(super) fn returns(&self) -> Vec<Vec<(TypeTag, Vec<u8>)>> {
        let data = |value: &Value| match value {
            Value::Data(tag, bytes) => Some((tag.clone(), bytes.clone())),
            Value::Object(id) => {
                self.slots.get(id).map(|slot| (slot.body.tag.clone().into(), slot.body.contents.clone()))
            }
            _ => None,
        };
        self.results.iter().map(|values| values.iter().filter_map(data).collect()).collect()
    }

    fn step(&mut self, command: &Command) -> Step<Vec<Value>> {
        match command {
            Command::SplitCoins(split) => self.split(split),
            Command::MergeCoins(merge) => self.merge(merge),
            Command::TransferObjects(transfer) => self.transfer(transfer),
            Command::MakeMoveVector(make) => self.make_vector(make),
            Command::MoveCall(call) => self.call(call),
            Command::Publish(publish) => self.publish(publish),
            Command::Upgrade(upgrade) => self.upgrade(upgrade),
            _ => Err(ExecutionError::FeatureNotYetSupported),
        }
    }

    fn split(&mut self, split: &SplitCoins) -> Step<Vec<Value>> {
        let source = self.borrow(0, &split.coin, true)?;
        let mut coins = Vec::new();
        for (index, amount) in split.amounts.iter().enumerate() {
            let amount: u64 = self.pure(index + 1, amount)?;
            let (tag, balance) = self.coin(0, source)?;
            let rest = balance.checked_sub(amount).ok_or(ExecutionError::InsufficientCoinBalance)?;
            self.set_balance(source, tag.clone(), rest);
            let id = self.fresh_id();
            self.create(Body::coin(id, tag, amount), Holder::Hand);
            coins.push(Value::Object(id));
        }
        Ok(coins)
    }

    fn merge(&mut self, merge: &MergeCoins) -> Step<Vec<Value>> {
        let target = self.borrow(0, &merge.coin, true)?;
        for (index, source) in merge.coins_to_merge.iter().enumerate() {
            let source = self.take(index + 1, source)?;
            let ((tag, balance), (other, added)) = (self.coin(0, target)?, self.coin(index + 1, source)?);
            if source == target {
                return Err(bad(index + 1, CommandArgumentError::InvalidValueUsage));
            }
            if tag != other {
                return Err(bad(index + 1, CommandArgumentError::TypeMismatch));
            }
            let sum = balance.checked_add(added).ok_or(ExecutionError::CoinBalanceOverflow)?;
            self.set_balance(target, tag, sum);
            self.delete(source);
        }
        Ok(Vec::new())
    }

    fn transfer(&mut self, transfer: &TransferObjects) -> Step<Vec<Value>> {
        let to: Address = self.pure(transfer.objects.len(), &transfer.address)?;
        for (index, object) in transfer.objects.iter().enumerate() {
            let id = match object {
                Argument::Gas => self.take_gas(index)?,
                other => self.take(index, other)?,
            };
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.holder = Holder::Owner(to);
            }
        }
        Ok(Vec::new())
    }

    /// Vectors of plain values; no entry point takes a vector of objects.
    fn make_vector(&mut self, make: &MakeMoveVector) -> Step<Vec<Value>> {
        let Some(element) = &make.type_ else {
            return Err(bad(0, CommandArgumentError::InvalidMakeMoveVecNonObjectArgument));
        };
        let mut bytes = package::length_prefix(make.elements.len());
        for (index, argument) in make.elements.iter().enumerate() {
            match self.value(index, argument)? {
                Value::Pure(value) if package::is_valid(element, value) => bytes.extend(value),
                Value::Data(tag, value) if tag == element => bytes.extend(value),
                Value::Pure(_) => return Err(bad(index, CommandArgumentError::InvalidBcsBytes)),
                _ => return Err(bad(index, CommandArgumentError::TypeMismatch)),
            }
        }
        Ok(vec![Value::Data(TypeTag::Vector(Box::new(element.clone())), bytes)])
    }

    fn call(&mut self, call: &MoveCall) -> Step<Vec<Value>> {
        let found = self.world.find(call.package, call.module.as_str(), call.function.as_str());
        let (index, function) = found.ok_or(ExecutionError::FunctionNotFound)?;
        if call.type_arguments.len() != function.type_arguments {
            return Err(ExecutionError::TypeArityMismatch);
        }
        if call.arguments.len() != function.params.len() {
            return Err(ExecutionError::ArityMismatch);
        }
        let mut operands = Vec::new();
        for (index, (argument, param)) in call.arguments.iter().zip(function.params).enumerate() {
            operands.push(self.operand(index, argument, *param, call)?);
        }
        let package = self.world.origin(call.package);
        let outcome = package::call(Call {
            function,
            package,
            operands,
            type_arguments: &call.type_arguments,
            world: &self.world,
            sender: self.context.sender,
            digest: self.context.digest,
            epoch: self.context.epoch,
            now_ms: self.context.now_ms,
            random: self.context.random,
            next_id: self.next_id,
        });
        let outcome = outcome.map_err(|code| abort(call, index, code))?;
        Ok(self.absorb(outcome, package, &call.module))
    }

    fn operand(&mut self, index: usize, argument: &Argument, param: Param, call: &MoveCall) -> Step<Operand> {
        let (kind, by) = match param {
            Param::Object(kind, by) => (kind, by),
            Param::Pure(kind) => return self.pure_operand(index, argument, &kind.tag()),
            Param::Brittle(kind) => return self.take_brittle(index, argument, kind).map(Operand::Pure),
        };
        let id = match by {
            By::Ref => self.borrow(index, argument, false)?,
            By::Mut => self.borrow(index, argument, true)?,
            By::Value => self.take_any(index, argument)?,
        };
        let slot = self.slots.get(&id).ok_or(bad(index, CommandArgumentError::InvalidValueUsage))?;
        if !kind.accepts(self.world.origin(call.package), &slot.body.tag, &call.type_arguments) {
            return Err(bad(index, CommandArgumentError::TypeMismatch));
        }
        let contents = slot.body.contents.clone();
        if by == By::Value {
            self.delete(id);
        }
        Ok(Operand::Object { id, contents })
    }

    fn pure_operand(&self, index: usize, argument: &Argument, tag: &TypeTag) -> Step<Operand> {
        match self.value(index, argument)? {
            Value::Pure(bytes) if package::is_valid(tag, bytes) => Ok(Operand::Pure(bytes.clone())),
            Value::Data(found, bytes) if found == tag => Ok(Operand::Pure(bytes.clone())),
            Value::Pure(_) => Err(bad(index, CommandArgumentError::InvalidBcsBytes)),
            _ => Err(bad(index, CommandArgumentError::TypeMismatch)),
        }
    }

    pub(super) fn absorb(
        &mut self,
        outcome: package::Outcome,
        package: Address,
        module: &Identifier,
    ) -> Vec<Value> {
        self.next_id = outcome.next_id;
        for (id, contents) in outcome.updated {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.body.contents = contents;
            }
        }
        for id in outcome.deleted {
            self.delete(id);
        }
        for (body, owner) in outcome.created {
            self.create(body, owner.map_or(Holder::Shared, Holder::Owner));
        }
        let sender = self.context.sender;
        self.events.extend(outcome.events.into_iter().map(|(type_, contents)| Event {
            package_id: package,
            module: module.clone(),
            sender,
            type_,
            contents,
        }));
        if let Some(world) = outcome.world {
            self.world = Cow::Owned(world);
        }
        let ticket = Brittle::Ticket.tag();
        let value = |(tag, bytes)| match tag == ticket {
            true => Value::Brittle(Brittle::Ticket, bytes),
            false => Value::Data(tag, bytes),
        };
        outcome.returns.into_iter().map(value).collect()
    }

    /// Coins, caps and tickets may not be dropped: whatever was made must have found an owner.
    fn check_all_placed(&self) -> Result<(), Failure> {
        let in_hand = |value: &Value| match value {
            Value::Object(id) => self.slots.get(id).is_some_and(|slot| slot.holder == Holder::Hand),
            Value::Brittle(..) => true,
            _ => false,
        };
        for (result, values) in (0u16..).zip(&self.results) {
            if let Some((subresult, _)) = (0u16..).zip(values).find(|(_, value)| in_hand(value)) {
                return Err(Failure::of(ExecutionError::UnusedValueWithoutDrop { result, subresult }));
            }
        }
        Ok(())
    }

    fn value(&self, index: usize, argument: &Argument) -> Step<&Value> {
        let out_of_bounds =
            |index_of: u16| bad(index, CommandArgumentError::IndexOutOfBounds { index: index_of });
        match *argument {
            Argument::Gas => Err(bad(index, CommandArgumentError::InvalidGasCoinUsage)),
            Argument::Input(input) => self.inputs.get(usize::from(input)).ok_or_else(|| out_of_bounds(input)),
            Argument::Result(result) => {
                match self.results.get(usize::from(result)).ok_or_else(|| out_of_bounds(result))?.as_slice() {
                    [value] => Ok(value),
                    _ => Err(bad(index, CommandArgumentError::InvalidResultArity { result })),
                }
            }
            Argument::NestedResult(result, subresult) => {
                let values = self.results.get(usize::from(result)).ok_or_else(|| out_of_bounds(result))?;
                let missing = CommandArgumentError::SecondaryIndexOutOfBounds { result, subresult };
                values.get(usize::from(subresult)).ok_or_else(|| bad(index, missing))
            }
        }
    }

    fn pure<T: serde::de::DeserializeOwned>(&self, index: usize, argument: &Argument) -> Step<T> {
        match self.value(index, argument)? {
            Value::Pure(bytes) | Value::Data(_, bytes) => {
                ::bcs::from_bytes(bytes).map_err(|_| bad(index, CommandArgumentError::InvalidBcsBytes))
            }
            _ => Err(bad(index, CommandArgumentError::TypeMismatch)),
        }
    }

    fn object(&self, index: usize, argument: &Argument) -> Step<Address> {
        let id = match argument {
            Argument::Gas => self.gas,
            other => match self.value(index, other)? {
                Value::Object(id) => *id,
                Value::Missing => return Err(ExecutionError::InputObjectDeleted),
                Value::Pure(_) => return Err(bad(index, CommandArgumentError::InvalidUsageOfPureArgument)),
                Value::Data(..) | Value::Brittle(..) => {
                    return Err(bad(index, CommandArgumentError::TypeMismatch));
                }
            },
        };
        match self.slots.get(&id) {
            Some(slot) if !slot.taken => Ok(id),
            _ => Err(bad(index, CommandArgumentError::InvalidValueUsage)),
        }
    }

    fn borrow(&self, index: usize, argument: &Argument, mutably: bool) -> Step<Address> {
        let id = self.object(index, argument)?;
        if mutably && self.slots.get(&id).is_some_and(|slot| slot.read_only) {
            return Err(bad(index, CommandArgumentError::InvalidObjectByMutRef));
        }
        Ok(id)
    }

    /// Moves an object that is not shared out of its argument. The gas coin can only be transferred.
    fn take(&mut self, index: usize, argument: &Argument) -> Step<Address> {
        let id = self.take_any(index, argument)?;
        match self.slots.get(&id).map(|slot| &slot.holder) {
            Some(Holder::Shared) => Err(bad(index, CommandArgumentError::InvalidObjectByValue)),
            _ => Ok(id),
        }
    }

    /// The same for a Move call, which may take a shared object too: it deletes it or shares it again.
    fn take_any(&mut self, index: usize, argument: &Argument) -> Step<Address> {
        if *argument == Argument::Gas {
            return Err(bad(index, CommandArgumentError::InvalidGasCoinUsage));
        }
        let id = self.object(index, argument)?;
        match self.slots.get_mut(&id) {
            Some(slot) if !slot.read_only && slot.holder != Holder::Immutable => slot.taken = true,
            _ => return Err(bad(index, CommandArgumentError::InvalidObjectByValue)),
        }
        Ok(id)
    }

    /// Moves a ticket or a receipt out of the result that it is.
    pub(super) fn take_brittle(
        &mut self,
        index: usize,
        argument: &Argument,
        wanted: Brittle,
    ) -> Step<Vec<u8>> {
        let bytes = match self.value(index, argument)? {
            Value::Brittle(found, bytes) if *found == wanted => bytes.clone(),
            Value::Missing => return Err(bad(index, CommandArgumentError::InvalidValueUsage)),
            _ => return Err(bad(index, CommandArgumentError::TypeMismatch)),
        };
        let (Argument::Result(result) | Argument::NestedResult(result, _)) = *argument else {
            return Err(bad(index, CommandArgumentError::TypeMismatch));
        };
        // Only the one result of a call is brittle.
        if let Some(values) = self.results.get_mut(usize::from(result)) {
            values.fill(Value::Missing);
        }
        Ok(bytes)
    }

    fn take_gas(&mut self, index: usize) -> Step<Address> {
        let id = self.object(index, &Argument::Gas)?;
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.taken = true;
        }
        Ok(id)
    }

    fn coin(&self, index: usize, id: Address) -> Step<(TypeTag, u64)> {
        let coin = self.slots.get(&id).and_then(|slot| slot.body.as_coin());
        coin.map(|(tag, balance)| (tag.clone(), balance))
            .ok_or(bad(index, CommandArgumentError::TypeMismatch))
    }

    fn set_balance(&mut self, id: Address, coin: TypeTag, balance: u64) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.body = Body::coin(id, coin, balance);
        }
    }

    pub(super) fn create(&mut self, body: Body, holder: Holder) {
        if let Some(id) = body.contents.get(..Address::LENGTH).and_then(|id| Address::from_bytes(id).ok()) {
            // What a call took by value and shared again has left its argument for good.
            let taken = self.deleted.remove(&id);
            self.slots.insert(id, Slot { body, holder, read_only: false, taken });
        }
    }

    fn delete(&mut self, id: Address) {
        self.slots.remove(&id);
        self.deleted.insert(id);
    }

    pub(super) fn fresh_id(&mut self) -> Address {
        let id = Address::derive_id(self.context.digest, self.next_id);
        self.next_id += 1;
        id
    }
}

fn abort(call: &MoveCall, function: u16, code: u64) -> ExecutionError {
    let location = MoveLocation {
        package: call.package,
        module: call.module.clone(),
        function,
        instruction: 0,
        function_name: Some(call.function.clone()),
    };
    ExecutionError::MoveAbort { location, code }
}

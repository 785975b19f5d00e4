//! From a [`Call`] to the commands of a programmable transaction: first the Move calls with their
//! arguments as data, then, once versions, badges and coins are known, the commands. Pure.

pub(crate) mod steps;

use crate::call::{AcquireStack, AdminCall, ClaimStep, DisputeCall, Grow, RegisterNode};
use crate::client::Types;
use crate::{Call, ChainError, Deployment};
use atoma_types::onchain::Package;
use atoma_types::{Address, Amount, NodeId, TaskId, Units};
use std::collections::{BTreeSet, HashMap};
use steps::MoveCall;
use sui_sdk_types::{Identifier, ObjectReference};
use sui_transaction_builder::{Argument, Function, ObjectInput, TransactionBuilder};

/// One command, or one with what leads to it.
pub(crate) enum Step {
    Call(MoveCall),
    SendCoin {
        to: Address,
        amount: Amount,
    },
    SendGas {
        to: Address,
        amount: u64,
    },
    SendObjects {
        to: Address,
        objects: Vec<Held>,
    },
    /// The upgrade cap goes to `to`.
    Publish {
        package: Package,
        to: Address,
    },
    /// The call that gives the ticket, the package in place of `replaces`, and the call that takes the receipt.
    Upgrade {
        authorize: MoveCall,
        package: Package,
        replaces: Address,
        commit: MoveCall,
    },
}

/// An argument in words.
pub(crate) enum Arg {
    /// A shared object, read or written.
    Read(Address),
    Write(Address),
    /// An object of the sender's.
    Held(Held),
    /// A coin of exactly this amount.
    Coin(Amount),
    /// BCS.
    Pure(Vec<u8>),
}

/// An object that the sender owns and a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Held {
    /// The badge of a node.
    Node(NodeId),
    /// The badge of a task.
    Task(TaskId),
    /// The market's `AdminCap`.
    Admin,
    Object(Address),
}

impl Held {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Node(_) => "node badge",
            Self::Task(_) => "task badge",
            Self::Admin => "admin cap",
            Self::Object(_) => "object",
        }
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(node) => write!(f, "badge of node {node}"),
            Self::Task(task) => write!(f, "badge of task {task}"),
            Self::Admin => write!(f, "admin cap of this market"),
            Self::Object(id) => write!(f, "object {id}"),
        }
    }
}

/// What must be found before a call can be built.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Shared objects whose initial versions must be known.
    pub(crate) shared: BTreeSet<Address>,
    pub(crate) held: BTreeSet<Held>,
    /// Coins of the market to hand in.
    pub(crate) coin: Amount,
    /// SUI that leaves with the call, besides gas.
    pub(crate) gas: u64,
}

/// The answers to [`Needs`].
pub(crate) struct Inputs<'a> {
    pub(crate) package: Address,
    pub(crate) types: &'a Types,
    pub(crate) shared: &'a HashMap<Address, u64>,
    pub(crate) held: &'a HashMap<Held, ObjectReference>,
    /// Coins worth at least `Needs::coin`; the first keeps the rest.
    pub(crate) coins: Vec<ObjectReference>,
    /// Whether `coins` are worth exactly what is needed.
    pub(crate) exact: bool,
}

impl Call {
    /// Refuses what could never execute, before any coin is reserved.
    pub(crate) fn check(&self, deployment: &Deployment) -> Result<(), ChainError> {
        let invalid =
            |reason: &str| Err(ChainError::InvalidCall { call: self.name(), reason: reason.to_owned() });
        match self {
            Self::Settle(vouchers) | Self::Claim(vouchers) if vouchers.is_empty() => {
                invalid("there is no voucher")
            }
            Self::Settle(vouchers) | Self::Claim(vouchers) if vouchers.len() > Self::SETTLE_MAX => {
                invalid("too many vouchers for one transaction: send them in parts")
            }
            Self::Settle(vouchers) | Self::Claim(vouchers)
                if vouchers.iter().any(|voucher| voucher.message.db != deployment.db) =>
            {
                invalid("a voucher belongs to another market")
            }
            Self::Grow(Grow { units: Units(0), opens, .. }) if opens.is_empty() => invalid("nothing grows"),
            Self::Grow(grow) if grow.opens.iter().any(|open| open.stack != grow.stack) => {
                invalid("a channel is of another stack")
            }
            Self::Grow(Grow { units: Units(1..), payment: Amount(0), .. }) => invalid("the payment is zero"),
            Self::Dispute(DisputeCall::Open { request, .. }) if request.message.db != deployment.db => {
                invalid("the request belongs to another market")
            }
            Self::TransferCoin { amount: Amount(0), .. }
            | Self::TransferGas { amount: 0, .. }
            | Self::AddCollateral { amount: Amount(0), .. }
            | Self::Admin(AdminCall::PayFromTreasury { amount: Amount(0), .. }) => {
                invalid("the amount is zero")
            }
            Self::RegisterNode(RegisterNode { payment: Amount(0), .. })
            | Self::AcquireStack(AcquireStack { payment: Amount(0), .. })
            | Self::TopUp { payment: Amount(0), .. }
            | Self::OnClaim { step: ClaimStep::Challenge { payment: Amount(0), .. }, .. }
            | Self::Dispute(
                DisputeCall::Open { payment: Amount(0), .. }
                | DisputeCall::AnswerRefused { payment: Amount(0), .. },
            ) => invalid("the payment is zero"),
            Self::Deploy(deploy) => deploy.check(),
            _ => Ok(()),
        }
    }
}

/// What these steps need.
pub(crate) fn needs(steps: &[Step]) -> Needs {
    let mut needs = Needs::default();
    for step in steps {
        match step {
            Step::SendCoin { amount, .. } => needs.coin = *amount,
            Step::SendGas { amount, .. } => needs.gas = *amount,
            Step::SendObjects { objects, .. } => needs.held.extend(objects),
            Step::Call(call) => needs.note_all(call),
            Step::Publish { .. } => {}
            Step::Upgrade { authorize, commit, .. } => {
                needs.note_all(authorize);
                needs.note_all(commit);
            }
        }
    }
    needs
}

impl Needs {
    fn note_all(&mut self, call: &MoveCall) {
        call.arguments.iter().for_each(|argument| self.note(argument));
    }

    fn note(&mut self, argument: &Arg) {
        match argument {
            Arg::Read(id) | Arg::Write(id) => {
                self.shared.insert(*id);
            }
            Arg::Held(held) => {
                self.held.insert(*held);
            }
            Arg::Coin(amount) => self.coin = *amount,
            Arg::Pure(_) => {}
        }
    }
}

/// The steps as commands. Fails only if `inputs` lacks what [`needs`] named.
pub(crate) fn build(steps: Vec<Step>, inputs: &Inputs<'_>) -> Result<TransactionBuilder, ChainError> {
    let mut commands = Commands { builder: TransactionBuilder::new(), inputs };
    for step in steps {
        commands.add(step)?;
    }
    Ok(commands.builder)
}

struct Commands<'a> {
    builder: TransactionBuilder,
    inputs: &'a Inputs<'a>,
}

impl Commands<'_> {
    fn add(&mut self, step: Step) -> Result<(), ChainError> {
        match step {
            Step::Call(call) => {
                self.call(call, None)?;
            }
            Step::Publish { package, to } => {
                let (modules, dependencies) = (package.bytecode().to_vec(), package.dependencies().to_vec());
                let cap = self.builder.publish(modules, dependencies);
                self.transfer(vec![cap], to);
            }
            Step::Upgrade { authorize, package, replaces, commit } => {
                let ticket = self.call(authorize, None)?;
                let (modules, dependencies) = (package.bytecode().to_vec(), package.dependencies().to_vec());
                let receipt = self.builder.upgrade(modules, dependencies, replaces, ticket);
                self.call(commit, Some(receipt))?;
            }
            Step::SendCoin { to, amount } => {
                let coin = self.payment(amount)?;
                self.transfer(vec![coin], to);
            }
            Step::SendObjects { to, objects } => {
                let objects = objects.into_iter().map(|held| self.argument(Arg::Held(held)));
                let objects = objects.collect::<Result<Vec<_>, _>>()?;
                self.transfer(objects, to);
            }
            Step::SendGas { to, amount } => {
                let gas = self.builder.gas();
                let amount = self.builder.pure(&amount);
                let coins = self.builder.split_coins(gas, vec![amount]);
                self.transfer(coins, to);
            }
        }
        Ok(())
    }

    /// `last` comes behind the call's own arguments.
    fn call(&mut self, call: MoveCall, last: Option<Argument>) -> Result<Argument, ChainError> {
        let MoveCall { generic, module, function, arguments } = call;
        let arguments: Result<Vec<_>, _> =
            arguments.into_iter().map(|argument| self.argument(argument)).collect();
        let (module, name) = (Identifier::from_static(module), Identifier::from_static(function));
        let types = if generic { vec![self.inputs.types.coin.clone()] } else { Vec::new() };
        let function = Function::new(self.inputs.package, module, name).with_type_args(types);
        Ok(self.builder.move_call(function, arguments?.into_iter().chain(last).collect()))
    }

    fn argument(&mut self, argument: Arg) -> Result<Argument, ChainError> {
        match argument {
            Arg::Read(id) => self.shared(id, false),
            Arg::Write(id) => self.shared(id, true),
            Arg::Held(held) => {
                let reference = self.inputs.held.get(&held).ok_or_else(|| missing(held.name()))?;
                Ok(self.builder.object(owned(reference)))
            }
            Arg::Coin(amount) => self.payment(amount),
            Arg::Pure(bytes) => Ok(self.builder.pure_bytes(bytes)),
        }
    }

    fn shared(&mut self, id: Address, mutable: bool) -> Result<Argument, ChainError> {
        let version = self.inputs.shared.get(&id).ok_or(ChainError::NotFound { id })?;
        Ok(self.builder.object(ObjectInput::shared(id, *version, mutable)))
    }

    /// One coin of exactly `amount`: the coins merged into the first, and the amount split off.
    fn payment(&mut self, amount: Amount) -> Result<Argument, ChainError> {
        let mut coins = self.inputs.coins.iter().map(|coin| self.builder.object(owned(coin)));
        let first = coins.next();
        let others: Vec<Argument> = coins.collect();
        let first = first.ok_or_else(|| missing("coin"))?;
        if !others.is_empty() {
            self.builder.merge_coins(first, others);
        }
        if self.inputs.exact {
            return Ok(first);
        }
        let amount = self.builder.pure(&amount);
        let coins = self.builder.split_coins(first, vec![amount]);
        coins.into_iter().next().ok_or_else(|| missing("coin"))
    }

    fn transfer(&mut self, coins: Vec<Argument>, to: Address) {
        let to = self.builder.pure(&to);
        self.builder.transfer_objects(coins, to);
    }
}

fn missing(what: &str) -> ChainError {
    ChainError::InvalidCall { call: "build", reason: format!("the {what} is missing") }
}

pub(crate) fn owned(reference: &ObjectReference) -> ObjectInput {
    ObjectInput::owned(*reference.object_id(), reference.version(), *reference.digest())
}

#[cfg(test)]
mod tests;

//! From a [`Call`] to the commands of a programmable transaction: first the Move calls with their
//! arguments as data, then, once versions, badges and coins are known, the commands. Pure.

use crate::call::{AcquireStack, AddModel, CreateTask, OpenChannel, RegisterNode, Subscribe};
use crate::client::{CLOCK, RANDOM, Types};
use crate::{Call, ChainError, Deployment};
use atoma_types::{Address, Amount, NodeId, Signed, Voucher};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use sui_sdk_types::{Identifier, ObjectReference};
use sui_transaction_builder::{Argument, Function, ObjectInput, TransactionBuilder};

/// One command, or one with what leads to it.
pub(crate) enum Step {
    Call { module: &'static str, function: &'static str, arguments: Vec<Arg> },
    SendCoin { to: Address, amount: Amount },
    SendGas { to: Address, amount: u64 },
}

/// An argument in words.
pub(crate) enum Arg {
    /// A shared object, read or written.
    Read(Address),
    Write(Address),
    /// The sender's badge of this node.
    Badge(NodeId),
    /// A coin of exactly this amount.
    Coin(Amount),
    /// BCS.
    Pure(Vec<u8>),
}

/// What must be found before a call can be built.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Shared objects whose initial versions must be known.
    pub(crate) shared: BTreeSet<Address>,
    pub(crate) badge: Option<NodeId>,
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
    pub(crate) badge: Option<ObjectReference>,
    /// Coins worth at least `Needs::coin`; the first keeps the rest.
    pub(crate) coins: Vec<ObjectReference>,
    /// Whether `coins` are worth exactly what is needed.
    pub(crate) exact: bool,
}

fn pure<T: Serialize>(value: &T) -> Arg {
    #[expect(clippy::expect_used, reason = "BCS of ids, amounts and strings into memory cannot fail")]
    Arg::Pure(bcs::to_bytes(value).expect("plain value"))
}

fn call(module: &'static str, function: &'static str, arguments: Vec<Arg>) -> Vec<Step> {
    vec![Step::Call { module, function, arguments }]
}

impl Call {
    /// Refuses what could never execute, before any coin is reserved.
    pub(crate) fn check(&self, deployment: &Deployment) -> Result<(), ChainError> {
        let invalid =
            |reason: &str| Err(ChainError::InvalidCall { call: self.name(), reason: reason.to_owned() });
        match self {
            Self::Settle(vouchers) if vouchers.is_empty() => invalid("there is no voucher"),
            Self::Settle(vouchers) if vouchers.len() > Self::SETTLE_MAX => {
                invalid("too many vouchers for one transaction: send them in parts")
            }
            Self::Settle(vouchers) if vouchers.iter().any(|voucher| voucher.message.db != deployment.db) => {
                invalid("a voucher belongs to another market")
            }
            Self::TransferCoin { amount: Amount(0), .. } | Self::TransferGas { amount: 0, .. } => {
                invalid("the amount is zero")
            }
            Self::RegisterNode(RegisterNode { payment: Amount(0), .. })
            | Self::AcquireStack(AcquireStack { payment: Amount(0), .. }) => invalid("the payment is zero"),
            _ => Ok(()),
        }
    }

    /// The Move calls that this is.
    pub(crate) fn steps(&self, deployment: &Deployment) -> Vec<Step> {
        let (db, treasury) = (deployment.db, deployment.treasury);
        match self {
            Self::RegisterNode(register) => call("node", "register", register.arguments(db, treasury)),
            Self::SetEndpoint { node, endpoint } => {
                call("node", "set_endpoint", vec![Arg::Write(db), Arg::Badge(*node), pure(endpoint)])
            }
            Self::DisableNode { node } => {
                call("node", "disable", vec![Arg::Write(db), Arg::Badge(*node), Arg::Read(CLOCK)])
            }
            Self::WithdrawCollateral { node } => {
                let arguments = vec![Arg::Write(db), Arg::Badge(*node), Arg::Read(CLOCK)];
                call("node", "withdraw_collateral", arguments)
            }
            Self::AddModel(add) => call("model", "add", add.arguments(db)),
            Self::CreateTask(create) => call("task", "create", create.arguments(db)),
            Self::Subscribe(subscribe) => call("task", "subscribe", subscribe.arguments(db)),
            Self::AcquireStack(acquire) => call("stack", "acquire", acquire.arguments(db)),
            Self::OpenChannel(open) => call("stack", "open_channel", open.arguments(db)),
            Self::Settle(vouchers) => {
                vouchers.iter().flat_map(|voucher| call("stack", "settle", settle(db, voucher))).collect()
            }
            Self::ReleaseChannel { stack, node } => {
                let arguments = vec![Arg::Read(db), Arg::Write(*stack), Arg::Badge(*node)];
                call("stack", "release_channel", arguments)
            }
            Self::RequestClose { stack } => {
                call("stack", "request_close", vec![Arg::Write(*stack), Arg::Read(CLOCK)])
            }
            Self::Refund { stack } => call("stack", "refund", vec![Arg::Write(*stack), Arg::Read(CLOCK)]),
            Self::Withdraw { stack } => call("stack", "withdraw", vec![Arg::Write(*stack)]),
            Self::Sweep { stack } => call("stack", "sweep", vec![Arg::Write(*stack), Arg::Write(treasury)]),
            Self::TransferCoin { to, amount } => vec![Step::SendCoin { to: *to, amount: *amount }],
            Self::TransferGas { to, amount } => vec![Step::SendGas { to: *to, amount: *amount }],
        }
    }
}

impl RegisterNode {
    fn arguments(&self, db: Address, treasury: Address) -> Vec<Arg> {
        vec![
            Arg::Write(db),
            Arg::Write(treasury),
            Arg::Coin(self.payment),
            pure(&self.payout),
            pure(&self.endpoint),
            pure(&self.receipt_key),
        ]
    }
}

impl AddModel {
    fn arguments(&self, db: Address) -> Vec<Arg> {
        vec![
            Arg::Write(db),
            pure(&self.label),
            pure(&self.modality),
            pure(&self.weights_root),
            pure(&self.creator_fee_permille),
        ]
    }
}

impl CreateTask {
    fn arguments(&self, db: Address) -> Vec<Arg> {
        vec![
            Arg::Write(db),
            pure(&self.role),
            pure(&self.model),
            pure(&self.level),
            pure(&self.price_ceiling),
            pure(&self.weights.input),
            pure(&self.weights.output),
            pure(&self.surcharge_permille),
            pure(&self.min_collateral),
            pure(&self.min_reputation),
            pure(&self.whitelist),
        ]
    }
}

impl Subscribe {
    fn arguments(&self, db: Address) -> Vec<Arg> {
        vec![
            Arg::Write(db),
            Arg::Badge(self.node),
            pure(&self.task),
            pure(&self.price),
            pure(&self.max_units),
            pure(&self.echelon),
        ]
    }
}

impl AcquireStack {
    fn arguments(&self, db: Address) -> Vec<Arg> {
        vec![
            Arg::Read(db),
            Arg::Read(RANDOM),
            Arg::Coin(self.payment),
            pure(&self.task),
            pure(&self.request_key),
            pure(&self.units),
            pure(&self.max_price),
            pure(&self.selection),
            pure(&self.nodes),
            pure(&self.max_opens),
            Arg::Read(CLOCK),
        ]
    }
}

impl OpenChannel {
    fn arguments(&self, db: Address) -> Vec<Arg> {
        let signature = self.signature.map_or_else(Vec::new, |signature| signature.0.to_vec());
        vec![
            Arg::Read(db),
            Arg::Write(self.stack),
            pure(&self.node),
            pure(&self.units),
            pure(&self.max_price),
            pure(&self.nonce),
            pure(&signature),
            Arg::Read(CLOCK),
        ]
    }
}

fn settle(db: Address, voucher: &Signed<Voucher>) -> Vec<Arg> {
    let message = &voucher.message;
    vec![
        Arg::Read(db),
        Arg::Write(message.stack),
        pure(&message.node),
        pure(&message.units),
        pure(&message.count),
        pure(&message.root),
        pure(&voucher.signature),
        Arg::Read(CLOCK),
    ]
}

/// What these steps need.
pub(crate) fn needs(steps: &[Step]) -> Needs {
    let mut needs = Needs::default();
    for step in steps {
        match step {
            Step::SendCoin { amount, .. } => needs.coin = *amount,
            Step::SendGas { amount, .. } => needs.gas = *amount,
            Step::Call { arguments, .. } => arguments.iter().for_each(|argument| needs.note(argument)),
        }
    }
    needs
}

impl Needs {
    fn note(&mut self, argument: &Arg) {
        match argument {
            Arg::Read(id) | Arg::Write(id) => {
                self.shared.insert(*id);
            }
            Arg::Badge(node) => self.badge = Some(*node),
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
            Step::Call { module, function, arguments } => {
                let arguments: Result<_, _> =
                    arguments.into_iter().map(|argument| self.argument(argument)).collect();
                let (module, name) = (Identifier::from_static(module), Identifier::from_static(function));
                let function = Function::new(self.inputs.package, module, name)
                    .with_type_args(vec![self.inputs.types.coin.clone()]);
                self.builder.move_call(function, arguments?);
            }
            Step::SendCoin { to, amount } => {
                let coin = self.payment(amount)?;
                self.transfer(vec![coin], to);
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

    fn argument(&mut self, argument: Arg) -> Result<Argument, ChainError> {
        match argument {
            Arg::Read(id) => self.shared(id, false),
            Arg::Write(id) => self.shared(id, true),
            Arg::Badge(_) => {
                let badge = self.inputs.badge.as_ref().ok_or_else(|| missing("badge"))?;
                Ok(self.builder.object(owned(badge)))
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

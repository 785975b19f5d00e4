//! What is refused before anything runs, with the words a full node uses. A refused transaction costs
//! nothing and leaves no trace.

use super::object::{CLOCK, RANDOM, sui_balance};
use super::{Ledger, gas};
use std::collections::BTreeSet;
use sui_sdk_types::{
    Address, Argument, Command, Digest, Input, Object, ObjectReference, Owner, ProgrammableTransaction,
    SharedInput, Transaction, TransactionExpiration, TransactionKind, Version,
};

/// Sui's limits on one transaction.
const MAX_BYTES: usize = 128 * 1024;
const MAX_INPUTS: usize = 2_048;
const MAX_COMMANDS: usize = 1_024;
const MAX_ARGUMENTS: usize = 512;
const MAX_PURE_BYTES: usize = 16 * 1024;
const MAX_GAS_OBJECTS: usize = 256;

/// Why a transaction is not even tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("Only programmable transactions can be submitted by users")]
    Kind,
    #[error("Feature is not supported: {0}")]
    Unsupported(&'static str),
    #[error("Size limit exceeded: {what} exceeds {limit}")]
    Size { what: &'static str, limit: usize },
    #[error("Empty command input: a transaction needs at least one command")]
    NoCommands,
    #[error("Transaction Expired")]
    Expired,
    #[error("Transaction is for chain {0}, this is another one")]
    WrongChain(Digest),
    #[error("Missing gas payment")]
    MissingGas,
    #[error("Gas price {price} under reference gas price (RGP) {}", gas::REFERENCE_PRICE)]
    PriceTooLow { price: u64 },
    #[error("Gas budget: {budget} is lower than min: {min}")]
    BudgetTooLow { budget: u64, min: u64 },
    #[error("Gas budget: {budget} is higher than max: {}", gas::MAX_BUDGET)]
    BudgetTooHigh { budget: u64 },
    #[error("Gas object {0} is not an owned object with type Coin<SUI>")]
    GasObject(Address),
    #[error("Balance of gas object {balance} is lower than the needed amount: {needed}")]
    GasBalance { balance: u128, needed: u64 },
    #[error("Mutable object {0} cannot appear more than once in one transaction")]
    Duplicate(Address),
    #[error("Could not find the referenced object {id} at version {version:?}")]
    NotFound { id: Address, version: Option<Version> },
    #[error(
        "Transaction needs to be rebuilt because object {id} version {provided} is unavailable for consumption, current version: {current}"
    )]
    StaleVersion { id: Address, provided: Version, current: Version },
    #[error("Invalid digest for object {id}: expected {expected}, provided {provided}")]
    WrongDigest { id: Address, expected: Digest, provided: Digest },
    #[error(
        "Transaction was not signed by the correct sender: Object {id} is owned by account address {owner}, but given owner/signer address is {signer}"
    )]
    WrongOwner { id: Address, owner: Address, signer: Address },
    #[error("Shared object {0} cannot be used as an owned one")]
    NotOwned(Address),
    #[error("Object {0} is not a shared object")]
    NotShared(Address),
    #[error("Shared object {id} starts at version {expected}, not {provided}")]
    SharedVersion { id: Address, expected: Version, provided: Version },
    #[error("Immutable parameter provided, mutable parameter expected: {0} can only be read")]
    SystemObject(Address),
    #[error(
        "Programmable transaction commands after a call with Random can only be TransferObjects or MergeCoins"
    )]
    AfterRandom,
}

/// Which objects a transaction takes, as they are now.
pub(crate) struct Inputs {
    /// The gas coins in payment order. Empty only if checks are off.
    pub(crate) gas: Vec<Object>,
    /// By input index: the object, and for shared ones how it is used. `None` for pure values.
    pub(crate) objects: Vec<Option<InputObject>>,
}

pub(crate) enum InputObject {
    Owned(Object),
    Shared {
        object: Object,
        mutable: bool,
    },
    /// Deleted by an earlier transaction, at this version.
    Gone {
        id: Address,
        version: Version,
        mutable: bool,
    },
}

pub(crate) fn programmable(transaction: &Transaction) -> Result<&ProgrammableTransaction, Rejection> {
    match &transaction.kind {
        TransactionKind::ProgrammableTransaction(programmable) => Ok(programmable),
        _ => Err(Rejection::Kind),
    }
}

/// Every check a full node makes before execution.
pub(crate) fn check(ledger: &Ledger, transaction: &Transaction, now_ms: u64) -> Result<Inputs, Rejection> {
    let mut inputs = check_without_gas(ledger, transaction, now_ms)?;
    inputs.gas = check_gas(ledger, transaction)?;
    Ok(inputs)
}

/// The same for a dry run that nobody pays for.
pub(crate) fn check_without_gas(
    ledger: &Ledger,
    transaction: &Transaction,
    now_ms: u64,
) -> Result<Inputs, Rejection> {
    let programmable = programmable(transaction)?;
    check_shape(transaction, programmable)?;
    check_expiration(ledger, &transaction.expiration, now_ms)?;
    check_duplicates(transaction, programmable)?;
    let objects = programmable
        .inputs
        .iter()
        .map(|input| check_input(ledger, input, transaction.sender))
        .collect::<Result<_, _>>()?;
    Ok(Inputs { gas: Vec::new(), objects })
}

/// Finds the inputs of a dry run with checks off: versions, owners and gas are not looked at.
pub(crate) fn lenient(ledger: &Ledger, transaction: &Transaction) -> Result<Inputs, Rejection> {
    let programmable = programmable(transaction)?;
    check_shape(transaction, programmable)?;
    let objects =
        programmable.inputs.iter().map(|input| find_input(ledger, input)).collect::<Result<_, _>>()?;
    Ok(Inputs { gas: Vec::new(), objects })
}

fn check_shape(transaction: &Transaction, programmable: &ProgrammableTransaction) -> Result<(), Rejection> {
    limit("transaction bytes", ::bcs::serialized_size(transaction).unwrap_or(usize::MAX), MAX_BYTES)?;
    limit("number of inputs", programmable.inputs.len(), MAX_INPUTS)?;
    limit("number of commands", programmable.commands.len(), MAX_COMMANDS)?;
    limit("number of gas objects", transaction.gas_payment.objects.len(), MAX_GAS_OBJECTS)?;
    for input in &programmable.inputs {
        if let Input::Pure(bytes) = input {
            limit("pure argument", bytes.len(), MAX_PURE_BYTES)?;
        }
    }
    for command in &programmable.commands {
        limit("number of arguments", arguments(command).count(), MAX_ARGUMENTS)?;
    }
    if programmable.commands.is_empty() {
        return Err(Rejection::NoCommands);
    }
    check_random(programmable)
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), Rejection> {
    if found > limit { Err(Rejection::Size { what, limit }) } else { Ok(()) }
}

/// All arguments of a command.
pub(crate) fn arguments(command: &Command) -> Box<dyn Iterator<Item = &Argument> + '_> {
    match command {
        Command::MoveCall(call) => Box::new(call.arguments.iter()),
        Command::TransferObjects(transfer) => Box::new(transfer.objects.iter().chain([&transfer.address])),
        Command::SplitCoins(split) => Box::new(split.amounts.iter().chain([&split.coin])),
        Command::MergeCoins(merge) => Box::new(merge.coins_to_merge.iter().chain([&merge.coin])),
        Command::MakeMoveVector(make) => Box::new(make.elements.iter()),
        _ => Box::new(std::iter::empty()),
    }
}

/// Whoever could act on the outcome of a draw in the same transaction could also undo it.
fn check_random(programmable: &ProgrammableTransaction) -> Result<(), Rejection> {
    let is_random = |argument: &Argument| match argument {
        Argument::Input(index) => matches!(
            programmable.inputs.get(usize::from(*index)),
            Some(Input::Shared(shared)) if shared.object_id() == RANDOM
        ),
        _ => false,
    };
    let mut drawn = false;
    for command in &programmable.commands {
        if drawn && !matches!(command, Command::TransferObjects(_) | Command::MergeCoins(_)) {
            return Err(Rejection::AfterRandom);
        }
        drawn |= matches!(command, Command::MoveCall(_)) && arguments(command).any(is_random);
    }
    Ok(())
}

fn check_expiration(
    ledger: &Ledger,
    expiration: &TransactionExpiration,
    now_ms: u64,
) -> Result<(), Rejection> {
    let (from, to, after_s, before_s, chain) = match expiration {
        TransactionExpiration::None => return Ok(()),
        TransactionExpiration::Epoch(epoch) => (None, Some(*epoch), None, None, None),
        TransactionExpiration::ValidDuring {
            min_epoch,
            max_epoch,
            min_timestamp,
            max_timestamp,
            chain,
            ..
        }
        | TransactionExpiration::Validity {
            min_epoch, max_epoch, min_timestamp, max_timestamp, chain, ..
        } => (*min_epoch, *max_epoch, *min_timestamp, *max_timestamp, Some(*chain)),
        _ => return Err(Rejection::Unsupported("this expiration")),
    };
    if let Some(chain) = chain.filter(|chain| *chain != ledger.chain_id()) {
        return Err(Rejection::WrongChain(chain));
    }
    let (epoch, now_s) = (ledger.epoch(), now_ms / 1_000);
    let early = from.is_some_and(|from| epoch < from) || after_s.is_some_and(|after| now_s < after);
    let late = to.is_some_and(|to| epoch > to) || before_s.is_some_and(|before| now_s > before);
    if early || late { Err(Rejection::Expired) } else { Ok(()) }
}

fn check_duplicates(
    transaction: &Transaction,
    programmable: &ProgrammableTransaction,
) -> Result<(), Rejection> {
    let owned = programmable.inputs.iter().filter_map(|input| match input {
        Input::ImmutableOrOwned(reference) | Input::Receiving(reference) => Some(*reference.object_id()),
        Input::Shared(shared) => Some(shared.object_id()),
        _ => None,
    });
    let gas = transaction.gas_payment.objects.iter().map(|reference| *reference.object_id());
    let mut seen = BTreeSet::new();
    match owned.chain(gas).find(|id| !seen.insert(*id)) {
        Some(twice) => Err(Rejection::Duplicate(twice)),
        None => Ok(()),
    }
}

fn check_gas(ledger: &Ledger, transaction: &Transaction) -> Result<Vec<Object>, Rejection> {
    let payment = &transaction.gas_payment;
    if payment.price < gas::REFERENCE_PRICE {
        return Err(Rejection::PriceTooLow { price: payment.price });
    }
    let (budget, min) = (payment.budget, gas::computation(payment.price));
    if budget < min {
        return Err(Rejection::BudgetTooLow { budget, min });
    }
    if budget > gas::MAX_BUDGET {
        return Err(Rejection::BudgetTooHigh { budget });
    }
    if payment.objects.is_empty() {
        return Err(Rejection::MissingGas);
    }
    let coins: Vec<Object> = payment
        .objects
        .iter()
        .map(|reference| check_gas_coin(ledger, reference, payment.owner))
        .collect::<Result<_, _>>()?;
    let balance: u128 = coins.iter().filter_map(sui_balance).map(u128::from).sum();
    if balance < u128::from(budget) {
        return Err(Rejection::GasBalance { balance, needed: budget });
    }
    Ok(coins)
}

fn check_gas_coin(ledger: &Ledger, reference: &ObjectReference, owner: Address) -> Result<Object, Rejection> {
    let object = check_reference(ledger, reference)?;
    match object.owner() {
        Owner::Address(_) if sui_balance(object).is_some() => check_owner(object, owner)?,
        _ => return Err(Rejection::GasObject(object.object_id())),
    }
    Ok(object.clone())
}

fn check_input(ledger: &Ledger, input: &Input, sender: Address) -> Result<Option<InputObject>, Rejection> {
    match input {
        Input::Pure(_) => Ok(None),
        Input::ImmutableOrOwned(reference) => {
            let object = check_reference(ledger, reference)?;
            match object.owner() {
                Owner::Immutable => {}
                Owner::Address(_) => check_owner(object, sender)?,
                _ => return Err(Rejection::NotOwned(object.object_id())),
            }
            Ok(Some(InputObject::Owned(object.clone())))
        }
        Input::Shared(shared) => check_shared(ledger, shared).map(Some),
        Input::Receiving(_) => Err(Rejection::Unsupported("receiving objects")),
        _ => Err(Rejection::Unsupported("address balances")),
    }
}

fn check_reference<'a>(ledger: &'a Ledger, reference: &ObjectReference) -> Result<&'a Object, Rejection> {
    let (id, provided) = (*reference.object_id(), reference.version());
    let Some(object) = ledger.object(id) else {
        return Err(match ledger.deleted_at(id) {
            Some(current) if provided <= current => Rejection::StaleVersion { id, provided, current },
            _ => Rejection::NotFound { id, version: Some(provided) },
        });
    };
    let current = object.version();
    if current != provided {
        return Err(match provided < current {
            true => Rejection::StaleVersion { id, provided, current },
            false => Rejection::NotFound { id, version: Some(provided) },
        });
    }
    let expected = object.digest();
    if expected != *reference.digest() {
        return Err(Rejection::WrongDigest { id, expected, provided: *reference.digest() });
    }
    Ok(object)
}

fn check_owner(object: &Object, signer: Address) -> Result<(), Rejection> {
    match object.owner() {
        Owner::Address(owner) if *owner != signer => {
            Err(Rejection::WrongOwner { id: object.object_id(), owner: *owner, signer })
        }
        _ => Ok(()),
    }
}

fn check_shared(ledger: &Ledger, shared: &SharedInput) -> Result<InputObject, Rejection> {
    let (id, mutable) = (shared.object_id(), shared.mutability().is_mutable());
    if mutable && matches!(id, CLOCK | RANDOM) {
        return Err(Rejection::SystemObject(id));
    }
    let Some(object) = ledger.object(id) else {
        return match ledger.deleted_at(id) {
            Some(version) => Ok(InputObject::Gone { id, version, mutable }),
            None => Err(Rejection::NotFound { id, version: None }),
        };
    };
    match object.owner() {
        Owner::Shared(start) if *start == shared.version() => {
            Ok(InputObject::Shared { object: object.clone(), mutable })
        }
        Owner::Shared(start) => {
            Err(Rejection::SharedVersion { id, expected: *start, provided: shared.version() })
        }
        _ => Err(Rejection::NotShared(id)),
    }
}

fn find_input(ledger: &Ledger, input: &Input) -> Result<Option<InputObject>, Rejection> {
    let find = |id: Address| ledger.object(id).cloned().ok_or(Rejection::NotFound { id, version: None });
    match input {
        Input::Pure(_) => Ok(None),
        Input::ImmutableOrOwned(reference) => Ok(Some(InputObject::Owned(find(*reference.object_id())?))),
        Input::Shared(shared) => Ok(Some(InputObject::Shared {
            object: find(shared.object_id())?,
            mutable: shared.mutability().is_mutable(),
        })),
        Input::Receiving(_) => Err(Rejection::Unsupported("receiving objects")),
        _ => Err(Rejection::Unsupported("address balances")),
    }
}

//! Completes a transaction that a client left open: object versions, how shared objects are used, gas.

use crate::filter::address;
use crate::ledger::execute::Mode;
use crate::ledger::{Ledger, gas, object};
use crate::package::{By, Param};
use pb::argument::ArgumentKind;
use pb::command::Command as CommandKind;
use pb::input::{InputKind, Mutability};
use pb::transaction_kind::{Data, Kind};
use std::collections::BTreeSet;
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{
    Address, Argument, Command, GasCostSummary, Input, ObjectReference, Owner, Transaction, TransactionKind,
};
use tonic::Status;

const GAS_OBJECTS_MAX: usize = 256;

/// The transaction with everything but its gas coins filled in.
pub(super) fn fill(ledger: &Ledger, message: &pb::Transaction, lenient: bool) -> Result<Transaction, Status> {
    if message.bcs.is_some() {
        return parse(message);
    }
    let mut message = message.clone();
    message.version = Some(1);
    if message.expiration.is_none() {
        message.expiration = Some(sui_sdk_types::TransactionExpiration::None.into());
    }
    if message.sender.is_none() && lenient {
        message.sender = Some(Address::ZERO.to_string());
    }
    fill_kind(ledger, &mut message)?;
    let owner = message.sender.clone();
    let payment = message.gas_payment.get_or_insert_with(Default::default);
    payment.owner = payment.owner.take().or(owner);
    payment.price = payment.price.filter(|price| *price > 0).or(Some(gas::REFERENCE_PRICE));
    payment.budget = payment.budget.filter(|budget| *budget > 0).or(Some(gas::MAX_BUDGET));
    for reference in &mut payment.objects {
        complete(ledger, reference)?;
    }
    parse(&message)
}

fn parse(message: &pb::Transaction) -> Result<Transaction, Status> {
    Transaction::try_from(message)
        .map_err(|error| Status::invalid_argument(format!("invalid transaction: {error}")))
}

fn fill_kind(ledger: &Ledger, message: &mut pb::Transaction) -> Result<(), Status> {
    let Some(kind) = message.kind.as_mut() else { return Ok(()) };
    let Some(Data::ProgrammableTransaction(programmable)) = kind.data.as_mut() else { return Ok(()) };
    let written = written_inputs(ledger, &programmable.commands);
    for (index, input) in (0u32..).zip(&mut programmable.inputs) {
        fill_input(ledger, input, written.contains(&index))?;
    }
    if kind.kind.is_none() {
        kind.set_kind(Kind::ProgrammableTransaction);
    }
    Ok(())
}

/// Inputs that some call takes mutably or by value; calls to functions we do not know count as mutable.
fn written_inputs(ledger: &Ledger, commands: &[pb::Command]) -> BTreeSet<u32> {
    let mut written = BTreeSet::new();
    for command in commands {
        let Some(CommandKind::MoveCall(call)) = &command.command else { continue };
        let package = call.package().parse().unwrap_or(Address::ZERO);
        let function =
            ledger.world().find(package, call.module(), call.function()).map(|(_, function)| function);
        for (position, argument) in call.arguments.iter().enumerate() {
            let reads = matches!(
                function.and_then(|function| function.params.get(position)),
                Some(Param::Object(_, By::Ref) | Param::Pure(_))
            );
            if argument.kind() == ArgumentKind::Input && !reads {
                written.insert(argument.input());
            }
        }
    }
    written
}

fn fill_input(ledger: &Ledger, input: &mut pb::Input, written: bool) -> Result<(), Status> {
    if input.literal.is_some() {
        return Err(Status::invalid_argument("literal inputs are not supported; send pure BCS"));
    }
    let Some(id) = &input.object_id else {
        if input.kind.is_none() {
            input.set_kind(if input.pure.is_some() { InputKind::Pure } else { InputKind::FundsWithdrawal });
        }
        return Ok(());
    };
    let id = address(id)?;
    let object = ledger.object(id).ok_or_else(|| Status::not_found(format!("Object {id} not found")))?;
    match object.owner() {
        Owner::Shared(start) => {
            input.set_kind(InputKind::Shared);
            input.version = input.version.or(Some(*start));
            if input.mutability.is_none() {
                let mutable = input.mutable.unwrap_or(written);
                input.mutable = Some(mutable);
                input.set_mutability(if mutable { Mutability::Mutable } else { Mutability::Immutable });
            }
        }
        _ => {
            if input.kind.is_none() {
                input.set_kind(InputKind::ImmutableOrOwned);
            }
            input.version = input.version.or(Some(object.version()));
            input.digest = input.digest.take().or_else(|| Some(object.digest().to_string()));
        }
    }
    Ok(())
}

fn complete(ledger: &Ledger, reference: &mut pb::ObjectReference) -> Result<(), Status> {
    let id = address(reference.object_id())?;
    let object = ledger.object(id).ok_or_else(|| Status::not_found(format!("Object {id} not found")))?;
    reference.version = reference.version.or(Some(object.version()));
    reference.digest = reference.digest.take().or_else(|| Some(object.digest().to_string()));
    Ok(())
}

/// Sets the budget if the client left it out, and picks coins if it named none.
pub(super) fn settle_gas(
    ledger: &Ledger,
    message: &pb::Transaction,
    transaction: &mut Transaction,
    now_ms: u64,
) -> Result<(), Status> {
    let named = match &message.bcs {
        Some(_) => Some(transaction.gas_payment.budget),
        None => message.gas_payment.as_ref().and_then(|payment| payment.budget),
    };
    transaction.gas_payment.budget = match named.filter(|budget| *budget > 0) {
        Some(budget) => budget,
        None => estimate(ledger, transaction, now_ms)?,
    };
    match transaction.gas_payment.objects.is_empty() {
        true => select_coins(ledger, transaction),
        false => Ok(()),
    }
}

fn select_coins(ledger: &Ledger, transaction: &mut Transaction) -> Result<(), Status> {
    let spent = spent_from_gas(transaction);
    let needed = u128::from(transaction.gas_payment.budget) + spent;
    let owner = transaction.gas_payment.owner;
    let used = used_objects(transaction);
    let mut coins: Vec<_> = ledger
        .owned_by(owner, None)
        .filter_map(|object| object::sui_balance(object).map(|balance| (balance, object)))
        .filter(|(_, object)| !used.contains(&object.object_id()))
        .collect();
    coins.sort_by_key(|(balance, object)| (std::cmp::Reverse(*balance), object.object_id()));
    let mut sum = 0u128;
    let mut chosen = Vec::new();
    for (balance, object) in coins.into_iter().take(GAS_OBJECTS_MAX) {
        if sum >= needed {
            break;
        }
        sum += u128::from(balance);
        chosen.push(ObjectReference::new(object.object_id(), object.version(), object.digest()));
    }
    if sum < u128::from(transaction.gas_payment.budget) {
        return Err(Status::invalid_argument(format!(
            "Unable to perform gas selection due to insufficient SUI balance for account {owner} to satisfy required budget {}",
            transaction.gas_payment.budget
        )));
    }
    transaction.gas_payment.objects = chosen;
    Ok(())
}

/// What a dry run costs, with room for what may differ when it counts.
fn estimate(ledger: &Ledger, transaction: &Transaction, now_ms: u64) -> Result<u64, Status> {
    let mut trial = transaction.clone();
    trial.gas_payment.budget = gas::MAX_BUDGET;
    let outcome = ledger.simulate(&trial, now_ms, Mode::MockGas).map_err(crate::chain::SubmitError::from)?;
    let GasCostSummary { computation_cost, storage_cost, .. } = outcome.gas;
    let gross = computation_cost.saturating_add(storage_cost);
    let margin = gas::computation(transaction.gas_payment.price);
    Ok(gross.saturating_add(gross / 5).saturating_add(margin).min(gas::MAX_BUDGET))
}

/// Amounts that the transaction splits off its gas coin.
fn spent_from_gas(transaction: &Transaction) -> u128 {
    let TransactionKind::ProgrammableTransaction(programmable) = &transaction.kind else { return 0 };
    let amount = |argument: &Argument| match argument {
        Argument::Input(index) => match programmable.inputs.get(usize::from(*index)) {
            Some(Input::Pure(bytes)) => {
                <[u8; 8]>::try_from(bytes.as_slice()).map(u64::from_le_bytes).unwrap_or(0)
            }
            _ => 0,
        },
        _ => 0,
    };
    let splits = programmable.commands.iter().filter_map(|command| match command {
        Command::SplitCoins(split) if split.coin == Argument::Gas => Some(&split.amounts),
        _ => None,
    });
    splits.flatten().map(|argument| u128::from(amount(argument))).sum()
}

fn used_objects(transaction: &Transaction) -> BTreeSet<Address> {
    let TransactionKind::ProgrammableTransaction(programmable) = &transaction.kind else {
        return BTreeSet::new();
    };
    let id = |input: &Input| match input {
        Input::ImmutableOrOwned(reference) | Input::Receiving(reference) => Some(*reference.object_id()),
        _ => None,
    };
    programmable.inputs.iter().filter_map(id).collect()
}

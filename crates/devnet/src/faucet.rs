//! Gives away coins: a transaction of the faucet's account like any other, so that no coin is ever made.

use crate::chain::{Chain, SubmitError};
use crate::ledger::object::{coin, sui};
use crate::ledger::{Executed, Ledger, gas};
use crate::package::usd;
use std::sync::Arc;
use sui_crypto::SuiSigner;
use sui_sdk_types::{
    Address, Argument, Command, GasPayment, Input, Object, ObjectReference, ProgrammableTransaction,
    SignedTransaction, SplitCoins, Transaction, TransactionExpiration, TransactionKind, TransferObjects,
    TypeTag,
};

/// What one plain request gives: 10 SUI and 10,000 USD.
pub(crate) const STANDARD_SUI: u64 = 10_000_000_000;
pub(crate) const STANDARD_USD: u64 = 10_000_000_000;
/// Most that one request may ask for: a million SUI, ten million USD.
pub(crate) const SUI_MAX: u64 = 1_000_000_000_000_000;
pub(crate) const USD_MAX: u64 = 10_000_000_000_000;
const BUDGET: u64 = 100_000_000;

/// Who gets how much, in MIST and in base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gift {
    pub(crate) recipient: Address,
    pub(crate) sui: u64,
    pub(crate) usd: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FaucetError {
    #[error("ask for something: both amounts are zero")]
    Nothing,
    #[error("at most {SUI_MAX} MIST and {USD_MAX} base units of USD are given at a time")]
    TooMuch,
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error("the faucet is empty")]
    Empty,
}

/// A coin that was given.
pub(crate) struct Given {
    pub(crate) id: Address,
    pub(crate) coin_type: TypeTag,
    pub(crate) amount: u64,
}

/// Sends the gift. Blocks on the journal's write.
pub(crate) fn give(chain: &Chain, gift: Gift) -> Result<(Arc<Executed>, Vec<Given>), FaucetError> {
    if gift.sui == 0 && gift.usd == 0 {
        return Err(FaucetError::Nothing);
    }
    if gift.sui > SUI_MAX || gift.usd > USD_MAX {
        return Err(FaucetError::TooMuch);
    }
    let executed = chain.submit_own(|ledger| build(ledger, gift))?;
    if *executed.effects.status() != sui_sdk_types::ExecutionStatus::Success {
        return Err(FaucetError::Empty);
    }
    let faucet = executed.signed.transaction.sender;
    let is_gift = |object: &&Object| {
        *object.owner() == sui_sdk_types::Owner::Address(gift.recipient)
            && object.previous_transaction() == executed.digest
            && gift.recipient != faucet
    };
    let given = executed.objects.iter().filter(is_gift).filter_map(|object| {
        let (coin_type, amount) = coin(object)?;
        Some(Given { id: object.object_id(), coin_type: coin_type.clone(), amount })
    });
    let given = given.collect();
    Ok((executed, given))
}

fn build(ledger: &Ledger, gift: Gift) -> Result<SignedTransaction, SubmitError> {
    let key = ledger.genesis().faucet_key();
    let sender = key.public_key().derive_address();
    let gas = purse(ledger, sender, &sui())?;
    let money = purse(ledger, sender, &usd())?;
    let transaction = Transaction {
        kind: TransactionKind::ProgrammableTransaction(commands(gift, money)),
        sender,
        gas_payment: GasPayment {
            objects: vec![gas],
            owner: sender,
            price: gas::REFERENCE_PRICE,
            budget: BUDGET,
        },
        expiration: TransactionExpiration::None,
    };
    let signature =
        key.sign_transaction(&transaction).map_err(|error| SubmitError::Signature(error.to_string()))?;
    Ok(SignedTransaction { transaction, signatures: vec![signature] })
}

/// The account's one coin of a type.
fn purse(ledger: &Ledger, owner: Address, wanted: &TypeTag) -> Result<ObjectReference, SubmitError> {
    let coins = ledger.owned_by(owner, None).filter_map(|object| Some((coin(object)?, object)));
    let largest = coins.filter(|((tag, _), _)| *tag == wanted).max_by_key(|((_, balance), _)| *balance);
    let (_, object) = largest.ok_or(SubmitError::Unsupported("an empty faucet"))?;
    Ok(ObjectReference::new(object.object_id(), object.version(), object.digest()))
}

fn commands(gift: Gift, money: ObjectReference) -> ProgrammableTransaction {
    let mut inputs = vec![Input::Pure(gift.recipient.into_inner().to_vec())];
    let mut commands = Vec::new();
    let mut objects = Vec::new();
    let mut split = |coin, amount: u64, inputs: &mut Vec<Input>| {
        let index = u16::try_from(inputs.len()).unwrap_or(u16::MAX);
        inputs.push(Input::Pure(amount.to_le_bytes().to_vec()));
        let result = u16::try_from(commands.len()).unwrap_or(u16::MAX);
        commands.push(Command::SplitCoins(SplitCoins { coin, amounts: vec![Argument::Input(index)] }));
        objects.push(Argument::Result(result));
    };
    if gift.sui > 0 {
        split(Argument::Gas, gift.sui, &mut inputs);
    }
    if gift.usd > 0 {
        let index = u16::try_from(inputs.len()).unwrap_or(u16::MAX);
        inputs.push(Input::ImmutableOrOwned(money));
        split(Argument::Input(index), gift.usd, &mut inputs);
    }
    commands.push(Command::TransferObjects(TransferObjects { objects, address: Argument::Input(0) }));
    ProgrammableTransaction { inputs, commands }
}

//! Gives away coins, and certificates of stored blobs: transactions of the faucet's account like any other, so
//! that no coin is ever made.

use crate::chain::{Chain, SubmitError};
use crate::ledger::object::{coin, sui};
use crate::ledger::{Executed, Ledger, gas};
use crate::package::{ObjectKind, WALRUS_PACKAGE, WALRUS_SYSTEM, usd};
use serde::Deserialize;
use std::sync::Arc;
use sui_crypto::SuiSigner;
use sui_sdk_types::{
    Address, Argument, Command, GasPayment, Identifier, Input, MoveCall, Object, ObjectReference,
    ProgrammableTransaction, SharedInput, SignedTransaction, SplitCoins, Transaction, TransactionExpiration,
    TransactionKind, TransferObjects, TypeTag,
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

/// A blob to certify as Walrus would, had it been stored there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BlobCertificate {
    pub owner: Address,
    /// As Walrus computes it, in little-endian bytes.
    pub blob_id: [u8; 32],
    pub size: u64,
    pub epochs_ahead: u32,
    #[serde(default)]
    pub deletable: bool,
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
    #[error("a blob is stored for 1 to 53 epochs")]
    Epochs,
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

/// Makes the `Blob` object that certifies a stored blob, and returns its id.
pub(crate) fn certify(chain: &Chain, blob: &BlobCertificate) -> Result<Address, FaucetError> {
    let executed = chain.submit_own(|ledger| sign(ledger, certificate(blob)?))?;
    let tag = ObjectKind::Blob.tag(WALRUS_PACKAGE, &usd());
    let is_blob = |object: &&Object| object.as_struct().is_some_and(|data| *data.object_type() == tag);
    executed.objects.iter().find(is_blob).map(Object::object_id).ok_or(FaucetError::Epochs)
}

fn certificate(blob: &BlobCertificate) -> Result<ProgrammableTransaction, SubmitError> {
    let encoded = |_| SubmitError::Unsupported("this blob");
    let pure = [
        bcs::to_bytes(&blob.owner),
        bcs::to_bytes(&blob.blob_id),
        bcs::to_bytes(&blob.size),
        bcs::to_bytes(&blob.epochs_ahead),
        bcs::to_bytes(&blob.deletable),
    ];
    let mut inputs = vec![Input::Shared(SharedInput::new(WALRUS_SYSTEM, 1, false))];
    for bytes in pure {
        inputs.push(Input::Pure(bytes.map_err(encoded)?));
    }
    let call = MoveCall {
        package: WALRUS_PACKAGE,
        module: Identifier::from_static("devnet"),
        function: Identifier::from_static("certified_blob"),
        type_arguments: Vec::new(),
        arguments: (0u16..).take(inputs.len()).map(Argument::Input).collect(),
    };
    Ok(ProgrammableTransaction { inputs, commands: vec![Command::MoveCall(call)] })
}

fn build(ledger: &Ledger, gift: Gift) -> Result<SignedTransaction, SubmitError> {
    let money = purse(ledger, ledger.genesis().faucet_address(), &usd())?;
    sign(ledger, commands(gift, money))
}

fn sign(ledger: &Ledger, programmable: ProgrammableTransaction) -> Result<SignedTransaction, SubmitError> {
    let key = ledger.genesis().faucet_key();
    let sender = key.public_key().derive_address();
    let gas = purse(ledger, sender, &sui())?;
    let transaction = Transaction {
        kind: TransactionKind::ProgrammableTransaction(programmable),
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

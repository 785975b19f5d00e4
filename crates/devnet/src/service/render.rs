//! Ledger data as the RPC's messages, only as far as the read mask asks for it.

use crate::ledger::execute::Outcome;
use crate::ledger::{Checkpoint, Executed, object};
use crate::package;
use prost_types::value::Kind;
use std::collections::BTreeMap;
use sui_rpc::field::{FieldMask, FieldMaskTree, FieldMaskUtil};
use sui_rpc::merge::Merge;
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_rpc::proto::timestamp_ms_to_proto;
use sui_sdk_types::{Address, Event, Object, SignedTransaction, TransactionEvents};

/// The mask of a request, or its default.
pub(super) fn mask(mask: Option<FieldMask>, default: &str) -> FieldMaskTree {
    FieldMaskTree::from(mask.unwrap_or_else(|| FieldMask::from_str(default)))
}

pub(super) fn object(found: &Object, mask: &FieldMaskTree) -> pb::Object {
    let mut message = pb::Object::merge_from(found.clone(), mask);
    if mask.contains("balance") {
        message.balance = object::coin(found).map(|(_, balance)| balance);
    }
    if mask.contains("json") {
        message.json = object_json(found).map(|json| Box::new(value(json)));
    }
    message
}

fn object_json(found: &Object) -> Option<serde_json::Value> {
    if let Some((_, balance)) = object::coin(found) {
        return Some(serde_json::json!({ "id": found.object_id().to_string(), "balance": balance }));
    }
    let data = found.as_struct()?;
    package::render(data.object_type(), data.contents())
}

/// Numbers become strings, as Sui renders them: a double cannot hold a `u64`.
fn value(json: serde_json::Value) -> prost_types::Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(flag),
        serde_json::Value::Number(number) => Kind::StringValue(number.to_string()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.into_iter().map(value).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.into_iter().map(|(name, field)| (name, value(field))).collect::<BTreeMap<_, _>>(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

pub(super) fn executed(executed: &Executed, mask: &FieldMaskTree) -> pb::ExecutedTransaction {
    let mut full = unplaced(executed, mask);
    full.checkpoint = Some(executed.checkpoint);
    full.timestamp = Some(timestamp_ms_to_proto(executed.timestamp_ms));
    full.transaction_index = Some(0);
    pb::ExecutedTransaction::merge_from(&full, mask)
}

/// As right after execution: not in a checkpoint yet.
pub(super) fn fresh(executed: &Executed, mask: &FieldMaskTree) -> pb::ExecutedTransaction {
    pb::ExecutedTransaction::merge_from(&unplaced(executed, mask), mask)
}

/// What a dry run would have given.
pub(super) fn simulated(
    transaction: sui_sdk_types::Transaction,
    outcome: &Outcome,
    mask: &FieldMaskTree,
) -> pb::ExecutedTransaction {
    let signed = SignedTransaction { transaction, signatures: Vec::new() };
    fresh(&Executed::new(signed, outcome, 0, 0), mask)
}

fn unplaced(executed: &Executed, mask: &FieldMaskTree) -> pb::ExecutedTransaction {
    let wants = |field: &str| mask.subtree(field).is_some();
    let mut full = pb::ExecutedTransaction::default();
    full.digest = Some(executed.digest.to_string());
    if wants("transaction") {
        full.transaction = Some(executed.signed.transaction.clone().into());
    }
    if wants("signatures") {
        full.signatures = executed.signed.signatures.iter().cloned().map(Into::into).collect();
    }
    if wants("effects") {
        full.effects = Some(effects(executed));
    }
    if wants("events") && !executed.events.0.is_empty() {
        full.events = Some(events(&executed.events));
    }
    full.balance_changes = executed.balance_changes.iter().cloned().map(Into::into).collect();
    if let Some(objects) = mask.subtree("objects") {
        let mask = objects.subtree("objects").unwrap_or_else(FieldMaskTree::new_wildcard);
        let mut set = pb::ObjectSet::default();
        set.objects = executed.objects.iter().map(|found| object(found, &mask)).collect();
        set.objects.sort_by(|a, b| (a.object_id(), a.version()).cmp(&(b.object_id(), b.version())));
        full.objects = Some(set);
    }
    full
}

fn effects(executed: &Executed) -> pb::TransactionEffects {
    let mut message = pb::TransactionEffects::from(executed.effects.clone());
    let types: BTreeMap<String, String> = executed
        .objects
        .iter()
        .map(|found| {
            let of_struct = found.as_struct().map(|data| data.object_type().to_string());
            (found.object_id().to_string(), of_struct.unwrap_or_else(|| "package".to_owned()))
        })
        .collect();
    for change in message.changed_objects.iter_mut().chain(&mut message.gas_object) {
        change.object_type = types.get(change.object_id()).cloned();
    }
    message
}

fn events(events: &TransactionEvents) -> pb::TransactionEvents {
    let mut message = pb::TransactionEvents::from(events.clone());
    for (rendered, event) in message.events.iter_mut().zip(&events.0) {
        rendered.json = event_json(event);
    }
    message
}

fn event_json(event: &Event) -> Option<Box<prost_types::Value>> {
    package::render(&event.type_, &event.contents).map(|json| Box::new(value(json)))
}

/// An event on its own, with its place in the ledger.
pub(super) fn event(executed: &Executed, index: u32, event: &Event, mask: &FieldMaskTree) -> pb::Event {
    let mut full = pb::Event::from(event.clone());
    full.json = event_json(event);
    full.checkpoint = Some(executed.checkpoint);
    full.transaction_digest = Some(executed.digest.to_string());
    full.transaction_index = Some(0);
    full.event_index = Some(index);
    pb::Event::merge_from(&full, mask)
}

pub(super) fn checkpoint(found: &Checkpoint, mask: &FieldMaskTree) -> pb::Checkpoint {
    let mut message = pb::Checkpoint::merge_from(&found.summary, mask);
    message.merge(found.contents.clone(), mask);
    if let Some(submask) = mask.subtree("transactions") {
        message.transactions = found.transactions.iter().map(|done| executed(done, &submask)).collect();
    }
    message
}

pub(super) fn bcs(name: String, bytes: Vec<u8>) -> pb::Bcs {
    let mut message = pb::Bcs::from(bytes);
    message.name = Some(name);
    message
}

pub(super) fn coin_metadata(id: Address, info: &crate::ledger::genesis::CoinInfo) -> pb::CoinMetadata {
    let mut message = pb::CoinMetadata::default();
    message.id = Some(id.to_string());
    message.decimals = Some(u32::from(info.decimals));
    message.name = Some(info.name.to_owned());
    message.symbol = Some(info.symbol.to_owned());
    message.description = Some(info.description.to_owned());
    message
}

//! Generators for every message.

use atoma_types::{
    Address, Forward, Grant, Hash32, NodeId, Price, Receipt, RequestAuth, Status, Units, Voucher,
};
use proptest::prelude::*;

pub(crate) fn hash() -> impl Strategy<Value = Hash32> {
    any::<[u8; 32]>().prop_map(Hash32)
}

pub(crate) fn address() -> impl Strategy<Value = Address> {
    any::<[u8; 32]>().prop_map(Address::new)
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(NodeId)
}

fn units() -> impl Strategy<Value = Units> {
    any::<u64>().prop_map(Units)
}

pub(crate) fn status() -> impl Strategy<Value = Status> {
    prop_oneof![Just(Status::Complete), Just(Status::Aborted), Just(Status::Failed), Just(Status::Refused)]
}

prop_compose! {
    pub(crate) fn grant()(db in address(), stack in address(), node in node(), units in units(), max_price: u64, nonce: u64) -> Grant {
        Grant { db, stack, node, units, max_price: Price(max_price), nonce }
    }
}

prop_compose! {
    pub(crate) fn auth()(db in address(), stack in address(), node in node(), hops in 0..=1u8, nonce: u64, body_hash in hash(), max_units in units(), expires_ms: u64) -> RequestAuth {
        RequestAuth { db, stack, node, hops, nonce, body_hash, max_units, expires_ms }
    }
}

prop_compose! {
    pub(crate) fn forward()(db in address(), stack in address(), request_hash in hash(), from in node(), to in node()) -> Forward {
        Forward { db, stack, request_hash, from, to }
    }
}

prop_compose! {
    pub(crate) fn voucher()(db in address(), stack in address(), node in node(), units in units(), count: u64, root in hash()) -> Voucher {
        Voucher { db, stack, node, units, count, root }
    }
}

prop_compose! {
    pub(crate) fn receipt()(
        (db, stack, node, status) in (address(), address(), node(), status()),
        (request_hash, response_hash, root, work, replica_hash) in (hash(), hash(), hash(), hash(), hash()),
        (input, output, count, finished_ms) in any::<(u64, u64, u64, u64)>(),
        (units, total_units) in (units(), units()),
    ) -> Receipt {
        Receipt { db, stack, node, request_hash, response_hash, input, output, units, total_units, count, root, work, replica_hash, status, finished_ms }
    }
}

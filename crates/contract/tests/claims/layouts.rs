//! Bytes as they are on chain, and what the compiler proves.

use crate::bench::*;
use atoma_contract::audit::{self, Reveal};
use atoma_contract::stack::Settlement;
use atoma_contract::{AtomaDb, Beacon, NodeBadge, Result, TxContext, claim};
use atoma_types::NodeId;
use atoma_types::onchain::{Dispute, Stack};

#[test]
fn claims_and_disputes_survive_a_round_trip() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.serve(id, &[MILLION]);
    bench.settle(id).unwrap();
    bench.open_audit(target);
    bench.judge(target, |_| 1);
    bench.reveal_all(target);
    let bytes = bcs::to_bytes(bench.stack(id)).unwrap();
    assert_eq!(&bcs::from_bytes::<Stack>(&bytes).unwrap(), bench.stack(id));
    let dispute = bench.dispute(id, 1, MILLION);
    bench.answer(dispute, 10).unwrap();
    let bytes = bcs::to_bytes(bench.disputed(dispute)).unwrap();
    assert_eq!(&bcs::from_bytes::<Dispute>(&bytes).unwrap(), bench.disputed(dispute));
    let bytes = bcs::to_bytes(&bench.world.beacon).unwrap();
    assert_eq!(bcs::from_bytes::<Beacon>(&bytes).unwrap(), bench.world.beacon);
}

/// Claims of two users never contend: making, paying, releasing, revealing and committing read the database
/// only, or not at all. Only audits that begin or end write it.
#[test]
fn claims_read_the_database_only() {
    type Hot<A> = fn(&AtomaDb, &Beacon, &mut Stack, A, u64, &mut TxContext) -> Result;
    let _: Hot<Settlement> = claim::settle;
    let _: Hot<NodeId> = claim::resolve_pay;
    let _: Hot<NodeId> = claim::release_claim;
    let _: fn(&mut Stack, &NodeBadge, Reveal, u64, &mut TxContext) -> Result = audit::reveal_record;
    let _: fn(&mut Stack, NodeId, &NodeBadge, Vec<u8>, u64, &mut TxContext) -> Result = audit::commit_verdict;
    let _: fn(&mut Stack, NodeId, u64, &mut TxContext) -> Result = audit::mark_late;
}

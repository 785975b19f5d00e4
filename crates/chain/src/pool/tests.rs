#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use atoma_types::NodeId;
use sui_sdk_types::{
    ChangedObject, ExecutionStatus, GasCostSummary, IdOperation, ObjectIn, ObjectOut, TransactionEffectsV2,
};

const ME: Address = Address::new([1; 32]);
const OTHER: Address = Address::new([2; 32]);

fn id(n: u8) -> Address {
    Address::new([n; 32])
}

fn coin(n: u8, version: u64, balance: u64) -> Coin {
    Coin { reference: ObjectReference::new(id(n), version, Digest::ZERO), balance }
}

fn pool(coins: &[(u8, u64)]) -> Arc<Pool> {
    let pool = Arc::new(Pool::new(ME));
    for purse in [Purse::Gas, Purse::Market] {
        pool.listed(purse, 0, coins.iter().map(|(n, balance)| coin(*n, 1, *balance)).collect());
    }
    pool
}

fn taken(pool: &Arc<Pool>, purse: Purse, amount: u64) -> Option<Lease> {
    let mut lease = pool.lease();
    matches!(pool.take(&mut lease, purse, amount, 0), Take::Taken).then_some(lease)
}

fn ids(lease: &Lease, purse: Purse) -> Vec<(Address, u64)> {
    lease.coins(purse).iter().map(|coin| (*coin.object_id(), coin.version())).collect()
}

/// Effects that leave these objects at version 2 with these owners, or delete them.
fn effects(gas: u64, changes: &[(u8, Option<Address>)]) -> TransactionEffects {
    let changed_objects = changes
        .iter()
        .map(|(n, owner)| ChangedObject {
            object_id: id(*n),
            input_state: ObjectIn::Exist { version: 1, digest: Digest::ZERO, owner: Owner::Address(ME) },
            output_state: match owner {
                Some(owner) => ObjectOut::ObjectWrite { digest: Digest::ZERO, owner: Owner::Address(*owner) },
                None => ObjectOut::NotExist,
            },
            id_operation: if owner.is_some() { IdOperation::None } else { IdOperation::Deleted },
        })
        .collect();
    TransactionEffects::V2(Box::new(TransactionEffectsV2 {
        status: ExecutionStatus::Success,
        epoch: 0,
        gas_used: GasCostSummary::new(gas, 0, 0, 0),
        transaction_digest: Digest::ZERO,
        gas_object_index: None,
        events_digest: None,
        dependencies: vec![],
        lamport_version: 2,
        changed_objects,
        unchanged_consensus_objects: vec![],
        auxiliary_data_digest: None,
    }))
}

#[test]
fn a_payment_takes_the_smallest_coin_that_suffices_or_the_largest_together() {
    let pool = pool(&[(3, 10), (4, 20), (5, 30)]);
    assert_eq!(ids(&taken(&pool, Purse::Market, 15).unwrap(), Purse::Market), [(id(4), 1)]);
    assert_eq!(ids(&taken(&pool, Purse::Market, 35).unwrap(), Purse::Market), [(id(5), 1), (id(4), 1)]);
    assert!(taken(&pool, Purse::Market, 61).is_none());
}

#[test]
fn what_is_leased_is_not_free_and_comes_back_unsent() {
    let pool = pool(&[(3, 10)]);
    let first = taken(&pool, Purse::Gas, 10).unwrap();
    let mut second = pool.lease();
    assert!(matches!(pool.take(&mut second, Purse::Gas, 10, 0), Take::Wait));
    drop(first);
    assert!(taken(&pool, Purse::Gas, 10).is_some());
}

#[test]
fn an_executed_transaction_gives_its_coins_back_as_they_are_now() {
    let pool = pool(&[(3, 100), (4, 50)]);
    let mut lease = taken(&pool, Purse::Gas, 120).unwrap();
    lease.gas_out = 30;
    lease.sent(Digest::ZERO, None);
    lease.executed(&effects(7, &[(3, Some(ME)), (4, None)]));
    lease.executed(&effects(7, &[(3, Some(ME)), (4, None)]));
    drop(lease);
    let again = taken(&pool, Purse::Gas, 113).unwrap();
    assert_eq!(ids(&again, Purse::Gas), [(id(3), 2)]);
    assert_eq!(again.value(Purse::Gas), 100 + 50 - 30 - 7);
}

#[test]
fn a_coin_that_was_sent_away_does_not_come_back() {
    let pool = pool(&[(3, 100)]);
    let mut lease = taken(&pool, Purse::Market, 100).unwrap();
    lease.market_out = 100;
    lease.executed(&effects(7, &[(3, Some(OTHER))]));
    // Not even from a list that is older than the transaction.
    pool.listed(Purse::Market, 0, vec![coin(3, 1, 100)]);
    assert!(taken(&pool, Purse::Market, 1).is_none());
}

#[test]
fn an_old_list_does_not_bring_back_an_old_version() {
    let pool = pool(&[(3, 100)]);
    let lease = taken(&pool, Purse::Gas, 100).unwrap();
    let generation = pool.generation();
    lease.executed(&effects(7, &[(3, Some(ME))]));
    pool.listed(Purse::Gas, generation, vec![coin(3, 1, 100), coin(4, 1, 5)]);
    assert_eq!(ids(&taken(&pool, Purse::Gas, 93).unwrap(), Purse::Gas), [(id(3), 2)]);
    assert!(taken(&pool, Purse::Gas, 5).is_some(), "what is new in the list is taken over");
}

#[test]
fn what_was_sent_and_given_up_stays_away_until_its_fate_is_known() {
    let pool = pool(&[(3, 100)]);
    let lease = taken(&pool, Purse::Gas, 100).unwrap();
    let digest = Digest::new([9; 32]);
    lease.sent(digest, Some(5));
    drop(lease);
    pool.listed(Purse::Gas, pool.generation(), vec![coin(3, 1, 100)]);
    assert!(taken(&pool, Purse::Gas, 1).is_none(), "it may still execute");
    let [limbo] = &pool.limbo()[..] else { panic!() };
    assert_eq!((limbo.digest, limbo.expires_epoch), (digest, Some(5)));
    pool.resolved(digest);
    assert!(pool.limbo().is_empty());
    pool.listed(Purse::Gas, pool.generation(), vec![coin(3, 1, 100)]);
    assert!(taken(&pool, Purse::Gas, 100).is_some());
}

#[test]
fn one_coin_is_split_for_all_who_wait() {
    let pool = pool(&[(3, 1_000)]);
    let waiting: Vec<Wanted> = (0..4).map(|_| pool.want(Purse::Market, 10)).collect();
    let mut lease = pool.lease();
    let take = pool.take(&mut lease, Purse::Market, 10, 0);
    assert!(matches!(take, Take::Split { pieces: 4, piece: 10 }));
    let split = lease.split_off_last();
    assert_eq!((lease.value(Purse::Market), split.value(Purse::Market)), (0, 1_000));
    drop(waiting);
    drop(split);
    assert!(taken(&pool, Purse::Market, 10).is_some(), "nobody waits any more");
}

#[test]
fn a_split_leaves_enough_for_the_rest() {
    let pool = pool(&[(3, 100)]);
    let _waiting: Vec<Wanted> = (0..9).map(|_| pool.want(Purse::Market, 20)).collect();
    let mut lease = pool.lease();
    let take = pool.take(&mut lease, Purse::Market, 10, 5);
    // 85 beside the payment and the cost of the split: four pieces of 20.
    assert!(matches!(take, Take::Split { pieces: 4, piece: 20 }));
}

#[test]
fn a_badge_serves_one_transaction_at_a_time() {
    let pool = pool(&[]);
    let badge = Held::Node(NodeId(1));
    let mut first = pool.lease();
    assert!(matches!(pool.take_held(&mut first, badge), Take::Short { .. }));
    pool.listed_held(badge, coin(8, 1, 0).reference);
    assert!(matches!(pool.take_held(&mut first, badge), Take::Taken));
    let mut second = pool.lease();
    assert!(matches!(pool.take_held(&mut second, badge), Take::Wait));
    first.executed(&effects(0, &[(8, Some(ME))]));
    assert!(matches!(pool.take_held(&mut second, badge), Take::Taken));
    assert_eq!(second.held()[&badge].version(), 2);
}

#[test]
fn a_journaled_transaction_reserves_its_coins_too() {
    let pool = pool(&[(3, 100)]);
    let mut lease = pool.lease();
    lease.adopt([coin(3, 1, 100).reference].iter());
    assert!(taken(&pool, Purse::Gas, 1).is_none());
    lease.executed(&effects(7, &[(3, Some(ME))]));
    let mut other = pool.lease();
    assert!(matches!(pool.take(&mut other, Purse::Gas, 1, 0), Take::Load(_)), "its balance must be read");
}

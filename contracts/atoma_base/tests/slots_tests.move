/// Lists of verifiers, larger than what they remember.
#[test_only]
module atoma_base::slots_tests;

use atoma_base::slots::{Self, Market};
use std::unit_test::{assert_eq, destroy};

const OWNER: address = @0xa;

fun join(market: &mut Market, node: u64) {
    let subscription = market.offered(1, node, 5, 10, 0);
    market.write_offer(subscription, slots::new_slot(node, 1, 5, 10, 0, 0), option::none());
    market.join(node, OWNER, 1, 1);
}

fun evict(market: &mut Market, node: u64) {
    let before = *market.subscription(node);
    market.leave(node, OWNER, 1);
    market.free_verifier(&before);
    market.forget_verifier(node);
}

#[test]
fun a_swarm_evicted_in_order_leaves_no_positions_behind() {
    let mut market = slots::new_market(&vector[0], &mut sui::tx_context::dummy());
    12u64.do!(|node| join(&mut market, node));
    600u64.do!(|node| join(&mut market, 12 + node));
    600u64.do!(|node| evict(&mut market, 12 + node));
    assert_eq!(slots::sizes(market.verifiers(), &vector[0]), vector[356]);
    // One call cuts off a bounded number; whoever joins goes on.
    join(&mut market, 612);
    assert_eq!(slots::sizes(market.verifiers(), &vector[0]), vector[100]);
    assert_eq!(market.verifiers_in(&vector[0]).opted_in(), 13);
    evict(&mut market, 612);
    assert_eq!(slots::sizes(market.verifiers(), &vector[0]), vector[12]);
    destroy(market);
}

#[test_only]
module framework_tests::shop_tests;

use framework_tests::shop::{Self, Custody, Opened, SHOP, Shop, Sold, Ticket};
use std::bcs;
use std::unit_test::assert_eq;
use sui::clock;
use sui::coin::{Self, Coin};
use sui::event;
use sui::random::Random;
use sui::sui::SUI;
use sui::test_scenario::{Self as test, Scenario};
use sui::test_utils;

const OWNER: address = @0xA;
const BUYER: address = @0xB;
const DIGEST: vector<u8> = x"0102030405060708091011121314151617181920212223242526272829303132";

fun opened(): Scenario {
    let mut scenario = test::begin(OWNER);
    shop::open<SUI>(scenario.ctx());
    scenario.next_tx(OWNER);
    scenario
}

/// How Sui names the n-th object of a transaction.
fun derived(digest: vector<u8>, n: u64): address {
    let mut bytes = x"f1";
    bytes.append(digest);
    bytes.append(bcs::to_bytes(&n));
    sui::address::from_bytes(sui::hash::blake2b256(&bytes))
}

#[test]
fun context_of_the_tests_choice() {
    let mut ctx = tx_context::new(BUYER, DIGEST, 17, 99, 5);
    assert_eq!(ctx.sender(), BUYER);
    assert_eq!(*ctx.digest(), DIGEST);
    assert_eq!(ctx.epoch(), 17);
    assert_eq!(ctx.epoch_timestamp_ms(), 99);
    assert_eq!(ctx.ids_created(), 5);
    assert_eq!(ctx.fresh_object_address(), derived(DIGEST, 5));
    let id = object::new(&mut ctx);
    assert_eq!(id.to_address(), derived(DIGEST, 6));
    assert_eq!(ctx.ids_created(), 7);
    id.delete();
}

#[test]
fun events_and_objects_as_bytes() {
    let mut scenario = test::begin(OWNER);
    let mut ctx = tx_context::new(OWNER, DIGEST, 3, 4, 0);
    shop::open<SUI>(&mut ctx);
    assert_eq!(bcs::to_bytes(&event::events_by_type<Opened>()[0]), bcs::to_bytes(&derived(DIGEST, 0)));
    let effects = scenario.next_tx(OWNER);
    assert_eq!(effects.num_user_events(), 1);
    assert_eq!(effects.shared(), vector[object::id_from_address(derived(DIGEST, 0))]);
    assert_eq!(event::num_events(), 0);
    assert_eq!(scenario.ctx().epoch(), 3);

    let shop = scenario.take_shared<Shop<SUI>>();
    let mut expected = bcs::to_bytes(&derived(DIGEST, 0));
    expected.append(x"0000000000000000");
    expected.append(bcs::to_bytes(&derived(DIGEST, 1)));
    expected.append(x"0000000000000000");
    expected.append(bcs::to_bytes(&derived(DIGEST, 2)));
    expected.append(x"0000000000000000");
    expected.append(x"00");
    expected.append(bcs::to_bytes(&OWNER));
    assert_eq!(bcs::to_bytes(&shop), expected);
    test::return_shared(shop);
    scenario.end();
}

#[test]
fun a_shop_from_opening_to_closing() {
    let mut scenario = opened();
    let mut shop = scenario.take_shared<Shop<SUI>>();
    shop.put(1, 100);
    shop.put(2, 30);
    test::return_shared(shop);

    scenario.next_tx(BUYER);
    let mut shop = scenario.take_shared<Shop<SUI>>();
    let mut coin = coin::mint_for_testing<SUI>(1000, scenario.ctx());
    let mut clock = clock::create_for_testing(scenario.ctx());
    shop.buy(1, &mut coin, &clock, scenario.ctx());
    clock.set_for_testing(1001);
    assert_eq!(shop.status(), 0);
    shop.buy(2, &mut coin, &clock, scenario.ctx());
    assert_eq!(shop.status(), 1001);
    let sold = event::events_by_type<Sold>();
    assert_eq!(sold.length(), 2);
    let mut expected = object::id(&shop).to_bytes();
    expected.append(x"02000000000000001e00000000000000");
    expected.append(bcs::to_bytes(&BUYER));
    expected.append(x"026869");
    assert_eq!(bcs::to_bytes(&sold[1]), expected);
    assert_eq!(coin.burn_for_testing(), 870);
    clock.destroy_for_testing();
    test::return_shared(shop);

    let effects = scenario.next_tx(OWNER);
    assert_eq!(effects.transferred_to_account().size(), 2);
    scenario.take_shared<Shop<SUI>>().settle(scenario.ctx());
    scenario.next_tx(OWNER);
    let mut shop = scenario.take_shared<Shop<SUI>>();
    assert_eq!(shop.status(), 3);
    assert_eq!(shop.remove(1), vector[BUYER]);
    assert_eq!(shop.remove(2), vector[BUYER]);
    assert_eq!(shop.withdraw(60, scenario.ctx()).burn_for_testing(), 60);
    let id = object::id(&shop);
    shop.close(scenario.ctx());

    let effects = scenario.next_tx(BUYER);
    assert!(effects.deleted().contains(&id));
    assert!(!test::has_most_recent_shared<Shop<SUI>>());
    let coin = scenario.take_from_address<Coin<SUI>>(OWNER);
    assert_eq!(coin.value(), 70);
    test::return_to_address(OWNER, coin);
    let ticket = scenario.take_from_sender<Ticket>();
    shop::redeem(ticket);
    let ticket = scenario.take_from_sender<Ticket>();
    scenario.return_to_sender(ticket);
    scenario.end();
}

#[test]
fun a_seed_from_the_chain_or_from_the_test() {
    let mut scenario = test::begin(@0x0);
    sui::random::create_for_testing(scenario.ctx());
    shop::open<SUI>(scenario.ctx());
    scenario.next_tx(@0x0);
    let mut random = scenario.take_shared<Random>();
    random.update_randomness_state_for_testing(0, DIGEST, scenario.ctx());
    let mut shop = scenario.take_shared<Shop<SUI>>();
    shop.draw(&random, scenario.ctx());
    shop.draw(&random, scenario.ctx());
    shop.draw_with_seed(DIGEST);
    assert_eq!(shop.drawn(), 3);
    test::return_shared(shop);
    test::return_shared(random);
    scenario.end();
}

#[test]
fun an_upgrade_from_custody() {
    let mut scenario = test::begin(OWNER);
    let cap = sui::package::test_publish(object::id_from_address(@0x77), scenario.ctx());
    shop::keep(cap, scenario.ctx());
    scenario.next_tx(OWNER);
    let mut custody = scenario.take_shared<Custody>();
    let ticket = custody.authorize(DIGEST);
    assert_eq!(custody.commit(sui::package::test_upgrade(ticket)), 2);
    test::return_shared(custody);
    scenario.end();
}

#[test]
fun a_publisher_from_a_witness() {
    let mut ctx = tx_context::dummy();
    let publisher = sui::package::claim(test_utils::create_one_time_witness<SHOP>(), &mut ctx);
    assert_eq!(*publisher.module_().as_bytes(), b"shop");
    assert!(publisher.from_module<Ticket>());
    assert!(!publisher.from_package<SUI>());
    publisher.burn();
}

#[test, expected_failure(abort_code = framework_tests::shop::ENotOwner)]
fun only_the_owner_withdraws() {
    let mut scenario = opened();
    scenario.next_tx(BUYER);
    let mut shop = scenario.take_shared<Shop<SUI>>();
    shop.withdraw(0, scenario.ctx()).burn_for_testing();
    abort 99
}

#[test, expected_failure(abort_code = 2, location = sui::balance)]
fun no_more_than_there_is() {
    let mut scenario = opened();
    let mut shop = scenario.take_shared<Shop<SUI>>();
    shop.withdraw(1, scenario.ctx()).burn_for_testing();
    abort 99
}

#[test, expected_failure(abort_code = 0, location = sui::dynamic_field)]
fun no_key_twice() {
    let mut shop = opened().take_shared<Shop<SUI>>();
    shop.put(1, 1);
    shop.put(1, 1);
    abort 99
}

#[test, expected_failure(abort_code = 1, location = sui::dynamic_field)]
fun no_value_without_a_key() {
    opened().take_shared<Shop<SUI>>().remove(1);
    abort 99
}

#[test, expected_failure(abort_code = 1, location = sui::test_scenario)]
fun what_is_shared_stays_shared() {
    let mut scenario = opened();
    transfer::public_share_object(coin::mint_for_testing<SUI>(1, scenario.ctx()));
    scenario.next_tx(OWNER);
    transfer::public_transfer(scenario.take_shared<Coin<SUI>>(), OWNER);
    scenario.next_tx(OWNER);
    abort 99
}

#[test, expected_failure(abort_code = 0, location = sui::transfer)]
fun what_is_owned_cannot_be_shared() {
    let mut scenario = opened();
    transfer::public_transfer(coin::mint_for_testing<SUI>(1, scenario.ctx()), OWNER);
    scenario.next_tx(OWNER);
    transfer::public_share_object(scenario.take_from_sender<Coin<SUI>>());
    abort 99
}

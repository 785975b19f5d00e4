/// A little of everything that a market contract does: a shared object with a balance, tables and an enum, events,
/// owned objects, a seed from the chain's randomness, an upgrade cap in custody.
module framework_tests::shop;

use sui::balance::{Self, Balance};
use sui::clock::Clock;
use sui::coin::{Self, Coin};
use sui::event;
use sui::package::{UpgradeCap, UpgradeReceipt, UpgradeTicket};
use sui::random::Random;
use sui::table::{Self, Table};

const ENotOwner: u64 = 7;

public struct SHOP has drop {}

public enum Status has copy, drop, store {
    Open,
    Closed { at_ms: u64 },
    Settled(u8, address),
}

public struct Shop<phantom T> has key {
    id: UID,
    money: Balance<T>,
    stock: Table<u64, Item>,
    drawn: Table<vector<u8>, u64>,
    status: Status,
    owner: address,
}

public struct Item has store {
    price: u64,
    buyers: vector<address>,
}

public struct Ticket has key {
    id: UID,
    shop: ID,
    item: u64,
}

public struct Custody has key {
    id: UID,
    cap: UpgradeCap,
}

public struct Opened has copy, drop {
    shop: ID,
}

public struct Sold has copy, drop {
    shop: ID,
    item: u64,
    price: u64,
    buyer: address,
    memo: vector<u8>,
}

fun init(witness: SHOP, ctx: &mut TxContext) { sui::package::claim_and_keep(witness, ctx) }

public fun open<T>(ctx: &mut TxContext) {
    let shop = Shop<T> {
        id: object::new(ctx),
        money: balance::zero(),
        stock: table::new(ctx),
        drawn: table::new(ctx),
        status: Status::Open,
        owner: ctx.sender(),
    };
    event::emit(Opened { shop: object::id(&shop) });
    transfer::share_object(shop)
}

public fun put<T>(shop: &mut Shop<T>, item: u64, price: u64) {
    shop.stock.add(item, Item { price, buyers: vector[] })
}

public fun remove<T>(shop: &mut Shop<T>, item: u64): vector<address> {
    let Item { price: _, buyers } = shop.stock.remove(item);
    buyers
}

public fun buy<T>(shop: &mut Shop<T>, item: u64, coin: &mut Coin<T>, clock: &Clock, ctx: &mut TxContext) {
    let bought = &mut shop.stock[item];
    bought.buyers.push_back(ctx.sender());
    shop.money.join(coin.balance_mut().split(bought.price));
    let (shop_id, price) = (object::id(shop), shop.stock[item].price);
    event::emit(Sold { shop: shop_id, item, price, buyer: ctx.sender(), memo: b"hi" });
    if (clock.timestamp_ms() > 1000) shop.status = Status::Closed { at_ms: clock.timestamp_ms() };
    transfer::transfer(Ticket { id: object::new(ctx), shop: shop_id, item }, ctx.sender());
}

public fun redeem(ticket: Ticket): u64 {
    let Ticket { id, shop: _, item } = ticket;
    id.delete();
    item
}

public fun withdraw<T>(shop: &mut Shop<T>, amount: u64, ctx: &mut TxContext): Coin<T> {
    assert!(ctx.sender() == shop.owner, ENotOwner);
    coin::take(&mut shop.money, amount, ctx)
}

/// Takes the shared object by value and shares it again.
public fun settle<T>(mut shop: Shop<T>, ctx: &TxContext) {
    shop.status = Status::Settled(3, ctx.sender());
    transfer::share_object(shop)
}

/// Takes the shared object by value and deletes it.
public fun close<T>(shop: Shop<T>, ctx: &mut TxContext) {
    let Shop { id, money, stock, drawn, status: _, owner } = shop;
    transfer::public_transfer(money.into_coin(ctx), owner);
    stock.destroy_empty();
    drawn.drop();
    id.delete()
}

entry fun draw<T>(shop: &mut Shop<T>, random: &Random, ctx: &mut TxContext) {
    let mut generator = random.new_generator(ctx);
    shop.draw_with_seed(generator.generate_bytes(32))
}

public(package) fun draw_with_seed<T>(shop: &mut Shop<T>, seed: vector<u8>) { shop.drawn.add(seed, 1) }

public fun drawn<T>(shop: &Shop<T>): u64 { shop.drawn.length() }

public fun status<T>(shop: &Shop<T>): u64 {
    match (&shop.status) {
        Status::Open => 0,
        Status::Closed { at_ms } => *at_ms,
        Status::Settled(kind, _) => *kind as u64,
    }
}

public fun keep(cap: UpgradeCap, ctx: &mut TxContext) {
    transfer::share_object(Custody { id: object::new(ctx), cap })
}

public fun authorize(custody: &mut Custody, digest: vector<u8>): UpgradeTicket {
    let policy = custody.cap.policy();
    custody.cap.authorize(policy, digest)
}

public fun commit(custody: &mut Custody, receipt: UpgradeReceipt): u64 {
    custody.cap.commit(receipt);
    custody.cap.version()
}

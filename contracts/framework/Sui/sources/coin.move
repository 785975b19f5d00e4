module sui::balance {
    public use fun sui::coin::from_balance as Balance.into_coin;
    public use fun supply_value as Supply.value;

    const ENonZero: u64 = 0;
    const EOverflow: u64 = 1;
    const ENotEnough: u64 = 2;

    public struct Supply<phantom T> has store {
        value: u64,
    }

    public struct Balance<phantom T> has store {
        value: u64,
    }

    public fun value<T>(self: &Balance<T>): u64 { self.value }

    public fun supply_value<T>(supply: &Supply<T>): u64 { supply.value }

    public fun create_supply<T: drop>(_: T): Supply<T> { Supply { value: 0 } }

    public fun increase_supply<T>(self: &mut Supply<T>, value: u64): Balance<T> {
        assert!(value <= std::u64::max_value!() - self.value, EOverflow);
        self.value = self.value + value;
        Balance { value }
    }

    public fun decrease_supply<T>(self: &mut Supply<T>, balance: Balance<T>): u64 {
        let Balance { value } = balance;
        assert!(value <= self.value, EOverflow);
        self.value = self.value - value;
        value
    }

    public fun zero<T>(): Balance<T> { Balance { value: 0 } }

    public fun join<T>(self: &mut Balance<T>, balance: Balance<T>): u64 {
        let Balance { value } = balance;
        self.value = self.value + value;
        self.value
    }

    public fun split<T>(self: &mut Balance<T>, value: u64): Balance<T> {
        assert!(value <= self.value, ENotEnough);
        self.value = self.value - value;
        Balance { value }
    }

    public fun withdraw_all<T>(self: &mut Balance<T>): Balance<T> {
        let all = self.value;
        self.split(all)
    }

    public fun destroy_zero<T>(balance: Balance<T>) {
        let Balance { value } = balance;
        assert!(value == 0, ENonZero);
    }

    #[test_only]
    public fun create_for_testing<T>(value: u64): Balance<T> { Balance { value } }

    #[test_only]
    public fun destroy_for_testing<T>(self: Balance<T>): u64 {
        let Balance { value } = self;
        value
    }

    #[test_only]
    public fun create_supply_for_testing<T>(): Supply<T> { Supply { value: 0 } }
}

module sui::coin {
    use sui::balance::{Self, Balance, Supply};

    public struct Coin<phantom T> has key, store {
        id: UID,
        balance: Balance<T>,
    }

    public struct TreasuryCap<phantom T> has key, store {
        id: UID,
        total_supply: Supply<T>,
    }

    public fun value<T>(self: &Coin<T>): u64 { self.balance.value() }

    public fun balance<T>(coin: &Coin<T>): &Balance<T> { &coin.balance }

    public fun balance_mut<T>(coin: &mut Coin<T>): &mut Balance<T> { &mut coin.balance }

    public fun from_balance<T>(balance: Balance<T>, ctx: &mut TxContext): Coin<T> {
        Coin { id: object::new(ctx), balance }
    }

    public fun into_balance<T>(coin: Coin<T>): Balance<T> {
        let Coin { id, balance } = coin;
        id.delete();
        balance
    }

    public fun take<T>(balance: &mut Balance<T>, value: u64, ctx: &mut TxContext): Coin<T> {
        Coin { id: object::new(ctx), balance: balance.split(value) }
    }

    public fun put<T>(balance: &mut Balance<T>, coin: Coin<T>) { balance.join(into_balance(coin)); }

    #[allow(lint(public_entry))]
    public entry fun join<T>(self: &mut Coin<T>, c: Coin<T>) { self.balance.join(into_balance(c)); }

    public fun split<T>(self: &mut Coin<T>, split_amount: u64, ctx: &mut TxContext): Coin<T> {
        take(&mut self.balance, split_amount, ctx)
    }

    public fun zero<T>(ctx: &mut TxContext): Coin<T> { from_balance(balance::zero(), ctx) }

    public fun destroy_zero<T>(c: Coin<T>) { into_balance(c).destroy_zero() }

    public fun total_supply<T>(cap: &TreasuryCap<T>): u64 { cap.total_supply.value() }

    public fun mint<T>(cap: &mut TreasuryCap<T>, value: u64, ctx: &mut TxContext): Coin<T> {
        Coin { id: object::new(ctx), balance: cap.total_supply.increase_supply(value) }
    }

    public fun mint_balance<T>(cap: &mut TreasuryCap<T>, value: u64): Balance<T> {
        cap.total_supply.increase_supply(value)
    }

    #[allow(lint(public_entry))]
    public entry fun burn<T>(cap: &mut TreasuryCap<T>, c: Coin<T>): u64 {
        cap.total_supply.decrease_supply(into_balance(c))
    }

    #[test_only]
    public fun mint_for_testing<T>(value: u64, ctx: &mut TxContext): Coin<T> {
        from_balance(balance::create_for_testing(value), ctx)
    }

    #[test_only]
    public fun burn_for_testing<T>(coin: Coin<T>): u64 { into_balance(coin).destroy_for_testing() }

    #[test_only]
    public fun create_treasury_cap_for_testing<T>(ctx: &mut TxContext): TreasuryCap<T> {
        TreasuryCap { id: object::new(ctx), total_supply: balance::create_supply_for_testing() }
    }
}

module sui::sui {
    public struct SUI has drop {}
}
